"""One configuration on its way through a replay: the closed loop, its users, and what is kept of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from online_models.bound import Replica
from online_models.closed_loop import ClosedLoop, LearnerPair, Users, Watchers, learner_pair
from online_models.features.durations import parse_duration_ms
from online_models.scoring import ScoringCore
from online_models.serving import Served
from schemas.codec import decode_user_state, encode_user_state
from schemas.user_state import PartitionMeta
from streams.cores import scoring_core
from streams.new_models import new_contest
from streams.replay.as_live import AsLive
from streams.replay.chunks import Chunk
from streams.replay.measures import Measures, Results
from streams.replay.outputs import OutputLost, ReplayOutput
from streams.replay.state import ReplayState
from streams.replay.tally import Tally
from streams.runner import keep_in_use
from streams.settings import Settings

# The cache may grow by a twentieth before it is cut back: one cut for many chunks.
_SLACK = 20

_POSITION = "position"
_LOOP = "loop"
_OUTPUT = "output"
_TALLY = "tally"
_IDENTITY = "identity"
_ANEW = "--overwrite instead of --resume begins anew"

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class CannotResume(ValueError):
    """What was kept does not belong to this replay; the message says what differs."""


def kept_position(kept: Mapping[str, tuple[ReplayState, str]]) -> Mapping[str, Any] | None:
    """Return where the source stood at the last checkpoint of the candidates; None: there was none yet.

    Parameters
    ----------
    kept
        By label: what is kept of a candidate, and its identity now.

    Raises
    ------
    CannotResume
        It belongs to another replay, or the candidates were not interrupted together.
    """
    positions = []
    for label, (state, identity) in kept.items():
        before, position = state.get(_IDENTITY), state.get(_POSITION)
        if before is not None and before.decode() != identity:
            raise CannotResume(
                f"{label}: what was interrupted had another source, configuration, mapping or version, or other "
                f"candidates ({before.decode()}, now {identity}); {_ANEW}"
            )
        positions.append(None if position is None else _unpack(position))
    if any(one != positions[0] for one in positions):
        raise CannotResume(f"{', '.join(kept)} were not interrupted at the same place; {_ANEW}")
    return positions[0]


class Candidate:
    """Runs one configuration over the chunks of a replay.

    Parameters
    ----------
    label
        How reports name it.
    topic
        Part of every score_id.
    state, output
        What it keeps and where its scores go; both are the candidate's own.
    measures
        What is to be found out about it.
    as_live
        Moves the models to where they were live; None: it learns by itself.
    """

    def __init__(
        self,
        label: str,
        settings: Settings,
        *,
        topic: str,
        state: ReplayState,
        output: ReplayOutput,
        measures: Measures,
        as_live: AsLive | None = None,
    ) -> None:
        self.label = label
        self.settings = settings
        self.topic = topic
        self.tally = Tally()
        self._state = state
        self._output = output
        self._measures = measures
        self._watchers = Watchers(measures.watchers)
        self._learners = dict(self._pairs())
        self._served = as_live.served if as_live else {one.name: Served(one.variants) for one in settings.objectives}
        # What was granted live is what could be spent then, and says nothing of another way to bid.
        self._desks = settings.desks(granted=as_live is not None)
        self._as_live = as_live
        self._replicas: Mapping[str, Replica] = (
            as_live.replicas if as_live else {name: pair.replica for name, pair in self._learners.items()}
        )
        self.loop = ClosedLoop(
            new_core=self._new_core,
            learners=self._learners,
            watchers=self._watchers,
            publish_ms=parse_duration_ms(settings.learning.publish_interval),
            served=self._served,
            learning=as_live is None,
        )
        self._users: dict[int, Users] = {}
        self._unsaved: dict[int, set[str]] = {}
        self._all_at_hand = True  # until a user is on the disk and not in the cache

    def _pairs(self) -> Iterator[tuple[str, LearnerPair]]:
        """Yield a learner with its replica for each variant of each objective, by the variant's name."""
        settings = self.settings
        for objective in settings.learned:
            for name, variant in objective.variants.items():
                model = settings.new_model(variant)
                if objective in settings.objectives:
                    model = self._measures.timed(variant.name, model)
                yield (
                    variant.name,
                    learner_pair(
                        variant.name,
                        lineage=settings.lineage(variant),
                        model=model,
                        prior=variant.prior,
                        publish_examples=settings.learning.publish_examples,
                        judging=bool(name),
                        variant=name,
                        own_features=settings.has_own_features(variant),
                        contest=None if name else new_contest(objective, settings),
                        calibrator=variant.new_calibrator(),
                    ),
                )

    def _new_core(self, partition: int, meta: PartitionMeta | None, timers: Mapping[str, int] | None) -> ScoringCore:
        return scoring_core(
            self.settings,
            topic=self.topic,
            partition=partition,
            replicas=self._replicas,
            served=self._served,
            desks=self._desks,
            meta=meta,
            timers=timers,
            observer=self._watchers,
        )

    # ---------------------------------------------------------------- running

    async def process(self, chunk: Chunk) -> None:
        """Score a chunk, learn from it, and write what it led to."""
        started = time.perf_counter()
        self._load(chunk)
        self.loop.run(self._as_live.moving(chunk.arrivals) if self._as_live else chunk.arrivals, self._users)
        await self._write()
        for partition, users in self.loop.changed().items():
            self._unsaved.setdefault(partition, set()).update(users)
        self._evict()
        self.tally.add(chunk)
        self.tally.seconds += time.perf_counter() - started

    def finish(self) -> None:
        """Learn what was released last; nothing more comes."""
        self.loop.finish()

    def results(self) -> Results:
        """Return what was found out."""
        return self._measures.results(self.label, self.tally, self.loop)

    async def _write(self) -> None:
        loop = self.loop
        self.tally.scores += len(loop.scores)
        self.tally.examples += len(loop.examples)
        await self._output.write(loop.scores, loop.examples, loop.bids)

    def _load(self, chunk: Chunk) -> None:
        """Have the users of a chunk at hand, those in use at the end of the cache."""
        if self._all_at_hand:
            for partition in {arrival[0] for arrival in chunk.arrivals} - self._users.keys():
                self._users[partition] = {}
            return
        for partition, events in chunk.by_partition().items():
            core = self.loop.core(partition)
            cached = self._users.setdefault(partition, {})
            needed = core.users_of(events)
            missing = [user_id for user_id in needed if user_id not in cached]
            for user_id, blob in self._state.load_users(partition, missing).items():
                cached[user_id] = core.adopt(decode_user_state(blob), user_id)
            keep_in_use(cached, needed, self._most_cached())

    def _most_cached(self) -> int:
        """Return how many users of a partition may be at hand."""
        return max(1, self.settings.worker.cache_users // max(1, len(self._users)))

    def _evict(self) -> None:
        """Put the users that were not in use for longest onto the disk, many at a time."""
        most = self._most_cached()
        for partition, cached in self._users.items():
            if len(cached) > most + most // _SLACK:
                self._all_at_hand = False
                oldest = list(islice(cached, len(cached) - most))
                self._save(partition, oldest)
                for user_id in oldest:
                    del cached[user_id]

    def _save(self, partition: int, user_ids: list[str]) -> None:
        unsaved, cached = self._unsaved.setdefault(partition, set()), self._users[partition]
        changed = [user_id for user_id in user_ids if user_id in unsaved]
        self._state.put_users(partition, ((one, encode_user_state(cached[one])) for one in changed))
        unsaved.difference_update(changed)

    # ---------------------------------------------------------------- to go on later

    def checkpoint(self, position: Mapping[str, Any], identity: str) -> None:
        """Keep all that it takes to go on from here; the file's commit makes it last."""
        for partition, cached in self._users.items():
            self._save(partition, list(cached))
        for partition, timers in self.loop.take_timers().items():
            self._state.put_timers(partition, timers)
        self._state.put(_LOOP, _pack(self.loop.state()))
        self._state.put(_OUTPUT, _pack(self._output.state()))
        self._state.put(_TALLY, _pack(vars(self.tally)))
        self._state.put(_POSITION, _pack(dict(position)))
        self._state.put(_IDENTITY, identity.encode())

    async def resume(self) -> None:
        """Go back to the last checkpoint, see `kept_position`; to the beginning if there is none.

        Raises
        ------
        CannotResume
            What it had written is not there any more.
        """
        if self._state.get(_IDENTITY) is None:
            state = self._output.state()
            await self._output.restore(None if state is None else [0] * len(state))
            return
        try:
            await self._output.restore(self._kept(_OUTPUT))
        except OutputLost as error:
            raise CannotResume(f"{error}; {_ANEW}") from None
        self._all_at_hand = False
        self.loop.restore(self._kept(_LOOP), self._state.timers())
        vars(self.tally).update(self._kept(_TALLY))
        self.tally.records_before = self.tally.records

    def _kept(self, name: str) -> Any:
        blob = self._state.get(name)
        assert blob is not None, name
        return _unpack(blob)

    async def close(self) -> None:
        """Close its output."""
        await self._output.close()
