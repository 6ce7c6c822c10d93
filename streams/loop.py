"""The event loop of a worker: uvloop's, which does not wait half a minute for the end of a TLS connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

import uvloop

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)

# A peer that is there says goodbye within milliseconds.
GOODBYE_S = 1.0


class Loop(uvloop.Loop):
    """Close TLS connections within `GOODBYE_S`.

    When an answer arrives while a TLS connection is being closed, uvloop no longer reads, the peer's goodbye never
    comes, and the end is due after asyncio's 30 s (github.com/MagicStack/uvloop/issues/471). aiokafka waits for that
    whenever it stops a client, as a worker does when it has asked where a partition begins. What the connection had
    to say has been answered by then, so there is nothing to lose.
    """

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], _Protocol], *args: Any, **kwargs: Any
    ) -> tuple[asyncio.Transport, _Protocol]:
        """Connect as any loop does, with a shorter `ssl_shutdown_timeout` unless one is given."""
        if kwargs.get("ssl"):
            kwargs.setdefault("ssl_shutdown_timeout", GOODBYE_S)
        transport, protocol = await super().create_connection(protocol_factory, *args, **kwargs)
        return cast("asyncio.Transport", transport), protocol
