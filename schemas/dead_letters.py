"""The `events.dead` topic: the original key and value, untouched; the reason stands in headers.

The reason is never a parsed guess of the content: what could not be decoded is not interpreted.
"""

from __future__ import annotations

from typing import NamedTuple

REASON_HEADER = "streamscore-reason"
DETAIL_HEADER = "streamscore-detail"
SOURCE_HEADER = "streamscore-source"  # locator: topic[partition]@offset
OMITTED_HEADER = "streamscore-omitted-bytes"  # the topic did not take the value; it still stands at the source
TIME_HEADER = "streamscore-source-ts"  # Kafka timestamp of the source record, epoch ms

# Why a record is refused; the words are stable, dashboards and `dead redrive` select by them.
TOO_LARGE = "too_large"
NOT_JSON = "not_json"
TOO_DEEP = "too_deep"
UNKNOWN_TYPE = "unknown_type"
INVALID = "invalid"
TIME_TOO_OLD = "time_too_old"
TIME_AHEAD = "time_ahead"
TIME_UNKNOWN = "time_unknown"

REASONS = (TOO_LARGE, NOT_JSON, TOO_DEEP, UNKNOWN_TYPE, INVALID, TIME_TOO_OLD, TIME_AHEAD, TIME_UNKNOWN)


class DeadLetter(NamedTuple):
    """A refused record on its way to `events.dead`."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    def header(self, name: str) -> str:
        """Return what a header says, empty if there is none of that name."""
        return next((said.decode() for known, said in self.headers if known == name), "")


def locator(topic: str, partition: int, offset: int) -> str:
    """Name a record the one way that all messages use.

    >>> locator("clicks", 3, 1047)
    'clicks[3]@1047'
    """
    return f"{topic}[{partition}]@{offset}"


def dead_letter(
    *, key: bytes | None, value: bytes | None, reason: str, detail: str, source: str, source_ts_ms: int
) -> DeadLetter:
    """Wrap a refused record; `detail` tells the expected and the found type, never the value."""
    return DeadLetter(
        key,
        value,
        [
            (REASON_HEADER, reason.encode()),
            (DETAIL_HEADER, detail.encode()),
            (SOURCE_HEADER, source.encode()),
            (TIME_HEADER, str(source_ts_ms).encode()),
        ],
    )
