"""As it was live: every event meets the model versions that its live score or bid names.

The live scores and bids tell the versions, the live examples rebuild them (`streams.replay.history`). Learning
does not depend on the replay then, so partitions are merged by version first: models go forward, and
only where two workers had them in different order does a learner go back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from online_models.bidding.market import MARKET
from online_models.closed_loop import Arrival
from online_models.crowd import CROWD
from online_models.objectives import objective_of, variant_name, variant_of
from online_models.score_maker import ANSWERED
from online_models.serving import Served
from schemas.codec import BadRecord, decode_bid, decode_score
from schemas.events import RankRequest
from streams.learner import checkpoint_name
from streams.output import partition_for_key
from streams.replay.history import ExampleSpool, ModelHistory, PastReplica, VersionLost
from streams.replay.range_reader import open_range
from streams.replay.spec import ByOffset, TopicRange
from streams.settings import Settings
from streams.stores import StoreMisconfigured, Unavailable, open_store


class Said(NamedTuple):
    """A model that said something about an event: its name (see `variant_name`), its version, if it was served."""

    model: str
    version: int
    served: bool


# What is learned for everybody, and is asked beside the models.
_SHARED = (CROWD, MARKET)
_Row = tuple[int, int, str, int, bool]


class ScoredVersions:
    """Which model versions each live score and bid names, on disk; of what was repeated the first counts."""

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect("" if path is None else path, isolation_level=None)
        self._db.executescript(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;"
            "CREATE TABLE versions (partition INTEGER, position INTEGER, model TEXT, version INTEGER, served INTEGER,"
            " PRIMARY KEY (partition, position, model)) WITHOUT ROWID"
        )
        self.count = 0
        self.unreadable = 0

    def put(self, values: Iterable[bytes | None], topic: str) -> None:
        """Keep the versions of scores of events of `topic`."""
        rows: list[_Row] = []
        for value in values:
            try:
                score = decode_score(value or b"")
            except BadRecord:
                self.unreadable += 1
                continue
            if score.topic == topic:
                if ANSWERED in score.flags:  # the answer is in the event; no model is asked when it is replayed
                    continue
                model = variant_name(score.objective, score.variant)
                rows.append((score.partition, score.offset, model, score.model_version, True))
                self.count += 1
                if score.crowd or score.ranked:  # a version of 0 counts: nothing was known yet
                    rows.append((score.partition, score.offset, CROWD, score.crowd_version, True))
                for variant, (_, version) in score.shadows.items():
                    model = variant_name(score.objective, variant)
                    rows.append((score.partition, score.offset, model, version, False))
        self._insert(rows)

    def put_bids(self, values: Iterable[bytes | None], topic: str) -> None:
        """Keep the versions of bids for requests of `topic`."""
        rows: list[_Row] = []
        for value in values:
            try:
                bid = decode_bid(value or b"")
            except BadRecord:
                self.unreadable += 1
                continue
            # One that was made over HTTP is in the request; neither models nor market are asked when it is replayed.
            if bid.topic == topic and ANSWERED not in bid.flags:
                asked = {**bid.models, MARKET: bid.market_version, CROWD: bid.crowd_version}
                rows += [(bid.partition, bid.offset, model, version, True) for model, version in asked.items()]
                self.count += 1
        self._insert(rows)

    def _insert(self, rows: Iterable[_Row]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def of(self, partition: int) -> Iterator[tuple[int, list[Said]]]:
        """Yield (offset, what was said) of a partition's scored events, in order."""
        rows = self._db.execute(
            "SELECT position, model, version, served FROM versions WHERE partition = ? ORDER BY position, model",
            (partition,),
        )
        for offset, group in groupby(rows, key=lambda row: int(row[0])):
            yield offset, [Said(model, version, bool(served)) for _, model, version, served in group]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def trigger_offset(score_id: str) -> int:
    """Return the offset of the trigger that a score_id names.

    >>> trigger_offset("shop-events-3-1047:click")
    1047
    """
    return int(score_id.partition(":")[0].rpartition("-")[2])


class _Walk:
    """What was said of a partition's events, asked for in order."""

    def __init__(self, said: Iterator[tuple[int, list[Said]]]) -> None:
        self._said = said
        self._next = next(said, None)
        self._served: dict[str, int] = {}

    def at(self, offset: int) -> list[Said]:
        """Return what was said of one event."""
        found: list[Said] = []
        while self._next is not None and self._next[0] <= offset:
            if self._next[0] == offset:
                found = self._next[1]
            self._served.update((objective_of(one.model), one.version) for one in self._next[1] if one.served)
            self._next = next(self._said, None)
        return found

    def reached(self, offset: int) -> int:
        """Return how far the models were that were served up to and including an offset: the sum of their versions."""
        self.at(offset)
        return sum(self._served.values())


class AsLive:
    """Moves the replicas of a replay to where they were live.

    Attributes
    ----------
    replicas
        By variant, for the scoring cores.
    served
        By objective, the variant whose model made the live score.
    """

    def __init__(
        self, versions: ScoredVersions, histories: Mapping[str, ModelHistory], settings: Settings, files: ExitStack
    ) -> None:
        self.replicas = {name: PastReplica(history, settings) for name, history in histories.items()}
        self.served = {one.name: Served(one.variants) for one in settings.objectives}
        self._versions = versions
        self._ordering: dict[int, _Walk] = {}
        self._running: dict[int, _Walk] = {}
        self._highest: dict[int, int] = {}
        self._crowd_of: dict[int, int] = {}
        self._files = files

    def order(self, partition: int, offset: int, stream_time_ms: int) -> tuple[int, int, int, int]:
        """Order records by the versions of their scores; asked for each partition in order."""
        reached = self._walk(self._ordering, partition).reached(offset)
        highest = self._highest[partition] = max(self._highest.get(partition, 0), reached)
        return highest, stream_time_ms, partition, offset

    def moving(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """Yield arrivals, each when the models are where they were for it; raises VersionLost."""
        for arrival in arrivals:
            partition, offset, _, event = arrival
            said = self._walk(self._running, partition).at(offset)
            for one in said:
                served = self.served.get(objective_of(one.model))
                if one.model == CROWD:
                    self._crowd_of[partition] = one.version
                if served is not None or one.model in _SHARED:
                    self._move(served, one)
            if not said and isinstance(event, RankRequest) and CROWD in self.replicas:
                # It got no answer, because no candidates were known yet; they would be, a partition further on.
                self._move(None, Said(CROWD, self._crowd_of.get(partition, 0), True))
            yield arrival

    def _move(self, served: Served | None, one: Said) -> None:
        replica = self.replicas.get(one.model)
        if replica is None and served is None:
            return  # crowd or market, which nothing asks in this configuration
        if replica is None:
            raise VersionLost(
                f"Events were scored by {one.model}, a challenger which this configuration does not declare; "
                "take the configuration that was live"
            )
        if served is not None and one.served:
            served.variant = variant_of(one.model)
        if replica.version != one.version:
            replica.go_to(one.version)

    def _walk(self, walks: dict[int, _Walk], partition: int) -> _Walk:
        walk = walks.get(partition)
        if walk is None:
            walk = walks[partition] = _Walk(self._versions.of(partition))
        return walk

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()


class NothingLive(ValueError):
    """There are no live scores to follow."""


async def open_as_live(topic: str, settings: Settings) -> AsLive:
    """Read the live scores, bids and examples; nothing of them is changed.

    Raises
    ------
    NothingLive
        The topic of scores holds none of `topic`.
    TopicMissing, Unavailable
    """
    with ExitStack() as files:
        versions = files.enter_context(closing(ScoredVersions(None)))
        async with open_range(TopicRange(settings.topics.scores.name), settings.kafka) as source:
            while batches := await source.read():
                for records in batches.values():
                    versions.put([record.value for record in records], topic)
        if settings.bidding:
            async with open_range(TopicRange(settings.topics.bids.name), settings.kafka) as source:
                while batches := await source.read():
                    for records in batches.values():
                        versions.put_bids([record.value for record in records], topic)
        if not versions.count:
            raise NothingLive(f"{settings.topics.scores.name} holds no scores of {topic}; was it scored live?")
        histories, spool = await open_histories(settings)
        files.enter_context(closing(spool))
        return AsLive(versions, histories, settings, files.pop_all())


async def open_histories(
    settings: Settings, *, up_to: int | None = None
) -> tuple[dict[str, ModelHistory], ExampleSpool]:
    """Copy the live examples to disk; return the history of each variant's model, by its name.

    Parameters
    ----------
    up_to
        Only examples before this offset; None: all.
    """
    with ExitStack() as files:
        spool = files.enter_context(closing(ExampleSpool(None)))
        wanted = TopicRange(settings.topics.examples.name, end=None if up_to is None else ByOffset({None: up_to}))
        async with open_range(wanted, settings.kafka) as source:
            oldest = max(source.starts.values())
            while batches := await source.read():
                for number, records in batches.items():
                    # A partition also holds what objectives left there before the topic got more of them.
                    here = partial(_is_in, number, partitions=len(source.starts))
                    spool.put([(record.offset, record.value) for record in records], belongs=here)
        checkpoints = await _checkpoints(settings)
        histories = {
            one.name: ModelHistory(one, settings, spool, oldest=oldest, checkpoint=checkpoints.get(one.name))
            for one in settings.variants
        }
        files.pop_all()
    return histories, spool


def _is_in(partition: int, objective: str, *, partitions: int) -> bool:
    return partition_for_key(objective.encode(), partitions) == partition


async def _checkpoints(settings: Settings) -> dict[str, bytes]:
    """Return the live learners' checkpoints by the models' names, those that can be had."""
    store, checkpoints = open_store(settings), {}
    try:
        for variant in settings.variants:
            found = await store.load_blob(checkpoint_name(settings, variant.name))
            if found is not None:
                checkpoints[variant.name] = found[0]
    except (Unavailable, StoreMisconfigured):
        pass
    finally:
        await store.close()
    return checkpoints
