"""Where a replay's scores, examples and bids go: into files, to topics of their own, or nowhere."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from schemas.bids import Bid
from schemas.codec import encode_json
from schemas.examples import Example
from schemas.scores import Score
from streams.out_records import OutRecord
from streams.output import KafkaOutput, partition_for_key
from streams.stores import Unavailable

SCORES_FILE = "scores.jsonl"
EXAMPLES_FILE = "examples.jsonl"
BIDS_FILE = "bids.jsonl"
_BUFFER_BYTES = 1 << 20
_PATIENCE_S = 60.0


class OutputLost(ValueError):
    """What was written before the last checkpoint is not there any more."""


class ReplayOutput(Protocol):
    """Takes what a chunk led to."""

    async def write(self, scores: Sequence[Score], examples: Sequence[Example], bids: Sequence[Bid]) -> None:
        """Take scores, examples and bids, in their order."""

    def state(self) -> Any:
        """Return how far it has come, once everything written is safe."""

    async def restore(self, state: Any) -> None:
        """Go back to there; what was written behind it is gone or will be written again with the same ids.

        Raises
        ------
        OutputLost
            It does not reach to there.
        """

    async def close(self) -> None:
        """Finish."""


class NoOutput:
    """Keeps nothing: the report is all that is wanted."""

    async def write(self, scores: Sequence[Score], examples: Sequence[Example], bids: Sequence[Bid]) -> None:
        """Pass over."""

    def state(self) -> None:
        """Nothing to go back to."""

    async def restore(self, state: None) -> None:
        """Nothing to go back to."""

    async def close(self) -> None:
        """Nothing to finish."""


class FileOutput:
    """Writes ``scores.jsonl`` and ``examples.jsonl`` into a folder, one message a line; ``bids.jsonl`` where it bids.

    Parameters
    ----------
    bidding
        There may be bids.
    resume
        Keep what is there, to be cut by `restore`; otherwise the files begin empty.
    """

    def __init__(self, folder: Path, *, resume: bool = False, bidding: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = [SCORES_FILE, EXAMPLES_FILE, *([BIDS_FILE] if bidding else [])]
        self._files = [_open(folder / name, resume=resume) for name in names]
        self._encode_lines = msgspec.json.Encoder().encode_lines

    async def write(self, scores: Sequence[Score], examples: Sequence[Example], bids: Sequence[Bid]) -> None:
        """Append."""
        for file, messages in zip(self._files, (scores, examples, bids), strict=False):
            if messages:
                file.write(self._encode_lines(messages))

    def state(self) -> list[int]:
        """Return the lengths of the files, written out."""
        for file in self._files:
            file.flush()
        return [file.tell() for file in self._files]

    async def restore(self, state: list[int]) -> None:
        """Cut the files to these lengths; raises OutputLost if one is shorter."""
        for file, length in zip(self._files, state, strict=True):
            if file.seek(0, io.SEEK_END) < length:
                raise OutputLost(f"{file.name} is shorter than it was at the last checkpoint")
        for file, length in zip(self._files, state, strict=True):
            file.truncate(length)
            file.seek(length)

    async def close(self) -> None:
        """Write out and close."""
        for file in self._files:
            file.close()


def _open(path: Path, *, resume: bool) -> io.BufferedRandom:
    mode = "r+b" if resume and path.exists() else "w+b"
    file = open(path, mode, buffering=_BUFFER_BYTES)  # noqa: SIM115  # held open until close()
    assert isinstance(file, io.BufferedRandom)
    return file


class TopicOutput:
    """Publishes scores to a topic, in the partition that has the number of their event's; and bids to another.

    Parameters
    ----------
    scores
        Name of the topic; it exists, and is none of the live ones.
    bids
        Name of the topic for the bids; None: there are none.
    examples
        Name of the topic for the examples; None: they are not published.
    """

    def __init__(
        self, output: KafkaOutput, *, scores: str, examples: str | None = None, bids: str | None = None
    ) -> None:
        self._output = output
        self._bids = bids
        self._scores = scores
        self._examples = examples
        self._partitions: dict[str, int] = {}

    async def write(self, scores: Sequence[Score], examples: Sequence[Example], bids: Sequence[Bid]) -> None:
        """Publish, and wait until the broker has everything."""
        batches: dict[tuple[str, int], list[OutRecord]] = {}
        for topic, messages in ((self._scores, scores), (self._bids, bids)):
            for one in messages:
                assert topic is not None, "there are bids where bidding is declared"
                place = (topic, one.partition % await self._count(topic))
                batches.setdefault(place, []).append(OutRecord(one.user_id.encode(), encode_json(one)))
        if self._examples is not None:
            for example in examples:
                key = example.objective.encode()
                place = (self._examples, partition_for_key(key, await self._count(self._examples)))
                batches.setdefault(place, []).append(OutRecord(key, encode_json(example)))
        if batches:
            await self._patiently(batches)

    async def _count(self, topic: str) -> int:
        if topic not in self._partitions:
            self._partitions[topic] = await self._output.partitions(topic)
        return self._partitions[topic]

    async def _patiently(self, batches: dict[tuple[str, int], list[OutRecord]]) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _PATIENCE_S
        while True:
            try:
                await self._output.publish(batches)
            except Unavailable:
                if loop.time() > give_up:
                    raise
                await asyncio.sleep(1.0)
            else:
                return

    def state(self) -> None:
        """A topic cannot be cut: what is repeated has the same ids."""

    async def restore(self, state: None) -> None:
        """Nothing to go back to."""

    async def close(self) -> None:
        """Disconnect."""
        await self._output.stop()
