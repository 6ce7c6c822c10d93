"""Calibration on its way: learned with the model, published with its version, applied to every score."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from builders import MINUTE, EventLog, a_click, an_event, an_impression
from core_bench import CLICK, Bench, a_replica

from online_models.calibration import Calibrating, Calibrator, calibrated
from online_models.calibration_fit import logit_of, probability_of
from online_models.distribution import make_distributor
from online_models.estimators import SparseFTRL, build
from online_models.features import compile_features
from online_models.learning import LearningCore, Publication
from online_models.objectives import parse_objectives
from online_models.rankings import parse_rankings
from online_models.replica import LinearReplica, OpaqueReplica, ReplicaSet
from schemas.codec import decode_user_state, encode_json, encode_user_state
from schemas.events import RankRequest
from schemas.examples import Example, Use
from schemas.models import Calibration, Curve

WINDOW = 30 * MINUTE
KEY = b"a key that only these tests know"
DECLARED = Calibrating(kind="platt", by="item", half_life=50)
PLATT = {**CLICK, "calibration": {"kind": "platt"}}
BY_ITEM = {**CLICK, "calibration": {"kind": "platt", "by": "item"}}


def shifted(by: float) -> Curve:
    """Return a curve that moves every logit."""
    return Curve([-20.0, 20.0], [-20.0 + by, 20.0 + by])


# ------------------------------------------------------------------- learned


def a_core(
    *, name: str = "ftrl", calibrating: Calibrating | None = DECLARED, by_said: bool = False, **more: Any
) -> LearningCore:
    model = build({"name": name}, key=KEY)
    calibrator = Calibrator(calibrating, by_said=by_said) if calibrating else None
    return LearningCore(
        "click",
        lineage="one",
        estimator=model,
        distributor=make_distributor("click", lineage="one", estimator=model, calibrator=calibrator),
        publish_examples=40,
        calibrator=calibrator,
        **more,
    )


def an_example(offset: int, *, use: Use = "both", **fields: Any) -> Example:
    values: dict[str, Any] = {
        "objective": "click", "score_id": f"events-0-{offset}:click", "ts": offset, "label": offset % 5 == 0,
        "features": {} if use == "judge" else {f"item={offset % 3}": 1.0}, "score": 0.5, "raw": 0.01,
        "model_version": 1, "topic": "events", "partition": 0, "offset": offset, "seq": 0, "released_ts": offset,
        "use": use, "slice": f"{offset % 3}",
    }  # fmt: skip
    return Example(**values | fields)


def stream(count: int, **fields: Any) -> list[tuple[int, Example]]:
    return [(at, an_example(at, **fields)) for at in range(count)]


@pytest.mark.parametrize("name", ["ftrl", "naive_bayes"])
def test_a_calibration_is_learned_from_what_the_model_says_before_it_learns_the_label(name: str) -> None:
    core, model, calibrator = a_core(name=name), build({"name": name}, key=KEY), Calibrator(DECLARED)
    rng = random.Random(1)
    told = [(at, an_example(at, raw=rng.random(), score=rng.random())) for at in range(200)]

    core.step(told)
    for _, example in told:
        calibrator.learn_one(model.predict_proba_one(example.features)[True], example.label, example.slice)
        model.learn_one(example.features, example.label)

    assert core.calibrator.calibration() == calibrator.calibration()  # type: ignore[union-attr]


@pytest.mark.parametrize("fields", [{"use": "judge"}, {"features": {"item=1": 1e300}}, {}])
def test_where_the_model_cannot_be_asked_it_is_what_it_said_and_not_what_was_made_of_it(fields: dict[str, Any]) -> None:
    scores = random.Random(1)
    one, other = (a_core(by_said=not fields) for _ in range(2))
    one.step(stream(200, **fields))
    other.step([(at, an_example(at, score=scores.random(), **fields)) for at in range(200)])

    assert one.calibrator.calibration() == other.calibrator.calibration()  # type: ignore[union-attr]
    assert calibrated(one.calibrator.calibration(), 0.01, None) == pytest.approx(0.2, abs=0.03)  # type: ignore[union-attr]


def test_what_a_model_has_mended_itself_is_not_mended_again() -> None:
    """The rate triples, and labels are so late that all there are yet belong to what a version of before said."""
    rng = random.Random(2)
    rates = [0.02] * 6_000 + [0.06] * 3_000
    examples = [(at, an_example(at, label=rng.random() < rate, raw=0.02)) for at, rate in enumerate(rates)]

    told = {}
    for by_said in (True, False):
        replica = followed(a_core(by_said=by_said).step(examples))
        told[by_said] = calibrated(replica.calibration, replica.score_one({"item=0": 1.0}, 0)[0], None)

    assert told[True] > 2.0 * rates[-1]
    assert told[False] == pytest.approx(rates[-1], rel=0.25)


def test_a_challenger_is_asked_with_the_features_that_it_sees() -> None:
    examples = [(at, an_example(at, features_of={"deep": {"odd": float(at % 2)}})) for at in range(100)]
    core, other = (a_core(variant="deep", own_features=True) for _ in range(2))
    core.step(examples)
    other.step([(at, msgspec.structs.replace(example, features={})) for at, example in examples])

    assert core.calibrator.learned == 100  # type: ignore[union-attr]
    assert core.calibrator.calibration() == other.calibrator.calibration()  # type: ignore[union-attr]


def test_a_learner_goes_on_with_its_calibration_bit_for_bit() -> None:
    straight, first, second = a_core(), a_core(), a_core()
    undisturbed = straight.step(stream(300))

    before = first.step(stream(130))
    assert second.restore(first.checkpoint())
    after = second.step(stream(300))

    assert followed(undisturbed).calibration == followed(before + after).calibration == followed(after).calibration
    assert followed(after).calibration is not None
    assert second.checkpoint() == straight.checkpoint()


def followed(publications: list[Publication], replica: Any = None) -> Any:
    replica = replica or LinearReplica(lineage="one", name="ftrl", prior=0.5)
    replicas = ReplicaSet({"click": replica})
    for publication in publications:
        for _, value in publication.records:
            replicas.apply(value)
    assert replicas.unreadable == 0
    return replica


def test_a_checkpoint_of_before_has_no_calibration_and_is_taken_up() -> None:
    old = a_core(calibrating=None)
    old.step(stream(30))
    fields = msgspec.msgpack.decode(old.checkpoint())
    new = a_core()

    assert new.restore(msgspec.msgpack.encode(fields[:-1]))

    assert (new.next_offset, new.learned) == (30, 30)
    assert new.calibrator.learned == 0  # type: ignore[union-attr]


def test_what_only_the_calibration_learns_from_makes_a_version_too() -> None:
    """Under immediate labels the end of a window teaches the model nothing more, but the calibration all."""
    calibrated_, plain = a_core(), a_core(calibrating=None)
    calibrated_.step(stream(50, use="judge"))
    plain.step(stream(50, use="judge"))

    assert calibrated_.publish_pending().version == 50  # type: ignore[union-attr]
    assert plain.publish_pending() is None


def test_fake_negatives_do_not_teach_a_calibration() -> None:
    core = a_core()
    core.step(stream(50, use="learn"))

    assert (core.learned, core.calibrator.learned) == (50, 0)  # type: ignore[union-attr]


# ----------------------------------------------------------------- published


@pytest.mark.parametrize("name", ["ftrl", "naive_bayes"])
def test_a_replica_gets_the_calibration_with_the_version_that_it_belongs_to(name: str) -> None:
    core = a_core(name=name)
    spare: Any = OpaqueReplica(lineage="one", spare=build({"name": name}, key=KEY), prior=0.5)
    replica = LinearReplica(lineage="one", name="ftrl", prior=0.5) if name == "ftrl" else spare

    assert replica.calibration is None
    for end in (40, 80, 120):
        followed(core.step(stream(end)), replica)
        assert (replica.version, replica.calibration) == (end, core.calibrator.calibration())  # type: ignore[union-attr]
    assert sorted(replica.calibration.slices) == ["0", "1", "2"]


def test_a_manifest_without_calibration_leaves_none() -> None:
    calibrated_ = followed(a_core().step(stream(40)))
    followed(a_core(calibrating=None).step(stream(80)), calibrated_)

    assert (calibrated_.version, calibrated_.calibration) == (80, None)


# ------------------------------------------------------------------- applied


def bench_of(objective: dict[str, Any], calibration: Calibration | None, **more: Any) -> Bench:
    replica = a_replica("click")
    replica.calibration = calibration
    return Bench({"click": objective}, replicas={"click": replica}, **more)


LOG = (an_impression("i1"), an_impression("i2", 1), a_click("i1", 5), an_impression("i1", 6))


def test_a_score_has_the_calibrated_value_and_the_models_own() -> None:
    plain = Bench({"click": CLICK}).run(EventLog().add(*LOG))
    bench = bench_of(PLATT, Calibration(whole=shifted(-1.0))).run(EventLog().add(*LOG).tick(2 * WINDOW))

    assert [one.raw for one in bench.scores] == [one.score for one in plain.scores]
    assert [logit_of(one.score) for one in bench.scores] == pytest.approx(
        [logit_of(one.score) - 1.0 for one in plain.scores]
    )
    assert [one.reasons for one in bench.scores] == [one.reasons for one in plain.scores]
    assert [(one.score, one.raw) for one in bench.examples] == [(one.score, one.raw) for one in bench.scores]


def test_without_a_declaration_nothing_of_it_is_told() -> None:
    bench = bench_of(CLICK, Calibration(whole=shifted(-1.0))).run(EventLog().add(*LOG).tick(2 * WINDOW))
    plain = Bench({"click": CLICK}).run(EventLog().add(*LOG).tick(2 * WINDOW))

    assert bench.fingerprint() == plain.fingerprint()
    assert not any(
        b'"raw' in encode_json(one) or b'"slice' in encode_json(one) for one in plain.scores + plain.examples
    )


def test_before_a_calibration_has_come_a_score_is_the_models_own() -> None:
    [score] = bench_of(PLATT, None).run(EventLog().add(an_impression())).scores

    assert score.score == score.raw


def test_each_slice_has_its_curve_and_examples_tell_which_it_was() -> None:
    calibration = Calibration(whole=shifted(0.0), slices={"i2": shifted(2.0)})
    bench = bench_of(BY_ITEM, calibration).run(EventLog().add(*LOG).tick(2 * WINDOW))

    moved = [logit_of(one.score) - logit_of(one.raw) for one in bench.scores]  # type: ignore[arg-type]
    assert moved == pytest.approx([0.0, 2.0, 0.0])
    assert [one.slice for one in bench.examples] == ["i1", "i2", "i1"]


def test_the_correction_of_immediate_labels_comes_before_the_calibration() -> None:
    plain = Bench({"click": {**CLICK, "labels": "immediate"}}).run(EventLog().add(*LOG))
    bench = bench_of({**PLATT, "labels": "immediate"}, Calibration(whole=shifted(-1.0))).run(EventLog().add(*LOG))

    assert [one.raw for one in bench.scores] == [one.score for one in plain.scores]
    assert all(0.0 < one.score < one.raw for one in bench.scores)  # type: ignore[operator]


def test_each_variant_is_calibrated_by_its_own_curve_in_the_shadow_as_well() -> None:
    declared = {**PLATT, "challengers": {"deep": {"model": {"name": "ftrl", "alpha": 0.5}}}}
    replicas = {"click": a_replica("click"), "click~deep": a_replica("click~deep")}
    replicas["click"].calibration = Calibration(whole=shifted(-1.0))
    replicas["click~deep"].calibration = Calibration(whole=shifted(1.0))
    bench = Bench({"click": declared}, replicas=replicas).run(EventLog().add(*LOG).tick(2 * WINDOW))

    for one in (*bench.scores, *bench.examples):
        said, version = one.shadows["deep"]
        assert version == 7
        assert one.raw_shadows == {"deep": one.raw}  # the same weights
        assert logit_of(said) == pytest.approx(logit_of(one.score) + 2.0)


def test_what_waits_for_its_label_keeps_the_raw_value_and_states_of_before_have_none() -> None:
    bench = bench_of(PLATT, Calibration(whole=shifted(-1.0))).run(EventLog().add(an_impression()))
    user = bench.users["u1"]
    before = msgspec.msgpack.decode(encode_user_state(user))
    for one in before[5]:
        del one[-4:]

    assert [one.raw for one in decode_user_state(encode_user_state(user)).open] == [bench.scores[0].raw]
    assert [one.raw for one in decode_user_state(msgspec.msgpack.encode(before)).open] == [None]


def test_a_probe_and_the_score_agree() -> None:
    class Asking:
        asked: list[tuple[float, float]] = []

        def scored(self, score: Any, event: Any, values: Any, probe: Any) -> None:
            self.asked.append((score.score, probe(event)))

    observer = Asking()
    bench_of(BY_ITEM, Calibration(whole=shifted(-1.0)), observer=observer).run(EventLog().add(*LOG))

    assert len(observer.asked) == 3
    assert all(score == again for score, again in observer.asked)


def ranking_bench(objective: dict[str, Any], calibration: Calibration) -> Bench:
    features = compile_features({"item": {"field": "item_id"}})
    plain = {key: value for key, value in objective.items() if key != "calibration"}
    [home] = parse_rankings(
        {"home": {"objective": "click", "shown": 2}}, objectives=parse_objectives({"click": plain}, features=features)
    )
    return bench_of(objective, calibration, rankings=[home])


def test_a_ranking_goes_by_calibrated_scores_and_each_place_tells_both() -> None:
    # The model prefers i1; i2 is known to do better than it says.
    request = an_event(RankRequest, 0, candidates=["i1", "i2"])
    calibration = Calibration(whole=shifted(-1.0), slices={"i2": shifted(3.0)})

    [by_item] = ranking_bench(BY_ITEM, calibration).run(EventLog().add(request)).scores
    [alike] = ranking_bench(PLATT, calibration).run(EventLog().add(request)).scores

    assert [one.item_id for one in by_item.ranked] == ["i2", "i1"]
    assert [one.item_id for one in alike.ranked] == ["i1", "i2"]
    for answer, shifts in ((by_item, (3.0, -1.0)), (alike, (-1.0, -1.0))):
        moved = [logit_of(one.score) - logit_of(one.raw) for one in answer.ranked]  # type: ignore[arg-type]
        assert moved == pytest.approx(shifts)
        assert (answer.score, answer.raw) == (answer.ranked[0].score, answer.ranked[0].raw)


# --------------------------------------------------------------- all together


def test_calibrated_scores_of_a_drifting_stream_are_off_by_less_than_the_models_own() -> None:
    """A model of fixed weights, while what it predicts becomes half as frequent, and then twice."""
    rng = random.Random(5)
    core = LearningCore(
        "click", lineage="one", estimator=SparseFTRL(alpha=1e-9, intercept_lr=0.0, intercept_init=-4.0),
        distributor=make_distributor("click", lineage="one", estimator=SparseFTRL()), publish_examples=10**9,
        calibrator=Calibrator(Calibrating(kind="isotonic", half_life=100)),
    )  # fmt: skip
    off = {"raw": 0.0, "calibrated": 0.0}
    for number in range(24_000):
        truth = -4.0 + (-0.7 if number < 12_000 else 0.7) + (logit := rng.gauss(0.0, 0.5))
        raw = probability_of(-4.0 + logit)
        if number % 200 == 0:
            calibration = core.calibrator.calibration()  # type: ignore[union-attr]
        if number % 12_000 > 8_000:
            off["raw"] += abs(probability_of(truth) - raw)
            off["calibrated"] += abs(probability_of(truth) - calibrated(calibration, raw, None))
        core.step([(number, an_example(number, label=rng.random() < probability_of(truth), raw=raw))])

    assert off["calibrated"] < 0.5 * off["raw"]
