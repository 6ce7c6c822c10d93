"""Calibration: what is learned of how often a model's probabilities come true."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from math import exp, isfinite, log, log1p
from typing import Any

import msgspec
import pytest
from core_bench import CLICK, FEATURES
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from online_models.calibration import (
    BINS_PER_LOGIT,
    MOST_SLICES,
    Calibrating,
    Calibrator,
    Kind,
    calibrated,
    raw_said_by,
)
from online_models.calibration_fit import (
    IDENTITY,
    MODEL_BELIEF,
    Bin,
    fitted_curve,
    fitted_line,
    logit_of,
    on_curve,
    pooled,
    probability_of,
)
from online_models.errors import ConfigError
from online_models.features import compile_features
from online_models.objectives import Objective, parse_objectives
from schemas.codec import BadRecord, decode_model_record
from schemas.examples import Example
from schemas.models import Calibration

KINDS: tuple[Kind, ...] = ("platt", "isotonic")
HALF_LIFE = 20
Said = tuple[float, bool, str | None]

said = st.lists(
    st.tuples(
        st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0, 1e-300, 0.5, 1.0 - 1e-16])),
        st.booleans(),
        st.sampled_from([None, "a", "b", ""]),
    ),
    max_size=60,
)


def a_calibrator(kind: Kind = "platt", *, by: str | None = "device", half_life: int = HALF_LIFE) -> Calibrator:
    return Calibrator(Calibrating(kind=kind, by=by, half_life=half_life))


def taught(calibrator: Calibrator, drawn: Sequence[Said]) -> Calibrator:
    for p, label, value in drawn:
        calibrator.learn_one(p, label, value)
    return calibrator


def a_stream(count: int, rate: float, *, odds: float = 1.0, seed: int = 1, value: str | None = None) -> list[Said]:
    """Return triggers to which a model gives probabilities around `rate`; the odds of the truth are `odds` times so."""
    rng = random.Random(seed)
    drawn: list[Said] = []
    for _ in range(count):
        logit = log(rate / (1.0 - rate)) + rng.gauss(0.0, 0.8)
        drawn.append((probability_of(logit), rng.random() < probability_of(logit + log(odds)), value))
    return drawn


def mean(calibration: Calibration, drawn: Sequence[Said], value: str | None = None) -> float:
    return sum(calibrated(calibration, p, value) for p, _, _ in drawn) / len(drawn)


# ---------------------------------------------------------------------- laws


@given(said, st.sampled_from(KINDS))
@settings(max_examples=50, deadline=None)
def test_whatever_has_come_a_curve_rises_and_ends_neither_at_0_nor_at_1(drawn: list[Said], kind: Kind) -> None:
    calibration = taught(a_calibrator(kind), drawn).calibration()

    for value in (None, "a", "b", "never seen"):
        told = [calibrated(calibration, p, value) for p in (0.0, *(i / 100 for i in range(1, 100)), 1.0)]
        assert all(isfinite(p) and 0.0 < p < 1.0 for p in told)
        assert all(low <= high for low, high in pairwise(told))
    # What the wire refuses is never published.
    assert msgspec.json.decode(msgspec.json.encode(calibration), type=Calibration) == calibration


@given(said, said, st.sampled_from(KINDS))
@settings(max_examples=30, deadline=None)
def test_a_calibrator_that_was_kept_goes_on_bit_for_bit(before: list[Said], after: list[Said], kind: Kind) -> None:
    undisturbed, again = taught(a_calibrator(kind), before), a_calibrator(kind)
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(undisturbed.state())))

    taught(undisturbed, after)
    taught(again, after)

    assert again.state() == undisturbed.state()
    assert again.calibration() == undisturbed.calibration()


def test_counts_fade_by_half_with_each_half_life_of_positives_however_long_it_has_learned() -> None:
    drawn = a_stream(5_000, 0.3)
    calibrator = taught(a_calibrator(by=None), drawn)

    expected: dict[int, list[float]] = {}
    left = 0
    for p, label, _ in reversed(drawn):
        weight = 0.5 ** (left / HALF_LIFE)
        one = expected.setdefault(int(logit_of(p) * BINS_PER_LOGIT // 1), [0.0, 0.0])
        one[0] += weight
        one[1] += weight * label
        left += label
    # Some 1,500 positives are 75 half-lives: weights have been scaled on the way, once.
    assert calibrator.state()[0][1] == left - 64 * HALF_LIFE > 0
    unit = 2.0 ** (calibrator.state()[0][1] / HALF_LIFE)
    found = {number: [weight / unit, positives / unit] for number, weight, positives, _ in calibrator.state()[1]}
    heavy = {number: values for number, values in expected.items() if values[0] > 1e-9}
    assert {number: pytest.approx(found[number]) for number in heavy} == heavy


def test_weights_stay_far_from_the_end_of_a_double_however_long_it_has_learned() -> None:
    """The weight of a label doubles with each half-life, so without scaling it would be beyond a double after 1,024."""
    calibrator = taught(a_calibrator(), [(0.3, True, "a")] * (1_100 * HALF_LIFE))

    _, [[_, weight, positives, _]], slices, _ = calibrator.state()
    assert weight == positives < 2.0**70
    assert slices == {"a": calibrator.state()[1]}
    assert calibrator.learned == 1_100 * HALF_LIFE


def test_what_weighs_nothing_any_more_is_forgotten_when_weights_are_scaled() -> None:
    # labels     1 negative               1 negative    scaled
    # half-life  0                        34            64
    calibrator = taught(a_calibrator(), [(0.01, False, "long ago")])
    taught(calibrator, [(0.5, True, "now")] * (34 * HALF_LIFE) + [(0.1, False, "before")])
    assert len(calibrator.state()[1]) == 3
    taught(calibrator, [(0.5, True, "now")] * (30 * HALF_LIFE))

    _, whole, slices, _ = calibrator.state()
    before, now = (int(logit_of(p) * BINS_PER_LOGIT // 1) for p in (0.1, 0.5))
    assert {number: weight for number, weight, *_ in whole}.keys() == {before, now}
    assert slices.keys() == {"before", "now"}
    assert slices["before"][0][1] == 2.0**-30


def test_a_line_is_the_one_of_highest_penalized_likelihood() -> None:
    bins = [Bin(-6.0, 5_000.0, 4.0), Bin(-4.5, 2_000.0, 11.0), Bin(-3.0, 400.0, 30.0), Bin(2.0, 3.0, 1.0)]
    centre = sum(one.weight * one.x for one in bins) / sum(one.weight for one in bins)

    def loss(at: Any) -> float:
        total = 0.5 * (MODEL_BELIEF[0] * at[0] ** 2 + MODEL_BELIEF[1] * at[1] ** 2)
        for x, weight, positives in bins:
            logit = x + at[0] + at[1] * (x - centre)
            total += weight * log1p(exp(logit)) - positives * logit
        return float(total)

    shift, turn = minimize(loss, [0.0, 0.0], tol=1e-10).x
    line = fitted_line(bins, IDENTITY, MODEL_BELIEF)

    assert line.slope == pytest.approx(1.0 + turn, abs=1e-4)
    assert line.at(centre) == pytest.approx(centre + shift, abs=1e-4)


points = st.lists(st.tuples(st.floats(-6.0, 6.0), st.floats(0.5, 100.0)), min_size=1, max_size=9)


@given(points)
@settings(max_examples=50, deadline=None)
def test_pools_are_those_of_the_min_max_formula(drawn: list[tuple[float, float]]) -> None:
    """Isotonic regression is, at each point, the highest of the lowest means (Barlow et al., 1972)."""
    rates, weights = [probability_of(y) for y, _ in drawn], [weight for _, weight in drawn]

    def mean_of(first: int, last: int) -> float:
        some = range(first, last + 1)
        return sum(rates[i] * weights[i] for i in some) / sum(weights[i] for i in some)

    count = range(len(drawn))
    expected = [max(min(mean_of(a, b) for b in count if b >= i) for a in count if a <= i) for i in count]
    found = pooled([(float(x), y, weight) for x, (y, weight) in enumerate(drawn)])

    assert [rate for _, rate, _ in found] == sorted(rate for _, rate, _ in found)
    distinct = [rate for rate, after in zip(expected, [*expected[1:], None], strict=True) if rate != after]
    for rate in (probability_of(y) for _, y, _ in found):
        assert min(abs(rate - one) for one in distinct) < 1e-9
    assert sum(weight for _, _, weight in found) == pytest.approx(sum(weights))


# ------------------------------------------------------------------ learning


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odds", [0.3, 1.0, 3.0])
def test_a_model_that_is_wrong_by_a_factor_is_put_right(kind: Kind, odds: float) -> None:
    drawn = a_stream(30_000, 0.01, odds=odds)
    calibration = taught(a_calibrator(kind, half_life=400), drawn).calibration()

    for p in (0.003, 0.01, 0.03):
        assert calibrated(calibration, p, None) == pytest.approx(probability_of(logit_of(p) + log(odds)), rel=0.25)


def test_a_monotone_curve_follows_what_no_line_can() -> None:
    """A model that says 1, 2 or 4 %, where 1, 1.2 and 8 % come."""
    rng = random.Random(3)
    truth = {0.01: 0.01, 0.02: 0.012, 0.04: 0.08}
    drawn = [(p, rng.random() < truth[p], None) for p in rng.choices(list(truth), k=80_000)]

    off = {}
    for kind in KINDS:
        calibration = taught(a_calibrator(kind, half_life=1_000), drawn).calibration()
        off[kind] = sum(abs(calibrated(calibration, p, None) - rate) for p, rate in truth.items())

    assert off["isotonic"] < 0.4 * off["platt"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_that_moves_is_followed(kind: Kind) -> None:
    calibrator = taught(a_calibrator(kind, half_life=100), a_stream(25_000, 0.01))
    after = a_stream(25_000, 0.01, odds=2.5, seed=2)
    truth = sum(label for _, label, _ in after) / len(after)

    before = mean(calibrator.calibration(), after)
    followed = mean(taught(calibrator, after).calibration(), after)

    assert before == pytest.approx(0.4 * truth, rel=0.2)
    assert followed == pytest.approx(truth, rel=0.12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slice_goes_from_the_whole_to_its_own_rate_as_its_labels_come(kind: Kind) -> None:
    shared = a_stream(10_000, 0.02, value="most")
    own = a_stream(20_000, 0.02, odds=3.0, seed=2, value="odd")
    truth = sum(label for _, label, _ in own) / len(own)

    calibrator, told, reached = taught(a_calibrator(kind, half_life=1_000), shared), [], 0
    unseen = mean(calibrator.calibration(), own, None) / truth
    for count in (0, 100, 1_000, len(own)):
        calibration = taught(calibrator, own[reached:count]).calibration()
        told.append(mean(calibration, own[:2_000], "odd") / truth)
        reached = count

    assert told[0] == pytest.approx(unseen, abs=0.03)
    assert told[0] < told[1] < told[2] < told[3]
    assert told[1] < 0.75  # some six positives
    assert told[3] == pytest.approx(1.0, abs=0.12)


def test_slices_are_counted_only_where_they_are_declared_and_only_so_many() -> None:
    undeclared = taught(a_calibrator(by=None), [(0.1, True, "a")] * 50)
    full = a_calibrator()
    for number in range(3 * MOST_SLICES):
        taught(full, [(0.1, True, "heavy"), (0.1, False, f"rare{number}")])

    slices = full.state()[2]
    assert undeclared.calibration().slices == {}
    assert len(slices) <= MOST_SLICES
    assert {"heavy", f"rare{3 * MOST_SLICES - 1}"} <= set(slices)


def test_a_curve_without_labels_is_the_model_itself() -> None:
    for kind in KINDS:
        calibration = a_calibrator(kind).calibration()
        assert [calibrated(calibration, p, "a") for p in (0.001, 0.3)] == pytest.approx([0.001, 0.3])


def test_bins_that_hold_nothing_but_negatives_do_not_reach_0() -> None:
    curve = fitted_curve([Bin(-5.0, 1e9, 0.0)], IDENTITY.at)

    assert probability_of(on_curve(curve, -5.0)) > 0.0


# ---------------------------------------------------- what examples teach it


def an_example(**fields: Any) -> Example:
    values: dict[str, Any] = {
        "objective": "click", "score_id": "events-0-1:click", "ts": 0, "label": False, "features": {}, "score": 0.9,
        "raw": 0.1, "model_version": 5, "topic": "events", "partition": 0, "offset": 1, "seq": 0, "released_ts": 1_000,
    }  # fmt: skip
    return Example(**values | fields)


def test_what_a_variant_said_is_what_its_model_said_itself_if_it_had_learned_anything() -> None:
    example = an_example(
        variant="deep", shadows={"": (0.8, 4), "new": (0.7, 0), "plain": (0.6, 3)}, raw_shadows={"": 0.2, "new": 0.3}
    )
    learned = {}
    for variant in ("deep", "", "new", "plain", "gone"):
        calibrator = a_calibrator()
        calibrator.update(example, raw_said_by(variant, example))
        learned[variant] = [number for number, *_ in calibrator.state()[1]]

    assert learned == {
        "deep": [int(logit_of(0.1) * BINS_PER_LOGIT // 1)],
        "": [int(logit_of(0.2) * BINS_PER_LOGIT // 1)],
        "new": [],  # its model had learned nothing
        "plain": [],  # an example of before
        "gone": [],
    }


def test_a_positive_that_is_known_early_waits_for_the_end_of_its_window() -> None:
    # trigger  click    window closes
    # 0        10       100
    calibrator = Calibrator(Calibrating(kind="platt"), closes_after_ms=100)

    calibrator.update(an_example(label=True, released_ts=10), 0.1)
    waiting = calibrator.learned
    again = Calibrator(Calibrating(kind="platt"), closes_after_ms=100)
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(calibrator.state())))
    for one in (calibrator, again):
        one.update(an_example(label=False, ts=50, released_ts=151), 0.1)

    assert (waiting, calibrator.learned, again.learned) == (0, 2, 2)
    assert again.calibration() == calibrator.calibration()


def test_a_positive_waits_for_the_clock_of_its_own_partition() -> None:
    # partition 1 works off a backlog: of its windows no negative is known, its positives teach nothing
    calibrator = Calibrator(Calibrating(kind="platt"), closes_after_ms=100)

    for number in range(60):
        calibrator.update(an_example(label=False, ts=9_000 + number, released_ts=9_100 + number), 0.1)
        calibrator.update(an_example(label=True, ts=number, released_ts=number + 1, partition=1), 0.1)

    assert calibrator.learned == 60
    assert calibrated(calibrator.calibration(), 0.1, None) < 0.1
    calibrator.update(an_example(label=False, ts=59, released_ts=159, partition=1), 0.1)
    assert calibrator.learned == 121


def test_positives_that_an_earlier_version_held_back_count_by_the_first_clock_that_passes_them() -> None:
    calibrator = Calibrator(Calibrating(kind="platt"), closes_after_ms=100)
    rows = [[100, 1, 0.1, None], [150, 2, 0.2, "a"]]  # it noted no partition
    *others, _ = calibrator.state()
    calibrator.restore([*others, rows])
    assert calibrator.state()[-1] == rows

    calibrator.update(an_example(label=False, ts=-1, released_ts=99, partition=1), 0.1)
    assert calibrator.learned == 1
    calibrator.update(an_example(label=False, ts=0, released_ts=100, partition=1), 0.1)
    assert (calibrator.learned, calibrator.state()[-1]) == (3, rows[1:])


def test_of_too_many_positives_that_wait_the_earliest_wait_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("online_models.calibration._MOST_WAITING", 2)
    calibrator = Calibrator(Calibrating(kind="platt"), closes_after_ms=100)

    for number in range(4):
        calibrator.update(an_example(label=True, ts=number, released_ts=number), 0.1)
    calibrator.update(an_example(released_ts=50), None)

    assert calibrator.learned == 2
    assert [row[1] for row in calibrator.state()[-1]] == [102, 103]


# --------------------------------------------------------------- declaration


def declared(calibration: Any) -> Objective:
    [one] = parse_objectives(
        {"click": {**CLICK, "calibration": calibration}}, features=compile_features({**FEATURES, "device": DEVICE})
    )
    return one


DEVICE = {"field": "device"}


def test_a_declaration_has_a_kind_and_defaults() -> None:
    assert declared({"kind": "platt"}).calibration == Calibrating(kind="platt", by=None, half_life=100)
    full = {"kind": "isotonic", "by": "device", "half_life": 1000}
    assert declared(full).calibration == Calibrating(kind="isotonic", by="device", half_life=1000)


@pytest.mark.parametrize(("labels", "by_said"), [("at_window_end", False), ("immediate", True)])
def test_only_immediate_labels_go_by_what_was_said_at_the_trigger(labels: str, by_said: bool) -> None:
    [objective] = parse_objectives(
        {"click": {**CLICK, "labels": labels, "calibration": {"kind": "platt"}}}, features=compile_features(FEATURES)
    )

    assert objective.new_calibrator().by_said is by_said  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("wrong", "path", "message"),
    [
        ("platt", "calibration", "Expected `object`"),
        ({}, "calibration", "missing required field `kind`"),
        ({"kind": "beta"}, "calibration", "Invalid enum value 'beta'"),
        ({"kind": "platt", "halflife": 9}, "calibration", "unknown field `halflife`"),
        ({"kind": "platt", "half_life": 1}, "calibration", "Expected `int` >= 20"),
        ({"kind": "platt", "by": "nothing"}, "calibration.by", "nothing"),
        ({"kind": "platt", "by": "clicks"}, "calibration.by", "'clicks' is a number; expected a category"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place(wrong: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        declared(wrong)
    assert ".".join(map(str, caught.value.path)) == f"click.{path}"


@pytest.mark.parametrize(
    "curve",
    [
        '{"raw": [0.0], "calibrated": [0.0]}',
        '{"raw": [0.0, 1.0], "calibrated": [0.0, 1.0, 2.0]}',
        '{"raw": [1.0, 0.0], "calibrated": [0.0, 1.0]}',
        '{"raw": [0.0, 1.0], "calibrated": [1.0, 0.0]}',
        '{"raw": [0.0, 1e300], "calibrated": [0.0, 1.0]}',
    ],
)
def test_a_curve_that_is_none_is_refused_when_it_is_read(curve: str) -> None:
    manifest = (
        '{"kind": "manifest", "objective": "click", "lineage": "1", "model": "ftrl", "version": 1, '
        f'"calibration": {{"whole": {curve}}}}}'
    )
    with pytest.raises(BadRecord):
        decode_model_record(manifest.encode())
