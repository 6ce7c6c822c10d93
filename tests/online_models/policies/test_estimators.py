"""Off-policy estimators: laws they keep, and a truth that they find."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from online_models.policies import ESTIMATORS, OffPolicy

Rows = list[dict[str, float]]

shares = st.just(0.0) | st.floats(1e-6, 1.0)
rows = st.lists(
    st.fixed_dictionaries(
        {"propensity": st.floats(0.01, 1.0), "target": shares, "reward": shares, "q": shares, "value": shares}
    ),
    min_size=1,
    max_size=60,
)
by_the_logging_policy = st.lists(
    st.tuples(st.floats(0.01, 1.0), st.sampled_from([0.0, 1.0]), shares), min_size=1, max_size=60
)


def evaluated(rows: Rows) -> OffPolicy:
    policy = OffPolicy()
    for row in rows:
        policy.update(**row)
    return policy


def columns(rows: Rows) -> dict[str, list[float]]:
    return {key: [row[key] for row in rows] for key in rows[0]}


def values(policy: OffPolicy) -> dict[str, float | None]:
    return {name: one.value for name, one in policy.estimates().items()}


def same(one: float | None, other: float | None, near: float = 1e-9) -> bool:
    return one == other if one is None or other is None else one == pytest.approx(other, rel=near, abs=near)


@given(by_the_logging_policy)
def test_the_logging_policy_earns_what_was_earned(decisions: list[tuple[float, float, float]]) -> None:
    rows = [{"propensity": p, "target": p, "reward": r, "q": q, "value": q} for p, r, q in decisions]
    mean = sum(r for _, r, _ in decisions) / len(decisions)

    estimates = evaluated(rows).estimates()

    for name in ("ips", "snips", "dr"):
        assert estimates[name].value == pytest.approx(mean, abs=1e-12)
    assert estimates["dm"].value == pytest.approx(sum(q for _, _, q in decisions) / len(decisions))
    assert estimates["ips"].effective_sample_size == pytest.approx(len(rows))


@given(rows)
def test_rows_one_by_one_and_all_at_once_say_the_same(rows: Rows) -> None:
    at_once = OffPolicy()
    at_once.update_many(**columns(rows))

    one_by_one, many = evaluated(rows).estimates(), at_once.estimates()

    for name in ESTIMATORS:
        assert same(many[name].value, one_by_one[name].value)
        assert (many[name].n, many[name].positives) == (one_by_one[name].n, one_by_one[name].positives)


@given(rows, st.integers(0, 60))
def test_going_on_from_a_kept_state_changes_no_bit(rows: Rows, cut: int) -> None:
    later = OffPolicy()
    later.restore(evaluated(rows[:cut]).state())
    for row in rows[cut:]:
        later.update(**row)

    assert later.estimates() == evaluated(rows).estimates()


@given(rows, st.floats(0.1, 1.0))
def test_estimates_grow_with_the_rewards(rows: Rows, factor: float) -> None:
    smaller = [{**row, **{key: factor * row[key] for key in ("reward", "q", "value")}} for row in rows]

    for name, value in values(evaluated(rows)).items():
        other = values(evaluated(smaller))[name]
        assert same(other, None if value is None else factor * value)


@given(rows, st.floats(0.1, 1.0))
def test_self_normalized_estimates_do_not_ask_for_the_scale_of_propensities(rows: Rows, factor: float) -> None:
    scaled = [{**row, "target": factor * row["target"]} for row in rows]

    here, there = evaluated(rows).estimates()["snips"], evaluated(scaled).estimates()["snips"]

    for key in ("value", "standard_error", "low", "high"):
        assert same(getattr(there, key), getattr(here, key), near=1e-6)


@given(rows)
def test_the_interval_holds_the_value_and_self_normalized_ones_stay_among_rewards(rows: Rows) -> None:
    for name, one in evaluated(rows).estimates().items():
        if one.value is None or one.low is None or one.high is None:
            continue
        assert one.low <= one.value + 1e-9
        assert one.value <= one.high + 1e-9
        if name == "snips":
            assert one.low >= -1e-9
            assert one.high <= 1.0 + 1e-9


@given(rows)
def test_what_does_not_come_is_estimated_like_what_comes(rows: Rows) -> None:
    mirrored = [{**row, "reward": 1.0 - row["reward"]} for row in rows]

    here, there = evaluated(rows).estimates()["snips"], evaluated(mirrored).estimates()["snips"]

    assert same(there.value, None if here.value is None else 1.0 - here.value)


def test_nothing_says_nothing() -> None:
    for one in OffPolicy().estimates().values():
        assert (one.value, one.low, one.high, one.n) == (None, None, None, 0)
        assert one.warning == "No decision with a propensity and a label."


@pytest.mark.parametrize(
    ("key", "value"), [("propensity", 0.0), ("propensity", 1.1), ("target", -0.1), ("reward", 2.0), ("q", float("nan"))]
)
def test_impossible_rows_are_refused_and_change_nothing(key: str, value: float) -> None:
    row = {"propensity": 0.5, "target": 0.5, "reward": 1.0, "q": 0.1, "value": 0.1}
    policy = evaluated([row])
    before = policy.state()

    with pytest.raises(ValueError, match="Expected"):
        policy.update(**{**row, key: value})
    with pytest.raises(ValueError, match="Expected"):
        policy.update_many(**{name: [one] for name, one in {**row, key: value}.items()})

    assert policy.state() == before


# ---------------------------------------------------------------- another library

# Action, propensity and reward of each decision; the target's and the model's rows are taken in turn.
DECISIONS = [
    (0, 0.5, 0.0),
    (1, 0.3, 1.0),
    (1, 0.25, 0.0),
    (2, 0.1, 1.0),
    (0, 0.4, 1.0),
    (2, 0.2, 0.0),
    (1, 0.8, 0.0),
    (1, 0.05, 1.0),
    (0, 0.6, 0.0),
    (2, 0.35, 1.0),
]
TARGET = [(0.1, 0.6, 0.3), (0.2, 0.2, 0.6), (0.0, 1.0, 0.0), (0.7, 0.1, 0.2)]
MODEL = [(0.02, 0.05, 0.1), (0.3, 0.01, 0.2), (0.12, 0.08, 0.04), (0.25, 0.15, 0.05)]

# Printed by obp 0.5.7 (the Open Bandit Pipeline) for these rows, by way of benchmarks/obp_estimates.py.
OBP = {"ips": 0.6630952380952382, "snips": 0.43488444722048725, "dm": 0.1292, "dr": 0.6141095238095238}


def test_the_open_bandit_pipeline_says_the_same() -> None:
    policy = OffPolicy()
    for number, (action, propensity, reward) in enumerate(DECISIONS):
        target, model = TARGET[number % 4], MODEL[number % 4]
        policy.update(
            propensity=propensity,
            target=target[action],
            reward=reward,
            q=model[action],
            value=sum(chance * expected for chance, expected in zip(target, model, strict=True)),
        )

    assert values(policy) == pytest.approx(OBP, rel=1e-12)


# ---------------------------------------------------------------- warnings


def coin_rows(n: int, clicks: int, *, target: float = 1.0) -> Rows:
    """A coin decides; every other decision is what the target does, and the first of these are clicked."""
    return [
        {
            "propensity": 0.5,
            "target": target if i % 2 == 0 else 1.0 - target,
            "reward": float(i % 2 == 0 and i // 2 < clicks),
            "q": 0.01,
            "value": 0.01,
        }
        for i in range(n)
    ]


def warning(rows: Rows, estimator: str) -> str:
    return evaluated(rows).estimates()[estimator].warning or ""


def test_few_clicks_are_too_few_to_conclude() -> None:
    assert "what decides it is worth 6.0 events of equal weight" in warning(coin_rows(2000, 6), "ips")


def test_few_decisions_are_too_few_to_conclude() -> None:
    assert "it is worth 30.0 decisions of the policy's own" in warning(coin_rows(60, 12), "snips")


def test_clicks_where_the_policy_hardly_ever_goes_are_too_few_to_conclude() -> None:
    # What the policy mostly wants was shown 100 times and never clicked; 200 clicks weigh a tenth each.
    wanted = {"propensity": 0.01, "target": 0.9, "reward": 0.0, "q": 0.01, "value": 0.01}
    else_ = {"propensity": 0.99, "target": 0.1, "reward": 0.0, "q": 0.01, "value": 0.01}
    rows = [wanted] * 100 + [else_] * 9700 + [{**else_, "reward": 1.0}] * 200

    assert "more than a factor of 4" in warning(rows, "ips")


def test_a_policy_that_is_no_better_is_said_to_be_no_better() -> None:
    alike = [{**row, "reward": float(i % 20 < 2)} for i, row in enumerate(coin_rows(2000, 0))]

    assert warning(alike, "ips") == "The interval holds what the logging policy earned, 0.1: no difference is shown."


def test_enough_clicks_that_make_a_difference_raise_no_warning() -> None:
    estimate = evaluated(coin_rows(2000, 100)).estimates()["ips"]

    assert estimate.warning is None
    assert (estimate.value, estimate.logged_value) == (0.1, 0.05)


def test_propensities_that_do_not_belong_to_the_decisions_are_noticed() -> None:
    wrong = [{**row, "propensity": 0.9} for row in coin_rows(2000, 100)]

    assert "The mean weight is 0.556 and should be 1" in warning(wrong, "ips")


def test_the_direct_method_never_hides_that_its_model_may_be_wrong() -> None:
    assert "does not hold the error of the model" in warning(coin_rows(2000, 100), "dm")


# ---------------------------------------------------------------- a known truth


class World(NamedTuple):
    """Contexts (rows) and actions (columns) with known probabilities."""

    reward: NDArray[np.float64]
    logging: NDArray[np.float64]
    target: NDArray[np.float64]
    model: NDArray[np.float64]

    @property
    def truth(self) -> float:
        return float((self.target * self.reward).sum(axis=1).mean())

    def log(self, n: int, rng: np.random.Generator) -> dict[str, Any]:
        """Let the logging policy decide n times."""
        x = rng.integers(len(self.reward), size=n)
        action = (rng.random(n)[:, None] > self.logging.cumsum(axis=1)[x]).sum(axis=1)
        action = action.clip(max=self.logging.shape[1] - 1)
        return {
            "propensity": self.logging[x, action],
            "target": self.target[x, action],
            "reward": (rng.random(n) < self.reward[x, action]).astype(float),
            "q": self.model[x, action],
            "value": (self.target * self.model).sum(axis=1)[x],
        }


def a_world(*, seed: int, rate: float, sharpness: float) -> World:
    """The model is off by a factor of e^0.5 or so; `sharpness` sets the policies apart."""
    rng = np.random.default_rng(seed)
    shape = (20, 10)
    logit = np.log(rate / (1 - rate)) + 0.7 * rng.normal(size=shape)
    reward = 1 / (1 + np.exp(-logit))
    policies = np.exp(sharpness * rng.normal(size=(2, *shape)))
    logging, target = policies / policies.sum(axis=2, keepdims=True)
    return World(reward, logging, target, np.clip(reward * np.exp(0.5 * rng.normal(size=shape)), 0, 1))


@pytest.mark.parametrize(
    ("rate", "sharpness", "n", "overlap"),
    [
        pytest.param(0.01, 0.3, 5000, (0.7, 1.0), id="rare rewards"),
        pytest.param(0.01, 1.0, 5000, (0.1, 0.3), id="rare rewards, policies apart"),
        pytest.param(0.05, 1.5, 2000, (0.02, 0.1), id="policies far apart"),
        pytest.param(0.3, 1.0, 1000, (0.1, 0.4), id="frequent rewards"),
        pytest.param(0.8, 1.0, 1000, (0.1, 0.4), id="rewards are the rule"),
    ],
)
def test_intervals_hold_the_truth_in_93_of_100_runs(
    rate: float, sharpness: float, n: int, overlap: tuple[float, float]
) -> None:
    world = a_world(seed=2, rate=rate, sharpness=sharpness)
    rng = np.random.default_rng(7)
    runs, held, sizes = 300, dict.fromkeys(("ips", "snips", "dr"), 0), []

    for _ in range(runs):
        policy = OffPolicy()
        policy.update_many(**world.log(n, rng))
        estimates = policy.estimates()
        sizes.append(estimates["ips"].effective_sample_size / n)
        for name in held:
            low, high = estimates[name].low, estimates[name].high
            assert low is not None
            assert high is not None
            held[name] += low <= world.truth <= high

    assert overlap[0] < float(np.mean(sizes)) < overlap[1]
    assert min(held.values()) >= 0.93 * runs, held


def test_doubly_robust_estimates_are_unbiased_with_a_wrong_model_and_the_direct_method_is_not() -> None:
    world = a_world(seed=2, rate=0.1, sharpness=0.5)._replace(model=np.full((20, 10), 0.3))
    rng = np.random.default_rng(7)
    found: dict[str, list[float]] = {"ips": [], "dr": [], "dm": []}

    for _ in range(300):
        policy = OffPolicy()
        policy.update_many(**world.log(1000, rng))
        for name, those in found.items():
            those.append(values(policy)[name] or 0.0)

    bias = {name: (np.mean(those) - world.truth) / (np.std(those) / 300**0.5 + 1e-12) for name, those in found.items()}
    assert abs(bias["ips"]) < 3
    assert abs(bias["dr"]) < 3
    assert np.mean(found["dm"]) == pytest.approx(0.3)
