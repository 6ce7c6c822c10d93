"""Runs a plan: chunks from the source, through every candidate, at the pace that was asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import msgspec

from streams.admin import create_topics
from streams.garbage import looked_at_once
from streams.output import KafkaOutput
from streams.replay.ahead import AheadSource
from streams.replay.as_live import AsLive, open_as_live
from streams.replay.candidate import Candidate, kept_position
from streams.replay.chunks import Chunk, ReplaySource
from streams.replay.folder import look_at_folder, remove_state, state_path
from streams.replay.measures import Measures, Results
from streams.replay.outputs import FileOutput, NoOutput, ReplayOutput, TopicOutput
from streams.replay.plan import CandidateSpec, Plan, check_sources, open_plan_source
from streams.replay.spec import SpecError
from streams.replay.state import ReplayFile
from streams.settings import Settings

# Share done (None: unknown), records so far.
OnProgress = Callable[[float | None, int], None]
# Nobody waits for a replay's next record: looking less often costs less.
_OBJECTS_AT_ONCE = 200_000
# Bids go to a topic beside that of the scores.
BIDS_SUFFIX = "-bids"


class Interrupted(Exception):
    """The replay was asked to end early; what was done is kept where a folder was named."""


async def run(plan: Plan, *, on_progress: OnProgress, stop: asyncio.Event | None = None) -> list[Results]:
    """Replay; return what each candidate has to report, as plain values.

    Raises
    ------
    Interrupted
        `stop` was set.
    CannotResume, Unfinished, SpecError, MappingError, SourceError, TopicMissing, Unavailable, InvalidSettings
        Where the source is at fault from its beginning on, results of an earlier replay are still there.
    """
    stop = stop or asyncio.Event()
    loaded = [(spec, spec.load()) for spec in plan.candidates]
    if not plan.all_labels:  # else it was done for all processes
        look_at_folder(plan)
    check_sources(plan)
    identities = [plan.identity(settings) if plan.keeps_checkpoints else "" for _, settings in loaded]
    async with AsyncExitStack() as stack:
        stack.enter_context(looked_at_once(_OBJECTS_AT_ONCE))
        as_live = None
        if plan.as_live:
            as_live = await open_as_live(plan.topic, loaded[0][1])
            stack.callback(as_live.close)
        source = _open_source(plan, loaded[0][1], as_live)
        stack.push_async_callback(source.close)
        kept = ReplayFile(state_path(plan))
        stack.callback(kept.close)
        states = {spec.label: kept.candidate(number) for number, (spec, _) in enumerate(loaded)}
        position = None
        if plan.resume:
            position = kept_position(dict(zip(states, zip(states.values(), identities, strict=True), strict=True)))
        chunks = source.chunks(plan.chunk, position=position)
        stack.push_async_callback(chunks.aclose)
        first = await anext(chunks, None)  # what is wrong with the source is seen before an output is touched
        candidates = []
        for spec, settings in loaded:
            output = await _open_output(plan, spec, settings)
            stack.push_async_callback(output.close)
            candidate = Candidate(
                spec.label,
                settings,
                topic=source.topic,
                state=states[spec.label],
                output=output,
                measures=Measures(settings, plan.point, timing=spec.algorithm is not None),
                as_live=as_live,
            )
            candidates.append(candidate)
        if plan.resume:
            for candidate in candidates:
                await candidate.resume()
        await _Replay(plan, candidates, identities, kept).run(_chained(first, chunks), on_progress, stop)
        results = [
            replace(one.results(), bad_rows=source.bad_rows, n_bad_rows=source.n_bad_rows, notes=source.notes)
            for one in candidates
        ]
    if not plan.all_labels:  # else others may be interrupted still, and all go on together
        remove_state(plan)
    return results


async def _chained(first: Chunk | None, others: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
    if first is not None:
        yield first
    async for chunk in others:
        yield chunk


def _open_source(plan: Plan, settings: Settings, as_live: AsLive | None) -> ReplaySource:
    if as_live:
        return open_plan_source(plan, settings, order=as_live.order)
    source = open_plan_source(plan, settings)  # whatever is wrong with the plan is said at once
    if plan.from_stdin:
        return source  # standard input belongs to this process
    return AheadSource(plan, source.topic)


async def _open_output(plan: Plan, spec: CandidateSpec, settings: Settings) -> ReplayOutput:
    folder = plan.folder_of(spec)
    if plan.to_topic is not None:
        return await _open_topic(plan.topic_of(spec), settings)
    return NoOutput() if folder is None else FileOutput(folder, resume=plan.resume, bidding=bool(settings.bidding))


async def _open_topic(name: str, settings: Settings) -> TopicOutput:
    """Open topics of the replay's own; made like those of the live scores and bids if they are not there."""
    live = settings.topics
    own = [msgspec.structs.replace(live.scores, name=name)]
    if settings.bidding:
        own.append(msgspec.structs.replace(live.bids, name=f"{name}{BIDS_SUFFIX}"))
    for one in own:
        if one.name in {other.name for other in live.all()}:
            raise SpecError(f"{one.name} is a live topic; name one of the replay's own")
    await create_topics(settings, own)
    output = KafkaOutput(settings)
    await output.start()
    return TopicOutput(output, scores=name, bids=own[1].name if settings.bidding else None)


class _Replay:
    """The candidates on their common way."""

    def __init__(
        self, plan: Plan, candidates: Sequence[Candidate], identities: Sequence[str], kept: ReplayFile
    ) -> None:
        self._plan = plan
        self._candidates = candidates
        self._identities = identities
        self._kept = kept

    async def run(self, chunks: AsyncGenerator[Chunk], on_progress: OnProgress, stop: asyncio.Event) -> None:
        saved = time.monotonic()
        pace = _Pace(self._plan.speed)
        begun = False
        async with aclosing(chunks):
            async for chunk in chunks:
                if not begun:
                    on_progress(None, self._candidates[0].tally.records)
                    begun = True
                async for part in pace.parts(chunk, stop):
                    for candidate in self._candidates:
                        await candidate.process(part)
                on_progress(chunk.progress, self._candidates[0].tally.records)
                if stop.is_set() or time.monotonic() - saved > self._plan.checkpoint_s:
                    self._checkpoint(chunk)
                    saved = time.monotonic()
                if stop.is_set():
                    raise Interrupted
        for candidate in self._candidates:
            candidate.finish()

    def _checkpoint(self, chunk: Chunk) -> None:
        if self._plan.keeps_checkpoints:
            for candidate, identity in zip(self._candidates, self._identities, strict=True):
                candidate.checkpoint(chunk.position, identity)
            self._kept.commit()


class _Pace:
    """Lets events through at a multiple of the pace at which they happened."""

    _SLICE_S = 0.05

    def __init__(self, speed: float | None) -> None:
        self._ms_per_s = speed * 1000 if speed else None
        self._first_ts: int | None = None
        self._started = 0.0

    async def parts(self, chunk: Chunk, stop: asyncio.Event) -> AsyncIterator[Chunk]:
        """Yield a chunk in parts, each when it is due."""
        if self._ms_per_s is None:
            yield chunk
            return
        waiting = chunk.arrivals
        rest = Chunk(records=chunk.records - len(waiting), dead=chunk.dead, tombstones=chunk.tombstones)
        yield rest
        while waiting:
            reached = self._reached(waiting[0][3].ts)  # type: ignore[arg-type]  # decoded: int
            due = 0
            while due < len(waiting) and (waiting[due][3].ts <= reached or stop.is_set()):  # type: ignore[operator]
                due += 1
            if due:
                yield Chunk(arrivals=waiting[:due], records=due)
                waiting = waiting[due:]
            else:
                await asyncio.sleep(self._SLICE_S)

    def _reached(self, ts: int) -> float:
        """Return the event time that the clock has reached."""
        now = time.monotonic()
        if self._first_ts is None:
            self._first_ts, self._started = ts, now
        assert self._ms_per_s is not None
        return self._first_ts + (now - self._started) * self._ms_per_s
