"""What can be set on the transport; everything about the group and the connection is set on the Faust app."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class TransportOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes and times of the record-batch transport.

    Attributes
    ----------
    chunk_records
        Most records of one chunk. Chunks are smaller whenever fewer have come: nothing waits for a chunk to fill.
    open_chunks
        Chunks of one partition that may be handed out and not acknowledged. Bounds memory; a partition at its
        bound is not read on, the others are.
    fetch_max_wait_ms
        How long the broker may hold a fetch that finds less than ``fetch_min_bytes``. aiokafka keeps one fetch per
        broker on its way, so this also bounds how long a partition waits to be fetched again while others are idle.
    isolation_level
        ``read_committed`` hides the records of aborted and open transactions.
    revoke_timeout_s
        How long the application may take to stop a partition before it is given up.
    commit_timeout_s
        How long to wait for the broker's answer to a commit; then it is tried again with the next one.
    committed_elsewhere
        Topics whose offsets the application commits itself, as in a transaction; never committed from here.
    stop_timeout_s
        How long to wait for the broker when leaving the group.
    """

    chunk_records: Annotated[int, Meta(ge=1)] = 500
    open_chunks: Annotated[int, Meta(ge=1)] = 4
    fetch_max_wait_ms: Annotated[int, Meta(ge=1)] = 20
    fetch_min_bytes: Annotated[int, Meta(ge=1)] = 1
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    revoke_timeout_s: Annotated[float, Meta(gt=0)] = 5.0
    commit_timeout_s: Annotated[float, Meta(gt=0)] = 5.0
    committed_elsewhere: frozenset[str] = frozenset()
    stop_timeout_s: Annotated[float, Meta(gt=0)] = 1.5
