"""Exploring where the model is uncertain: Thompson sampling and LinUCB, from the declaration to the answer."""

from __future__ import annotations

import random
from collections import Counter
from math import prod
from typing import Any

import pytest
from builders import EventLog, an_event
from core_bench import ALL, CLICK, FEATURES, Bench
from hypothesis import given
from hypothesis import strategies as st

from online_models.closed_loop import OwnReplica
from online_models.distribution import make_distributor
from online_models.errors import ConfigError
from online_models.estimators import SparseFTRL
from online_models.explain import log_odds
from online_models.exploration import Chance, drawn_order
from online_models.features import compile_features
from online_models.objectives import Objective, parse_objectives
from online_models.policies import Policy, parse_policies
from online_models.rankings import Ranking, by_uncertainty, parse_rankings
from online_models.replica import LinearReplica
from online_models.sums import sigmoid
from online_models.uncertainty import Uncertainty, logit_variances
from schemas.codec import encode_json
from schemas.events import RankRequest

ITEMS: list[Any] = ["i1", "i2", "i3", "i4"]
DEEP = {"challengers": {"deep": {"model": {"name": "ftrl", "alpha": 0.5}}}}
SCORES = [0.05, 0.2, 0.05, 0.1]
VARIANCES = [0.5, 0.05, 0.05, 0.3]
CLOSE, UNCERTAIN = [0.08, 0.12, 0.1, 0.09], [0.5, 0.05, 0.1, 0.3]


def objectives_of(declared: dict[str, Any]) -> list[Objective]:
    return parse_objectives(declared, features=compile_features(FEATURES))


def home(objectives: dict[str, Any] | None = None, **ranking: Any) -> Ranking:
    [one] = parse_rankings(
        {"home": {"objective": "click", **ranking}}, objectives=objectives_of(objectives or {"click": CLICK})
    )
    return one


def asking(count: int = 1, **fields: Any) -> EventLog:
    log = EventLog()
    for number in range(count):
        log.add(an_event(RankRequest, number, candidates=ITEMS, event_id=f"e{number}", user_id=f"u{number}", **fields))
    return log


def knowing(bench: Bench, name: str = "click", **information: float) -> Bench:
    bench.replicas[name].information = {f"item={item}": squares for item, squares in information.items()}
    return bench


def a_policy(kind: Any, alpha: float = 1.0) -> Policy:
    return Policy(name="p", kind=kind, objective="click", alpha=alpha)


# ---------------------------------------------------------------- the chances


@pytest.mark.parametrize("policy", [a_policy("thompson"), a_policy("thompson", alpha=0.3)], ids=["1", "0.3"])
def test_orders_come_as_often_as_their_propensities_say(policy: Policy) -> None:
    draws = 10_000
    come: Counter[tuple[int, ...]] = Counter()
    chances: dict[tuple[int, ...], float] = {}
    for number in range(draws):
        order = drawn_order(policy, CLOSE, 4, Chance(f"home:{number}"), UNCERTAIN)
        items = tuple(index for index, _ in order)
        come[items] += 1
        chances[items] = prod(propensity for _, propensity in order)

    likely = {items: draws * chance for items, chance in chances.items() if draws * chance >= 5}
    rest = draws - sum(likely.values())
    squares = sum((come[items] - expected) ** 2 / expected for items, expected in likely.items())
    squares += (draws - sum(come[items] for items in likely) - rest) ** 2 / rest
    assert sum(chances.values()) == pytest.approx(1.0, abs=0.001), "orders that never came are rare"
    assert squares < 49.7, "one in a thousand exceeds it by chance, at 23 degrees of freedom"


def test_thompson_fills_each_place_as_drawing_every_logit_would() -> None:
    draws, rng = 10_000, random.Random(1)
    said: Counter[tuple[int, ...]] = Counter()
    drawn: Counter[tuple[int, ...]] = Counter()
    for number in range(draws):
        order = drawn_order(a_policy("thompson"), CLOSE, 2, Chance(f"home:{number}"), UNCERTAIN)
        said[tuple(index for index, _ in order)] += 1
        left, items = [0, 1, 2, 3], []
        for _ in range(2):
            best = max(left, key=lambda index: rng.gauss(log_odds(CLOSE[index]), UNCERTAIN[index] ** 0.5))
            left.remove(best)
            items.append(best)
        drawn[tuple(items)] += 1

    assert len(drawn) == 12
    squares = sum((said[items] - drawn[items]) ** 2 / (said[items] + drawn[items]) for items in drawn)
    assert squares < 31.3, "one in a thousand exceeds it by chance, at 11 degrees of freedom"


def test_lin_ucb_orders_by_logit_and_deviations() -> None:
    bounds = {0: -2.94 + 0.71, 1: -1.39 + 0.22, 2: -2.94 + 0.22, 3: -2.20 + 0.55}
    order = drawn_order(a_policy("lin_ucb"), SCORES, 4, Chance("e"), VARIANCES)
    bold = drawn_order(a_policy("lin_ucb", alpha=4.0), SCORES, 4, Chance("e"), VARIANCES)

    assert order == [(index, 1.0) for index in sorted(bounds, key=lambda index: -bounds[index])]
    assert [index for index, _ in bold] == [3, 0, 1, 2]


@pytest.mark.parametrize("kind", ["thompson", "lin_ucb"])
def test_candidates_that_are_alike_share_their_chance(kind: str) -> None:
    order = drawn_order(a_policy(kind), [0.1] * 4, 4, Chance("e"), [0.3] * 4)

    assert [propensity for _, propensity in order] == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1.0])


@pytest.mark.parametrize("kind", ["thompson", "lin_ucb"])
def test_without_variances_it_is_greedy(kind: str) -> None:
    greedy = drawn_order(a_policy("greedy"), SCORES, 4, Chance("e"))

    assert drawn_order(a_policy(kind), SCORES, 4, Chance("e")) == greedy


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.one_of(st.just(0.0), st.floats(0.0, 1e12))), min_size=1, max_size=30),
    st.integers(1, 40),
    st.sampled_from(["thompson", "lin_ucb"]),
)
def test_every_candidate_gets_one_place_with_a_chance_above_zero(
    drawn: list[tuple[float, float]], places: int, kind: str
) -> None:
    scores, variances = map(list, zip(*drawn, strict=True))

    order = drawn_order(a_policy(kind), scores, places, Chance("e"), variances)

    assert len({index for index, _ in order}) == len(order) == min(places, len(drawn))
    assert all(0.0 < propensity <= 1.0 for _, propensity in order)


# ---------------------------------------------------------------- how uncertain


def test_what_is_the_same_for_all_candidates_does_not_count() -> None:
    known = Uncertainty({"item=1": 6.0}.get, 2.0)  # type: ignore[arg-type]
    alone = [{"item=1": 1.0}, {"item=1": 3.0}]

    assert (
        logit_variances(known, [{"hour": 9.0, **x} for x in alone]) == logit_variances(known, alone) == [0.125, 1.125]
    )


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.floats(-1e200, 1e200), max_size=4), min_size=1, max_size=8))
def test_variances_are_finite_and_more_information_never_makes_them_larger(vectors: list[dict[str, float]]) -> None:
    little = logit_variances(Uncertainty(lambda name: 0.0, 1.0), vectors)
    more = logit_variances(Uncertainty(lambda name: 5.0, 1.0), vectors)

    assert all(0.0 <= b <= a <= 1e12 for a, b in zip(little, more, strict=True))


# ---------------------------------------------------------------- the answer


def test_items_that_were_never_met_get_the_first_place_more_often_than_known_ones() -> None:
    bench = Bench(rankings=[home(kind="thompson", alpha=1, shown=1)])
    bench.replicas["click"].weights = {"item=i1": 0.2}
    knowing(bench, i1=1000.0, i2=1000.0, i3=1000.0)

    first = Counter(one.ranked[0].item_id for one in bench.run(asking(2000)).scores)

    assert first["i1"] > first["i4"] > 4 * max(first["i2"], first["i3"])


def test_lin_ucb_shows_what_was_never_met_until_it_is_known() -> None:
    bench = Bench(rankings=[home(kind="lin_ucb", shown=4)])
    bench.replicas["click"].weights = {}

    knowing(bench, i1=5.0, i2=1.0, i3=50.0)

    [answer] = bench.run(asking()).scores
    assert [(one.item_id, one.propensity) for one in answer.ranked] == [
        (item, 1.0) for item in ("i4", "i2", "i1", "i3")
    ]


def test_scores_are_the_model_s_and_carry_no_bonus() -> None:
    answers = []
    for kind in ("greedy", "lin_ucb"):
        [answer] = knowing(Bench(rankings=[home(kind=kind)]), i1=5.0).run(asking()).scores
        answers.append({one.item_id: (one.score, one.reasons) for one in answer.ranked})

    assert answers[0] == answers[1]


@pytest.mark.parametrize(("variant", "order"), [("", ["i4", "i3", "i2", "i1"]), ("deep", ["i1", "i2", "i3", "i4"])])
def test_the_variant_that_is_served_says_how_uncertain_it_is(variant: str, order: list[str]) -> None:
    objectives = {"click": {**CLICK, **DEEP}}
    bench = Bench(objectives, rankings=[home(objectives, kind="lin_ucb", shown=4)])
    bench.replicas["click"].weights = bench.replicas["click~deep"].weights = {}
    knowing(bench, "click", i1=9.0, i2=5.0, i3=2.0)
    knowing(bench, "click~deep", i2=2.0, i3=5.0, i4=9.0)
    bench.served["click"].variant = variant

    [answer] = bench.run(asking()).scores

    assert [one.item_id for one in answer.ranked] == order


@pytest.mark.parametrize("kind", ["thompson", "lin_ucb"])
def test_before_a_model_has_come_each_candidate_has_the_same_chance(kind: str) -> None:
    bench = Bench(rankings=[home(kind=kind)])
    bench.replicas["click"].version = 0

    answers = bench.run(asking(50)).scores

    assert {one.ranked[0].propensity for one in answers} == {0.25}


def test_rankings_that_do_not_ask_never_look() -> None:
    bench = Bench(rankings=[home(kind="epsilon_greedy", epsilon=0.5)])
    bench.replicas["click"].uncertainty = None

    assert len(bench.run(asking()).scores) == 1


@pytest.mark.parametrize("kind", ["thompson", "lin_ucb"])
def test_live_and_replay_give_the_same_answers_bit_for_bit(kind: str) -> None:
    model, rng = SparseFTRL(alpha=0.1, l1=0.1), random.Random(3)
    live = LinearReplica(lineage="1", name="ftrl", prior=0.5, prior_precision=model.prior_precision)
    replayed = OwnReplica(model, prior=0.5)
    distributor = make_distributor("click", lineage="1", estimator=model, informed=True)
    answers = []
    for version in range(4):
        if version:
            for _ in range(40):
                item = rng.choice(ITEMS[:-1])
                model.learn_one({f"item={item}": 1.0, "clicks": rng.random()}, rng.random() < 0.3)
            for _, value in distributor.publish(version):
                follow(live, value)
            replayed.version = version
        answers.append(
            [
                [*map(encode_json, Bench(replicas={"click": one}, rankings=[home(kind=kind)]).run(asking(30)).scores)]
                for one in (live, replayed)
            ]
        )

    assert live.version == replayed.version == 3
    assert all(one == other for one, other in answers)
    assert len({str(one) for one, _ in answers}) == 4


def follow(replica: LinearReplica, value: bytes) -> None:
    from schemas.codec import decode_model_record

    replica.follow(decode_model_record(value))  # type: ignore[arg-type]


def test_an_opaque_model_tells_nothing_and_is_ranked_greedily() -> None:
    class Opaque:
        name, version = "tree", 3

        def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, list[tuple[str, float]]]:
            return sigmoid(len(x)), []

        def uncertainty(self) -> None:
            return None

        def linear(self) -> None:
            return None

    [answer] = Bench(replicas={"click": Opaque()}, rankings=[home(kind="thompson")]).run(asking()).scores

    assert answer.ranked[0].propensity == 0.25, "all are alike to it"


# ---------------------------------------------------------------- the declaration


@pytest.mark.parametrize(
    ("declared", "path", "message"),
    [
        ({"kind": "thompson", "alpha": 0}, "alpha", "Expected a number above 0 to 100"),
        ({"kind": "lin_ucb", "alpha": "bold"}, "alpha", "Expected a number above 0"),
        (
            {"kind": "lin_ucb", "epsilon": 0.1},
            "epsilon",
            "Unknown key for lin_ucb; .* kind, objective, alpha",
        ),
        ({"kind": "greedy", "alpha": 1}, "alpha", "Unknown key for greedy"),
        (
            {"kind": "popularity"},
            "kind",
            "Expected one of: greedy, .*, thompson, lin_ucb",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place(declared: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        home(**declared)

    assert caught.value.path == ("home", path)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"model": {"name": "neural_net"}}, "only `ftrl` tells; 'click' has 'neural_net' as its declared model"),
        ({"challengers": {"net": {"model": {"name": "neural_net"}}}}, "has 'neural_net' as its net model"),
    ],
)
def test_a_model_that_does_not_tell_how_uncertain_it_is_is_refused(objective: dict[str, Any], message: str) -> None:
    objectives = {"click": {**CLICK, **objective}}

    with pytest.raises(ConfigError, match=message) as caught:
        home(objectives, kind="thompson")

    assert caught.value.path == ("home", "kind")
    assert home(objectives, kind="softmax").policy.kind == "softmax"


@pytest.mark.parametrize("kind", ["thompson", "lin_ucb"])
def test_replays_do_not_ask_what_if(kind: str) -> None:
    with pytest.raises(ConfigError, match="Expected one of: uniform, popularity"):
        parse_policies({"what": {"kind": kind, "objective": "click"}}, objectives=objectives_of({"click": CLICK}))


def test_only_objectives_whose_ranking_asks_need_to_know() -> None:
    rankings = [home(kind="thompson"), home(ALL)]

    assert by_uncertainty(rankings, "click")
    assert not by_uncertainty(rankings, "continue")
    assert not by_uncertainty(rankings[1:], "click")
