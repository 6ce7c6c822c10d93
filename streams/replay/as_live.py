"""As it was live: every event meets the model version that its live score names.

The live scores tell the versions, the live examples rebuild them (`streams.replay.history`). Learning
does not depend on the replay then, so partitions are merged by version first: models go forward, and
only where two workers had them in different order does a learner go back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from online_models.closed_loop import Arrival
from online_models.objectives import variant_name
from online_models.serving import Served
from schemas.codec import BadRecord, decode_score
from streams.learner import checkpoint_name
from streams.replay.history import ExampleSpool, ModelHistory, PastReplica, VersionLost
from streams.replay.range_reader import open_range
from streams.replay.spec import ByOffset, TopicRange
from streams.settings import Settings
from streams.stores import StoreMisconfigured, Unavailable, open_store

# By objective: the variant that was served, and its version.
Versions = Mapping[str, tuple[str, int]]


class ScoredVersions:
    """Which model version each live score names, on disk; of a repeated score the first counts."""

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect("" if path is None else path, isolation_level=None)
        self._db.executescript(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;"
            "CREATE TABLE versions (partition INTEGER, position INTEGER, objective TEXT, variant TEXT, version INTEGER,"
            " PRIMARY KEY (partition, position, objective)) WITHOUT ROWID"
        )
        self.count = 0
        self.unreadable = 0

    def put(self, values: Iterable[bytes | None], topic: str) -> None:
        """Keep the versions of scores of events of `topic`."""
        rows = []
        for value in values:
            try:
                score = decode_score(value or b"")
            except BadRecord:
                self.unreadable += 1
                continue
            if score.topic == topic:
                rows.append((score.partition, score.offset, score.objective, score.variant, score.model_version))
        self._db.execute("BEGIN")
        self.count += self._db.executemany("INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?, ?)", rows).rowcount
        self._db.execute("COMMIT")

    def of(self, partition: int) -> Iterator[tuple[int, Versions]]:
        """Yield (offset, variant and version by objective) of a partition's scored events, in order."""
        rows = self._db.execute(
            "SELECT position, objective, variant, version FROM versions WHERE partition = ? ORDER BY position",
            (partition,),
        )
        for offset, group in groupby(rows, key=lambda row: int(row[0])):
            yield offset, {objective: (variant, version) for _, objective, variant, version in group}

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class _Walk:
    """The versions of a partition's events, asked for in order."""

    def __init__(self, versions: Iterator[tuple[int, Versions]]) -> None:
        self._versions = versions
        self._next = next(versions, None)
        self.latest: dict[str, tuple[str, int]] = {}

    def to(self, offset: int) -> dict[str, tuple[str, int]]:
        """Return the latest variants and versions up to and including an offset."""
        while self._next is not None and self._next[0] <= offset:
            self.latest.update(self._next[1])
            self._next = next(self._versions, None)
        return self.latest


class AsLive:
    """Moves the replicas of a replay to where they were live.

    Attributes
    ----------
    replicas
        By variant, for the scoring cores.
    served
        By objective, the variant whose model made the live score.
    """

    def __init__(self, versions: ScoredVersions, histories: Mapping[str, ModelHistory], settings: Settings) -> None:
        self.replicas = {name: PastReplica(history, settings) for name, history in histories.items()}
        self.served = {one.name: Served(one.variants) for one in settings.objectives}
        self._versions = versions
        self._ordering: dict[int, _Walk] = {}
        self._running: dict[int, _Walk] = {}
        self._highest: dict[int, int] = {}
        self._to_close: list[Any] = [versions]

    def order(self, partition: int, offset: int, stream_time_ms: int) -> tuple[int, int, int, int]:
        """Order records by the versions of their scores; asked for each partition in order."""
        latest = self._walk(self._ordering, partition).to(offset)
        reached = sum(version for _, version in latest.values())
        highest = self._highest[partition] = max(self._highest.get(partition, 0), reached)
        return highest, stream_time_ms, partition, offset

    def moving(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """Yield arrivals, each when the models are where they were for it; raises VersionLost."""
        for arrival in arrivals:
            for objective, (variant, version) in self._walk(self._running, arrival[0]).to(arrival[1]).items():
                served = self.served.get(objective)
                if served is not None:
                    self._move(served, objective, variant, version)
            yield arrival

    def _move(self, served: Served, objective: str, variant: str, version: int) -> None:
        replica = self.replicas.get(variant_name(objective, variant))
        if replica is None:
            raise VersionLost(
                f"{objective} was scored by its challenger {variant!r}, which this configuration does not declare; "
                "take the configuration that was live"
            )
        served.variant = variant
        if replica.version != version:
            replica.go_to(version)

    def _walk(self, walks: dict[int, _Walk], partition: int) -> _Walk:
        walk = walks.get(partition)
        if walk is None:
            walk = walks[partition] = _Walk(self._versions.of(partition))
        return walk

    def close(self) -> None:
        """Let go of the files."""
        for one in self._to_close:
            one.close()


class NothingLive(ValueError):
    """There are no live scores to follow."""


async def open_as_live(topic: str, settings: Settings) -> AsLive:
    """Read the live scores and examples; nothing of them is changed.

    Raises
    ------
    NothingLive
        The topic of scores holds none of `topic`.
    TopicMissing, Unavailable
    """
    versions = ScoredVersions(None)
    async with open_range(TopicRange(settings.topics.scores.name), settings.kafka) as source:
        while batches := await source.read():
            for records in batches.values():
                versions.put([record.value for record in records], topic)
    if not versions.count:
        raise NothingLive(f"{settings.topics.scores.name} holds no scores of {topic}; was it scored live?")
    histories, spool = await open_histories(settings)
    as_live = AsLive(versions, histories, settings)
    as_live._to_close.append(spool)
    return as_live


async def open_histories(
    settings: Settings, *, up_to: int | None = None
) -> tuple[dict[str, ModelHistory], ExampleSpool]:
    """Copy the live examples to disk; return the history of each variant's model, by its name.

    Parameters
    ----------
    up_to
        Only examples before this offset; None: all.
    """
    spool = ExampleSpool(None)
    wanted = TopicRange(settings.topics.examples.name, end=None if up_to is None else ByOffset({None: up_to}))
    async with open_range(wanted, settings.kafka) as source:
        oldest = max(source.starts.values())
        while batches := await source.read():
            for records in batches.values():
                spool.put([(record.offset, record.value) for record in records])
    histories = {}
    for variant in settings.variants:
        checkpoint = await _checkpoint(settings, variant.name) if oldest else None
        histories[variant.name] = ModelHistory(variant, settings, spool, oldest=oldest, checkpoint=checkpoint)
    return histories, spool


async def _checkpoint(settings: Settings, objective: str) -> bytes | None:
    """Return the live learner's checkpoint, None if it cannot be had."""
    store = open_store(settings)
    try:
        found = await store.load_blob(checkpoint_name(settings, objective))
        return found[0] if found else None
    except (Unavailable, StoreMisconfigured):
        return None
    finally:
        await store.close()
