"""What `streamscore diff` is told to compare: files, a replay's folder, topics, or what is live."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path

from streams.replay.outputs import BIDS_FILE, EXAMPLES_FILE, SCORES_FILE
from streams.replay.range_reader import open_range
from streams.replay.spec import FileInput, Spec, TopicRange, parse_spec
from streams.settings import Settings

LIVE = "live"
_AT_ONCE = 2_000


class SideError(ValueError):
    """A side cannot be read; the message says what to do."""


def parts_of(text: str, settings: Settings) -> dict[str, Spec]:
    """Return what a side consists of: "scores", "examples", "bids"; "" where the content has to tell.

    Raises
    ------
    SideError, SpecError
    """
    if text == LIVE:
        topics = settings.topics
        live = {"scores": topics.scores, "examples": topics.examples}
        if settings.bidding:
            live["bids"] = topics.bids
        return {kind: TopicRange(topic.name) for kind, topic in live.items()}
    spec = parse_spec(text)
    if isinstance(spec, FileInput) and spec.path.is_dir():
        names = {"scores": SCORES_FILE, "examples": EXAMPLES_FILE, "bids": BIDS_FILE}
        found: dict[str, Spec] = {
            kind: FileInput(spec.path / name) for kind, name in names.items() if (spec.path / name).exists()
        }
        if not found:
            raise SideError(f"{text} holds neither {SCORES_FILE} nor {EXAMPLES_FILE}")
        return found
    return {"": spec}


async def values(spec: Spec, settings: Settings) -> AsyncIterator[list[bytes]]:
    """Yield the messages of a file or of a topic, some at a time; raises SideError."""
    if isinstance(spec, FileInput):
        for some in _lines(spec.path):
            yield some
        return
    async with open_range(spec, settings.kafka) as source:
        while batches := await source.read():
            for records in batches.values():
                yield [record.value for record in records if record.value is not None]


def _lines(path: Path) -> Iterator[list[bytes]]:
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
            lines = (line.strip() for line in file)
            while some := list(islice(lines, _AT_ONCE)):
                yield [line for line in some if line]
    except OSError as error:
        raise SideError(f"{path} cannot be read: {error.strerror or error}") from None
    except (EOFError, zlib.error):
        raise SideError(f"{path} is cut off or damaged") from None
