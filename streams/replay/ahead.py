"""Reads the source in a process of its own, one chunk ahead.

Reading a row, mapping it and checking it costs 13 µs, a quarter of what scoring and learning cost; what
comes over from the other process costs 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import pickle
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from multiprocessing.connection import Connection
from typing import Any

import msgspec
from msgspec import Struct

from schemas.events import Event
from streams.replay.chunks import Chunk, ReplaySource
from streams.replay.plan import Plan, open_plan_source
from streams.replay.processes import interrupts_wait

_END_S = 5.0


class _Parcel(Struct, array_like=True):
    """A chunk on its way."""

    partitions: list[int]
    offsets: list[int]
    source_ts: list[int]
    events: list[Event]
    records: int
    dead: dict[str, int]
    tombstones: int
    position: dict[str, Any]
    progress: float | None


class _Last(Struct, array_like=True):
    """What there is to say when the last chunk has been sent."""

    bad_rows: list[tuple[str, int, str]]
    n_bad_rows: int
    notes: list[str]


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Parcel).decode
_unpack_last = msgspec.msgpack.Decoder(_Last).decode
_unpack_json = msgspec.json.Decoder(_Parcel).decode
_FAILED = b"failed:"
_ENDED = b"ended:"
_AS_JSON = b"{"  # no msgpack of a parcel begins with it


class ReaderDied(RuntimeError):
    """The process that reads the source was killed."""


class AheadSource:
    """The source of a plan, read by another process.

    Parameters
    ----------
    topic
        As the source itself would tell.
    """

    def __init__(self, plan: Plan, topic: str) -> None:
        self.topic = topic
        self.bad_rows: list[tuple[str, int, str]] = []
        self.n_bad_rows = 0
        self.notes: list[str] = []
        self._plan = plan
        self._process: Any = None

    async def chunks(self, records: int, *, position: Mapping[str, Any] | None = None) -> AsyncGenerator[Chunk]:
        """Yield the chunks that the other process reads; raises what the source raises, and ReaderDied."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_read, args=(self._plan, records, position, theirs), daemon=True)
        with interrupts_wait():
            process.start()
        self._process = process
        theirs.close()
        loop = asyncio.get_running_loop()
        with ours:
            while True:
                try:
                    message = await loop.run_in_executor(None, ours.recv_bytes)
                except EOFError:
                    raise ReaderDied("The process that reads the source has ended early; was it killed?") from None
                if message.startswith(_ENDED):
                    last = _unpack_last(message[len(_ENDED) :])
                    self.bad_rows, self.n_bad_rows, self.notes = last.bad_rows, last.n_bad_rows, last.notes
                    return
                if message.startswith(_FAILED):
                    raise pickle.loads(message[len(_FAILED) :])  # our own process, nobody else writes to this pipe
                yield self._unpacked(message)

    def _unpacked(self, message: bytes) -> Chunk:
        parcel = _unpack_json(message[len(_AS_JSON) :]) if message.startswith(_AS_JSON) else _unpack(message)
        return Chunk(
            arrivals=list(zip(parcel.partitions, parcel.offsets, parcel.source_ts, parcel.events, strict=True)),
            records=parcel.records,
            dead=Counter(parcel.dead),
            tombstones=parcel.tombstones,
            position=parcel.position,
            progress=parcel.progress,
        )

    async def close(self) -> None:
        """End the other process."""
        if self._process is not None:
            self._process.kill()
            self._process.join(_END_S)


def _read(plan: Plan, records: int, position: Mapping[str, Any] | None, theirs: Connection) -> None:
    """Read the source and send its chunks; the whole life of the reading process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the one that works decides when to end
    with contextlib.suppress(BrokenPipeError):  # nobody wants any more
        try:
            asyncio.run(_send(plan, records, position, theirs))
        except BrokenPipeError:
            raise
        except Exception as error:  # handed over, to be raised where the chunks are wanted
            theirs.send_bytes(_FAILED + _pickled(error))


async def _send(plan: Plan, records: int, position: Mapping[str, Any] | None, theirs: Connection) -> None:
    source: ReplaySource = open_plan_source(plan, plan.candidates[0].load())
    try:
        async for chunk in source.chunks(records, position=position):
            partitions, offsets, source_ts, events = map(
                list, zip(*chunk.arrivals, strict=True) if chunk.arrivals else ([],) * 4
            )
            parcel = _Parcel(
                partitions,
                offsets,
                source_ts,
                events,
                chunk.records,
                dict(chunk.dead),
                chunk.tombstones,
                dict(chunk.position),
                chunk.progress,
            )
            theirs.send_bytes(_packed(parcel))
        theirs.send_bytes(_ENDED + _pack(_Last(source.bad_rows, source.n_bad_rows, source.notes)))
    finally:
        await source.close()


def _packed(parcel: _Parcel) -> bytes:
    try:
        return _pack(parcel)
    except OverflowError:  # a whole number beyond 64 bits, which JSON has and msgpack has not
        return _AS_JSON + msgspec.json.encode(parcel)


def _pickled(error: Exception) -> bytes:
    try:
        blob = pickle.dumps(error)
        pickle.loads(blob)
    except Exception:  # an exception whose constructor takes something else than its text
        return pickle.dumps(RuntimeError(str(error) or repr(error)))
    return blob
