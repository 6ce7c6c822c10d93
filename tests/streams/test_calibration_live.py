"""Calibration through the whole of the engine: told by scorers, learned by the learners, applied by every scorer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from typing import Any

import pytest
import yaml
from builders import T0

from online_models.calibration import Calibrator
from online_models.closed_loop import ClosedLoop, Watchers, learner_pair
from online_models.records import DecodedBatch
from online_models.scoring import ScoringCore
from schemas.codec import decode_example, encode_json
from schemas.events import EventBase
from schemas.examples import Example
from schemas.models import Calibration
from schemas.scores import Score
from schemas.user_state import PartitionMeta
from streams.new_models import new_cores, new_replicas
from streams.replay.history import ExampleSpool, ModelHistory, PastReplica
from streams.settings import Settings, parse_settings
from streams.simulate import Shop

PUBLISH_MS = 60_000
CONFIG: dict[str, Any] = {
    "features": {
        "clicks": {"decayed_count": "click", "half_life": "1d", "transform": "log1p"},
        "item": {"field": "item_id"},
        "category": {"field": "category"},
    },
    "objectives": {
        "click": {
            "trigger": "impression", "outcome": "click", "match": "item", "window": "10m", "prior": 0.1,
            "labels": "immediate", "calibration": {"kind": "isotonic", "by": "category", "half_life": 50},
            "challengers": {"lean": {"features": ["clicks"]}},
        }
    },
}  # fmt: skip
TEXT = yaml.safe_dump(CONFIG)
SETTINGS: Settings = parse_settings(TEXT, {})
LOG: list[EventBase] = list(islice(Shop(seed=5, visitors=300, start_ms=T0).events(), 5_000))


def a_core(replicas: Mapping[str, Any], **kept: Any) -> ScoringCore:
    return ScoringCore(
        topic="events", partition=0, features=SETTINGS.features, objectives=SETTINGS.objectives, replicas=replicas,
        **kept,
    )  # fmt: skip


class Live:
    """A scorer, learners and the records between them; models are published by event time."""

    def __init__(self) -> None:
        self.replicas = new_replicas(SETTINGS)
        self.learners = list(new_cores(SETTINGS.learned, SETTINGS))
        self.scores: list[Score] = []
        self.examples: list[Example] = []
        self.published: dict[tuple[str, int], Calibration | None] = {}
        self._learned = self._due_ms = 0

    def run(self, *, restart_at: int | None = None) -> Live:
        core, users = a_core(self.replicas), dict[str, Any]()
        for offset, event in enumerate(LOG):
            ts = event.ts
            assert isinstance(ts, int)
            if ts >= self._due_ms:
                self.publish()
                self._due_ms = (ts // PUBLISH_MS + 1) * PUBLISH_MS
            if offset == restart_at:
                self.restart_learners()
            result = core.step(DecodedBatch(offset, offset + 1, 1, [(offset, ts, event)], [], 0), users)  # type: ignore[arg-type]
            self.scores += result.scores
            self.examples += [decode_example(encode_json(one)) for one in result.examples]
        return self

    def publish(self) -> None:
        waiting = list(enumerate(self.examples))[self._learned :]
        self._learned = len(self.examples)
        for learner in self.learners if waiting else ():
            for publication in [*learner.step(waiting), learner.publish_pending()]:
                for _, value in publication.records if publication else ():
                    self.replicas.apply(value)
            replica = self.replicas[learner.objective]
            self.published[learner.objective, replica.version] = replica.calibration

    def restart_learners(self) -> None:
        fresh = list(new_cores(SETTINGS.learned, SETTINGS))
        for new, old in zip(fresh, self.learners, strict=True):
            assert new.restore(old.checkpoint())
        self.learners = fresh


def a_loop() -> ClosedLoop:
    pairs = {
        one.name: learner_pair(
            one.name, lineage=SETTINGS.lineage(one), model=SETTINGS.new_model(one), prior=one.prior,
            publish_examples=SETTINGS.learning.publish_examples, judging=False, variant=name,
            own_features=SETTINGS.has_own_features(one),
            calibrator=one.new_calibrator(),
        )
        for name, one in SETTINGS.objectives[0].variants.items()
    }  # fmt: skip

    def new_core(partition: int, meta: PartitionMeta | None, timers: Mapping[str, int] | None) -> ScoringCore:
        return a_core({name: pair.replica for name, pair in pairs.items()}, meta=meta, timers=timers)

    return ClosedLoop(new_core=new_core, learners=pairs, watchers=Watchers({}), publish_ms=PUBLISH_MS)


@pytest.fixture(scope="module")
def live() -> Live:
    return Live().run()


def test_scores_tell_the_calibrated_and_the_raw_value_once_something_is_learned(live: Live) -> None:
    assert all(one.raw is not None and set(one.raw_shadows) == {"lean"} for one in live.scores)
    assert len({one.slice for one in live.examples if one.slice}) > 3
    later = live.scores[len(live.scores) // 2 :]
    assert sum(one.score != one.raw for one in later) > 0.9 * len(later)
    assert all(0.0 < one.score < 1.0 for one in later)
    slices = {name: known.slices for (name, _), known in live.published.items() if known}
    assert all(len(slices[name]) >= 2 for name in ("click", "click~lean"))


def test_calibrated_scores_add_up_to_what_came(live: Live) -> None:
    judged = [one for one in live.examples if one.use != "learn" and one.model_version]
    came = sum(one.label for one in judged)

    assert came > 200
    # Three standard deviations of what came, and as much for the curve.
    assert sum(one.score for one in judged) == pytest.approx(came, abs=6 * came**0.5)


def test_a_replay_repeats_what_was_live(live: Live) -> None:
    loop = a_loop()
    loop.run([(0, offset, one.ts, one) for offset, one in enumerate(LOG)], {0: {}})  # type: ignore[misc]

    assert [encode_json(one) for one in loop.scores] == [encode_json(one) for one in live.scores]


def test_a_replay_that_was_interrupted_goes_on_bit_for_bit(live: Live) -> None:
    users: dict[int, dict[str, Any]] = {0: {}}
    arrivals = [(0, offset, one.ts, one) for offset, one in enumerate(LOG)]
    first, second = a_loop(), a_loop()
    first.run(arrivals[:3_000], users)  # type: ignore[arg-type]
    before = list(first.scores)
    timers = {user: at for user, at in first.take_timers()[0].items() if at is not None}

    second.restore(first.state(), {0: timers})
    second.run(arrivals[3_000:], users)  # type: ignore[arg-type]

    assert [encode_json(one) for one in before + second.scores] == [encode_json(one) for one in live.scores]


def test_a_learner_that_was_restarted_goes_on_bit_for_bit(live: Live) -> None:
    restarted = Live().run(restart_at=3_210)

    assert [encode_json(one) for one in restarted.scores] == [encode_json(one) for one in live.scores]


def test_any_version_is_rebuilt_with_its_calibration_from_the_examples(live: Live) -> None:
    with closing(ExampleSpool(None)) as spool:
        spool.put([(offset, encode_json(one)) for offset, one in enumerate(live.examples)])

        for variant in SETTINGS.variants:
            replica = PastReplica(ModelHistory(variant, SETTINGS, spool), SETTINGS)
            versions = [version for name, version in live.published if name == variant.name and version]
            for version in (versions[-1], versions[3], versions[len(versions) // 2]):
                replica.go_to(version)
                assert replica.calibration == live.published[variant.name, version] is not None
            replica.go_to(0)
            assert replica.calibration is None


def test_an_opaque_model_is_calibrated_as_well() -> None:
    naive = {**CONFIG["objectives"]["click"], "model": {"name": "naive_bayes"}, "challengers": {}}
    settings = parse_settings(
        yaml.safe_dump({**CONFIG, "objectives": {"click": naive}}),
        {"STREAMSCORE_MODEL_KEY": "a key that only tests know"},
    )
    [learner] = new_cores(settings.learned, settings)
    replicas = new_replicas(settings)

    learner.step([(0, Example(
        objective="click", score_id="events-0-0:click", ts=T0, label=False, features={"item=a": 1.0}, score=0.2,
        raw=0.2, model_version=1, topic="events", partition=0, offset=0, seq=0, released_ts=T0,
    ))])  # fmt: skip
    publication = learner.publish_pending()
    for _, value in publication.records if publication else ():
        replicas.apply(value)

    expected: Calibrator | None = learner.calibrator
    assert expected is not None
    assert replicas["click"].calibration == expected.calibration()


@pytest.mark.parametrize("calibration", [None, {"kind": "platt"}, {"kind": "isotonic", "by": "category"}])
def test_another_calibration_is_another_lineage(calibration: Any) -> None:
    changed = {**CONFIG["objectives"]["click"], "calibration": calibration}
    if calibration is None:
        del changed["calibration"]
    other = parse_settings(yaml.safe_dump({**CONFIG, "objectives": {"click": changed}}), {})

    for one, same, another in zip(SETTINGS.variants, parse_settings(TEXT, {}).variants, other.variants, strict=True):
        assert SETTINGS.lineage(one) == SETTINGS.lineage(same) != other.lineage(another)
