"""Rank requests: the order, the chances, and that what is shown is learned from."""

from __future__ import annotations

import random
from collections import Counter
from math import factorial, prod
from typing import Any

import msgspec
import orjson
import pytest
from builders import MINUTE, T0, EventLog, a_click, an_add_to_cart, an_event, an_impression
from core_bench import ALL, CLICK, Bench
from hypothesis import given
from hypothesis import strategies as st

from online_models.errors import ConfigError
from online_models.exploration import Chance, _Greedy, drawn_order
from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.policies import Policy
from online_models.policies.choosing import probabilities
from online_models.rankings import parse_rankings
from schemas.codec import BadRecord, decode_event, decode_user_state, encode_json, encode_user_state
from schemas.events import Answered, Candidate, RankRequest
from schemas.scores import Ranked

WINDOW = 30 * MINUTE
ITEMS = ["i1", "i2", "i3", "i4"]


def a_request(candidates: list[Any], at_ms: int = 0, **fields: Any) -> RankRequest:
    return an_event(RankRequest, at_ms, candidates=candidates, **fields)  # type: ignore[no-any-return]


def ranking_bench(objectives: dict[str, Any] | None = None, *, observer: Any = None, **ranking: Any) -> Bench:
    """Return a bench whose ranking `home` goes by `click`; its model likes i1 and what the visitor has a taste for."""
    objectives = objectives or {"click": CLICK}
    features = compile_features({"item": {"field": "item_id"}})
    declared = {name: {key: body[key] for key in body if key != "when"} for name, body in objectives.items()}
    [home] = parse_rankings(
        {"home": {"objective": "click", **ranking}}, objectives=parse_objectives(declared, features=features)
    )
    return Bench(objectives, rankings=[home], observer=observer)


# ---------------------------------------------------------------- the answer


def test_the_answer_has_the_best_first_and_as_many_as_are_shown() -> None:
    bench = ranking_bench(shown=2).run(EventLog().add(a_request(["i2", "i1", "i3"])))

    [answer] = bench.scores
    assert (answer.score_id, answer.objective, answer.ranking) == ("events-0-0:home", "click", "home")
    first, second = answer.ranked
    assert (first.item_id, first.propensity) == ("i1", 1.0)
    assert second.propensity == 0.5, "i2 and i3 are alike, so chance decides between them"
    assert first.score > second.score
    assert ("item=i1", 0.5) in first.reasons
    assert (answer.item_id, answer.score, answer.reasons) == (first.item_id, first.score, first.reasons)


def test_what_is_known_of_a_candidate_counts() -> None:
    log = EventLog().add(a_click("i9", category="shoes"))
    log.add(a_request(["i2", Candidate(item_id="i3", category="shoes"), Candidate(item_id="i4", category="hats")], 1))

    answer = ranking_bench().run(log).scores[-1]

    assert answer.ranked[0].item_id == "i3"
    assert [name for name, _ in answer.ranked[0].reasons] == ["taste", "rate", "clicks"]


def test_a_candidate_counts_once() -> None:
    [answer] = ranking_bench().run(EventLog().add(a_request(["i1", "i2", "i1"]))).scores

    assert sorted(one.item_id for one in answer.ranked) == ["i1", "i2"]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (a_request([]), "no_candidates"),
        (a_request(["i1"], ranking="side"), "no_ranking"),
    ],
)
def test_a_request_that_cannot_be_answered_is_passed_over_with_its_reason(request_: RankRequest, why: str) -> None:
    bench = ranking_bench().run(EventLog().add(request_))

    assert bench.scores == []
    assert bench.ignored() == {why: 1}


def test_without_rankings_a_request_is_an_event_like_any_other() -> None:
    bench = Bench().run(EventLog().add(a_request(["i1"])))

    assert bench.ignored() == {"no_trigger": 1}


# ---------------------------------------------------------------- learning from what was shown


def test_each_place_waits_for_its_outcome_like_an_impression() -> None:
    log = EventLog().add(a_request(ITEMS)).add(a_click("i3", 5)).tick(WINDOW + 1)

    bench = ranking_bench(shown=3).run(log)

    [answer] = bench.scores
    shown = [one.item_id for one in answer.ranked]
    assert [(one.score_id, one.label) for one in bench.examples] == [
        (f"events-0-0:click#{place}", item == "i3") for place, item in enumerate(shown, 1)
    ]
    assert [one.score for one in bench.examples] == [one.score for one in answer.ranked]
    assert [f"item={item}" in one.features for item, one in zip(shown, bench.examples, strict=True)] == [True] * 3


def test_other_objectives_of_impressions_judge_each_place_too() -> None:
    want = {"trigger": "impression", "outcome": "add_to_cart", "match": "item", "window": "30m", "grace": 0}
    rare = {**want, "when": {"clicks": {"min": 5}}}
    log = EventLog().add(a_request(["i1", "i2"])).add(an_add_to_cart("i2", 5)).tick(WINDOW + 1)

    bench = ranking_bench({"click": CLICK, "want": want, "rare": rare}, shown=2).run(log)

    answer, *others = bench.scores
    shown = [one.item_id for one in answer.ranked]
    assert [(one.score_id, one.item_id) for one in others] == [
        (f"events-0-0:want#{place}", item) for place, item in enumerate(shown, 1)
    ]
    assert [one.propensity for one in others] == [one.propensity for one in answer.ranked]
    assert {one.score_id: one.label for one in bench.examples} == {
        f"events-0-0:{name}#{place}": name == "want" and item == "i2"
        for name in ("click", "want")
        for place, item in enumerate(shown, 1)
    }


def test_the_first_place_is_position_1() -> None:
    seen: list[tuple[int | None, float | None]] = []

    class Observer:
        def scored(self, score: Any, event: Any, values: Any, probe: Any) -> None:
            seen.append((event.position, event.propensity))

    ranking_bench(shown=3, observer=Observer()).run(EventLog().add(a_request(["i1", "i2"])))

    assert seen == [(1, 1.0), (2, 1.0)]


def test_a_place_teaches_what_the_same_impression_teaches() -> None:
    ranked = ranking_bench(shown=1).run(EventLog().add(a_request(["i1"])).add(a_click("i1", 5)).tick(WINDOW + 1))
    seen = Bench().run(EventLog().add(an_impression("i1", position=1)).add(a_click("i1", 5)).tick(WINDOW + 1))

    [learned], [expected] = ranked.examples, seen.examples
    del (
        expected.features["rate"],
        learned.features["rate"],
    )  # an impression counts itself; places are scored before they count
    assert (learned.features, learned.label, learned.ts) == (expected.features, expected.label, expected.ts)


def test_what_is_shown_counts_as_impressions() -> None:
    bench = ranking_bench(shown=3).run(EventLog().add(a_request(ITEMS)).add(a_click("i1", 1)))

    values = bench.features.extract(bench.users["u1"].slots, a_click("i1", 2))

    prior = compile_features({"rate": {"rate": "click", "over": "impression"}})
    slots: list[Any] = [None] * len(prior.slot_keys)
    for event in (an_impression("i1"), an_impression("i2"), an_impression("i3"), a_click("i1", 1)):
        prior.fold(slots, event)
    assert values[bench.features.position("rate")] == prior.extract(slots, a_click("i1", 2))[0]


def test_places_are_kept_in_the_store_and_states_of_before_have_none() -> None:
    bench = ranking_bench(shown=2).run(EventLog().add(a_request(["i1", "i2"])))
    user = bench.users["u1"]

    again = decode_user_state(encode_user_state(user))
    before = msgspec.msgpack.decode(encode_user_state(user))
    for one in before[5]:
        del one[-5:]

    assert [one.place for one in again.open] == [1, 2]
    assert [one.place for one in decode_user_state(msgspec.msgpack.encode(before)).open] == [0, 0]


# ---------------------------------------------------------------- repeating it

mixed = st.lists(
    st.tuples(
        st.sampled_from(["request", "click", "impression"]),
        st.integers(1, 2),
        st.integers(0, 90),
        st.lists(st.sampled_from(ITEMS), min_size=1, max_size=4),
    ),
    max_size=30,
)


@given(mixed)
def test_how_a_log_is_cut_into_batches_changes_nothing(drawn: list[tuple[str, int, int, list[str]]]) -> None:
    log = EventLog()
    for number, (kind, user, minutes, items) in enumerate(drawn):
        who = {"user_id": f"u{user}", "event_id": f"e{number}"}
        if kind == "request":
            log.add(a_request(list(items), minutes * MINUTE, **who))
        else:
            log.add({"click": a_click, "impression": an_impression}[kind](items[0], minutes * MINUTE, **who))
    log.tick(1000 * MINUTE)

    def run(chunk: int) -> Any:
        return ranking_bench(ALL, shown=2, kind="epsilon_greedy", epsilon=0.5).run(log, chunk=chunk).fingerprint()

    assert run(1) == run(7) == run(500)


def test_what_was_published_stands() -> None:
    log = EventLog().add(a_request(ITEMS)).tick(WINDOW + 1)
    bench = ranking_bench(shown=2).run(log)
    [published] = bench.scores
    published.ranked.reverse()
    after = ranking_bench(shown=3)
    after.core.published = {published.score_id: published}

    after.run(log)

    assert after.scores == [published]
    assert [one.score for one in after.examples] == [one.score for one in published.ranked]


def test_an_answer_that_the_request_brings_stands() -> None:
    ranked = [
        Ranked(item_id=item, score=score, propensity=0.5, reasons=[("taste", 0.1)])
        for item, score in (("i4", 0.4), ("i1", 0.2))
    ]
    answered = Answered(model="other", model_version=3, ranked=ranked)
    log = EventLog().add(a_request(["i1", "i4"], answered=answered)).add(a_click("i1", 5)).tick(WINDOW + 1)

    bench = ranking_bench(shown=5).run(log)

    [answer] = bench.scores
    assert (answer.ranked, answer.model, answer.model_version) == (ranked, "other", 3)
    assert (answer.item_id, answer.score, answer.propensity) == ("i4", 0.4, 0.5)
    assert answer.flags == ["answered"]
    assert [(one.score_id[-7:], one.score, one.label) for one in bench.examples] == [
        ("click#1", 0.4, False),
        ("click#2", 0.2, True),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"model_version": 2**53 + 1},
        {"model_version": -1},
        {"ranked": []},
        {"variant": "x" * 129},
        *(
            {"ranked": [{"item_id": "i1", "score": 0.1, "propensity": 0.5, "reasons": [], **one}]}
            for one in (
                {"score": 1.5},
                {"score": -0.1},
                {"propensity": 0},
                {"propensity": 1.1},
                {"shadows": {"deep": [1.5, 1]}},
                {"shadows": {"deep": [0.5, 2**60]}},
            )
        ),
    ],
)
def test_an_answer_that_nobody_can_have_given_is_a_dead_letter(changed: dict[str, Any]) -> None:
    ranked = [{"item_id": "i1", "score": 0.1, "propensity": 0.5, "reasons": []}]
    answered = {"model": "ftrl", "model_version": 3, "ranked": ranked} | changed
    request = {"type": "rank_request", "event_id": "e", "user_id": "u", "ts": T0, "candidates": ["i1"]}

    with pytest.raises(BadRecord, match="answered"):
        decode_event(orjson.dumps(request | {"answered": answered}), record_ts_ms=T0)


def test_chance_is_the_event_s_and_nothing_else_s() -> None:
    def answer(event_id: str) -> bytes:
        bench = ranking_bench(kind="uniform").run(EventLog().add(a_request(ITEMS, event_id=event_id)))
        return encode_json(bench.scores[0])

    assert answer("e1") == answer("e1")
    assert len({answer(f"e{number}")[-300:] for number in range(20)}) > 5


# ---------------------------------------------------------------- the chances

SCORES = [0.05, 0.2, 0.05, 0.1]
EXPLORING = [
    Policy(name="p", kind="epsilon_greedy", objective="click", epsilon=0.3),
    Policy(name="p", kind="softmax", objective="click", temperature=2.0),
    Policy(name="p", kind="uniform", objective="click"),
]


@pytest.mark.parametrize("policy", EXPLORING, ids=lambda policy: policy.kind)
def test_orders_come_as_often_as_their_propensities_say(policy: Policy) -> None:
    draws = 40_000
    come: Counter[tuple[int, ...]] = Counter()
    chances: dict[tuple[int, ...], float] = {}
    for number in range(draws):
        order = drawn_order(policy, SCORES, 4, Chance(f"home:{number}"))
        items = tuple(index for index, _ in order)
        come[items] += 1
        chances[items] = prod(propensity for _, propensity in order)

    assert len(chances) == factorial(4)
    assert sum(chances.values()) == pytest.approx(1.0)
    expected = {items: draws * chance for items, chance in chances.items()}
    chi_square = sum((come[items] - count) ** 2 / count for items, count in expected.items())
    assert chi_square < 49.7, "one in a thousand exceeds it by chance, at 23 degrees of freedom"


@given(
    scores=st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.2]), min_size=1, max_size=12),
    leaving=st.randoms(use_true_random=False),
    epsilon=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_chances_at_a_place_are_those_of_the_policy_among_who_is_left(
    scores: list[float], leaving: random.Random, epsilon: float
) -> None:
    policy = Policy(name="p", kind="epsilon_greedy", objective="click", epsilon=epsilon)
    quick, left = _Greedy(policy, scores), list(range(len(scores)))

    while left:
        likely = dict(zip(left, probabilities(policy, [scores[index] for index in left]), strict=True))
        assert quick.chances() == [likely.get(index, 0.0) for index in range(len(scores))]
        quick.leave(left.pop(leaving.randrange(len(left))))


def test_numbers_drawn_are_uniform_and_independent_of_each_other() -> None:
    draws = 20_000
    cells: Counter[tuple[int, int]] = Counter()
    for number in range(draws):
        chance = Chance(f"home:{number}")
        cells[int(chance.number() * 5), int(chance.number() * 5)] += 1

    assert sum((count - draws / 25) ** 2 / (draws / 25) for count in cells.values()) < 51.2, "24 degrees of freedom"


def test_greedy_shares_ties_and_explores_nothing() -> None:
    greedy = Policy(name="p", kind="greedy", objective="click")

    orders = Counter(tuple(drawn_order(greedy, SCORES, 4, Chance(str(number)))) for number in range(200))

    assert set(orders) == {
        ((1, 1.0), (3, 1.0), (0, 0.5), (2, 1.0)),
        ((1, 1.0), (3, 1.0), (2, 0.5), (0, 1.0)),
    }


def test_while_nothing_is_learned_each_candidate_has_the_same_chance() -> None:
    bench = ranking_bench()
    bench.replicas["click"].version = 0
    log = EventLog()
    for number in range(400):
        log.add(a_request(ITEMS, number, event_id=f"e{number}", user_id=f"u{number}"))

    first = Counter(answer.ranked[0].item_id for answer in bench.run(log).scores)

    assert {answer.ranked[0].propensity for answer in bench.scores} == {0.25}
    assert all(70 < first[item] < 130 for item in ITEMS)


# ---------------------------------------------------------------- the declaration


@pytest.mark.parametrize(
    ("declared", "path", "message"),
    [
        (["home"], (), "Expected a mapping of name to ranking"),
        ({"home": 5}, ("home",), "Expected a mapping"),
        ({"home": {}}, ("home", "objective"), "Expected one of the objectives: click"),
        ({"home": {"objective": "continue"}}, ("home", "objective"), "not triggered by impressions"),
        ({"click": {"objective": "click"}}, ("click",), "An objective has this name"),
        ({"home": {"objective": "click", "shown": 0}}, ("home", "shown"), "from 1 to 100"),
        ({"home": {"objective": "click", "kind": "logged"}}, ("home", "kind"), "Expected one of: greedy"),
        ({"home": {"objective": "click", "kind": "epsilon_greedy"}}, ("home",), "Expected `epsilon`"),
        ({"home": {"objective": "click", "candidates": ["a", "b"]}}, ("home", "candidates"), "Unknown key"),
        ({"home": {"objective": "click", "epsilon": 0.1}}, ("home", "epsilon"), "Unknown key for greedy"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place(declared: Any, path: tuple[str, ...], message: str) -> None:
    features = compile_features({"visit_events": {"session": "events"}})
    objectives = parse_objectives({"click": CLICK, "continue": ALL["continue"]}, features=features)

    with pytest.raises(ConfigError, match=message) as caught:
        parse_rankings(declared, objectives=objectives)

    assert caught.value.path == path


def test_an_objective_of_rank_requests_and_a_ranking_exclude_each_other() -> None:
    features = compile_features({"item": {"field": "item_id"}})
    asking = {"asked": {**CLICK, "trigger": "rank_request"}, "click": CLICK}

    with pytest.raises(ConfigError, match="'asked' is triggered by rank requests"):
        parse_rankings({"home": {"objective": "click"}}, objectives=parse_objectives(asking, features=features))


def test_times_are_those_of_the_request() -> None:
    [answer] = ranking_bench().run(EventLog().add(a_request(["i1"], 7))).scores

    assert answer.ts == T0 + 7


@pytest.mark.parametrize(("behind_ms", "flags"), [(0, []), (1, ["late"])])
def test_an_answer_is_late_once_stream_time_is_behind_the_end_of_its_windows(behind_ms: int, flags: list[str]) -> None:
    log = EventLog().add(an_impression("i1", WINDOW + behind_ms, user_id="u2"), a_request(["i1"], 0))

    assert ranking_bench().run(log).scores[-1].flags == flags
