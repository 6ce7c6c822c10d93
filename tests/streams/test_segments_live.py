"""Segments through the whole of the engine: told by scorers, learned by one learner, read by every scorer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec
import pytest
import yaml
from builders import T0

from online_models.closed_loop import ClosedLoop, Watchers, learner_pair
from online_models.crowd import CROWD, CrowdCounts, crowd_of
from online_models.learning import LearningCore
from online_models.records import DecodedBatch
from online_models.scoring import ScoringCore
from online_models.segments import described
from schemas.codec import encode_json
from schemas.events import EventBase
from schemas.examples import Example
from schemas.scores import Score
from schemas.user_state import PartitionMeta
from streams.new_models import new_cores, new_replicas
from streams.output import partition_for_key
from streams.settings import Settings, parse_settings
from streams.simulate import Shop

PARTITIONS = 2
PUBLISH_MS = 60_000
CONFIG: dict[str, Any] = {
    "features": {
        "visits": {"visits": "total"},
        "clicks": {"decayed_count": "click", "half_life": "1d", "transform": "log1p"},
        "basket": {"basket": "value", "transform": "log1p"},
        "item": {"field": "item_id"},
        "hot": {"popularity": "item_id"},
        "hot_here": {"popularity": "item_id", "by": "segment"},
        "segment": {"segment": "visitor"},
        "item_x_segment": {"cross": ["item", "segment"]},
    },
    "segments": {"of": ["visits", "clicks", "basket"], "count": 3},
    "objectives": {
        "click": {
            "trigger": "impression", "outcome": "click", "match": "item", "window": "30m", "model": {"name": "ftrl"}
        }
    },
    "rankings": {"home": {"objective": "click", "shown": 3}},
}  # fmt: skip
SETTINGS: Settings = parse_settings(yaml.safe_dump(CONFIG), {})


def events(count: int) -> list[EventBase]:
    return list(islice(Shop(seed=5, visitors=300, start_ms=T0).events(), count))


def a_core(partition: int, replicas: Mapping[str, Any], **kept: Any) -> ScoringCore:
    return ScoringCore(
        topic="events",
        partition=partition,
        features=SETTINGS.features,
        objectives=SETTINGS.objectives,
        rankings=SETTINGS.rankings,
        replicas=replicas,
        **kept,
    )


class Live:
    """Scorers, learners and the records between them; models are published by event time."""

    def __init__(self) -> None:
        self.replicas = new_replicas(SETTINGS)
        self.learners = {one.objective: one for one in new_cores(SETTINGS.learned, SETTINGS)}
        self.cores = [a_core(number, self.replicas) for number in range(PARTITIONS)]
        self.users: list[dict[str, Any]] = [{} for _ in range(PARTITIONS)]
        self.scores: list[Score] = []
        self.examples: list[Example] = []
        self._learned = self._due_ms = 0

    def run(self, log: list[EventBase], restart_at: int | None = None) -> Live:
        for offset, event in enumerate(log):
            ts = event.ts
            assert isinstance(ts, int)
            if ts >= self._due_ms:
                self.publish()
                self._due_ms = (ts // PUBLISH_MS + 1) * PUBLISH_MS
            if offset == restart_at:
                self.restart_learners()
            self.score(offset, event)
        return self

    def score(self, offset: int, event: EventBase) -> list[Score]:
        partition = partition_for_key(event.user_id.encode(), PARTITIONS)
        batch = DecodedBatch(offset, offset + 1, 1, [(offset, event.ts, event)], [], 0)  # type: ignore[arg-type]
        result = self.cores[partition].step(batch, self.users[partition])
        self.scores += result.scores
        self.examples += result.examples
        return result.scores

    def publish(self) -> None:
        waiting = list(enumerate(self.examples))[self._learned :]
        self._learned = len(self.examples)
        for name, learner in self.learners.items():
            mine = [(offset, one) for offset, one in waiting if one.objective == name]
            publications = learner.step(mine) if mine else []
            for publication in [*publications, learner.publish_pending() if mine else None]:
                for _, value in publication.records if publication else ():
                    self.replicas.apply(value)

    def restart_learners(self) -> None:
        fresh = {one.objective: one for one in new_cores(SETTINGS.learned, SETTINGS)}
        for name, learner in fresh.items():
            assert learner.restore(self.learners[name].checkpoint())
        self.learners = fresh


def closed_loop(log: list[EventBase]) -> list[Score]:
    pairs = {
        one.name: learner_pair(
            one.name, lineage=SETTINGS.lineage(one), model=SETTINGS.new_model(one), prior=one.prior,
            publish_examples=SETTINGS.learning.publish_examples, judging=False,
        )
        for one in SETTINGS.variants
    }  # fmt: skip

    def new_core(partition: int, meta: PartitionMeta | None, timers: Mapping[str, int] | None) -> ScoringCore:
        return a_core(partition, {name: pair.replica for name, pair in pairs.items()}, meta=meta, timers=timers)

    loop = ClosedLoop(new_core=new_core, learners=pairs, watchers=Watchers({}), publish_ms=PUBLISH_MS)
    loop.run(
        [
            (partition_for_key(one.user_id.encode(), PARTITIONS), offset, one.ts, one)  # type: ignore[misc]
            for offset, one in enumerate(log)
        ],
        {number: {} for number in range(PARTITIONS)},
    )
    return list(loop.scores)


LOG = events(6_000)


@pytest.fixture(scope="module")
def live() -> Live:
    return Live().run(LOG)


def test_scores_carry_the_segment_once_there_are_segments(live: Live) -> None:
    segments = [one.segment for one in live.scores]
    first = next(number for number, one in enumerate(segments) if one is not None)

    assert set(segments[:first]) == {None}
    assert set(segments[first:]) == {"1", "2", "3"}
    told = [one for one in live.scores if one.segment]
    assert all(one.crowd[-1] == one.segment and one.crowd_version for one in told)


def test_the_segment_is_a_feature_and_counts_popularity_by_itself(live: Live) -> None:
    learned = {name for one in live.examples if one.objective == "click" for name in one.features}

    assert {"segment=1", "segment=2", "hot_here"} < learned
    groups = {name[7:].partition("\t")[0] for name in live.replicas[CROWD].weights if "\t" in name}  # type: ignore[attr-defined]
    assert groups == {"", "1", "2", "3"}


def test_the_replica_is_what_the_learner_has_learned(live: Live) -> None:
    live.publish()
    learner = live.learners[CROWD]._estimator
    assert isinstance(learner, CrowdCounts)

    crowd = crowd_of(SETTINGS.features, live.replicas)

    assert crowd.weights == learner.weights
    found = described(SETTINGS.features.segments, crowd.weights)
    assert [one.id for one in found] == ["1", "2", "3"]
    assert sum(one.share for one in found) == pytest.approx(1.0)


def test_what_is_told_has_an_id_of_its_own(live: Live) -> None:
    told = [one for one in live.examples if one.objective == CROWD]

    assert len({one.score_id for one in told}) == len(told)
    assert all(one.score_id == f"events-{one.partition}-{one.offset}:crowd" for one in told)


def test_a_replay_repeats_what_was_live(live: Live) -> None:
    replayed = closed_loop(LOG)

    assert [encode_json(one) for one in replayed] == [encode_json(one) for one in live.scores]


def test_a_learner_that_was_restarted_goes_on_bit_for_bit(live: Live) -> None:
    restarted = Live().run(LOG, restart_at=4_321)

    assert [encode_json(one) for one in restarted.scores] == [encode_json(one) for one in live.scores]


def test_a_version_can_be_learned_again_from_the_examples(live: Live) -> None:
    live.publish()
    again = next(one for one in new_cores(SETTINGS.learned, SETTINGS) if one.objective == CROWD)

    again.step([(offset, one) for offset, one in enumerate(live.examples) if one.objective == CROWD])

    assert isinstance(again, LearningCore)
    assert again._estimator.to_bytes() == live.learners[CROWD]._estimator.to_bytes()


def test_a_published_segment_stands_whatever_the_segments_are_by_now() -> None:
    before, after = Live().run(LOG[:4_000]), Live().run(LOG[:4_000])
    impression = next(one for one in LOG[4_000:] if one.type == "impression")
    offset = LOG.index(impression)
    [published] = before.score(offset, impression)
    published.crowd = [*published.crowd[:-1], "3"]
    published.segment = "3"

    core = after.cores[partition_for_key(impression.user_id.encode(), PARTITIONS)]
    core.published = {published.score_id: published}
    [again] = after.score(offset, impression)

    assert again is published
    kept = after.users[core.partition][impression.user_id].open[-1]
    assert msgspec.msgpack.decode(kept.values)[SETTINGS.features.position("segment")] == "3"
