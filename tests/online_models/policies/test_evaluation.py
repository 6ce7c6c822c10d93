"""From triggers and labels to estimates: who could have been chosen, with which probability, for which reward."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from builders import HOUR, MINUTE, T0, an_impression
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.policies import OffPolicy, Policy, PolicyEvaluation
from online_models.policies.choosing import probabilities
from schemas.events import EventBase, Impression
from schemas.examples import Example
from schemas.scores import Score

[OBJECTIVE] = parse_objectives(
    {"click": {"trigger": "impression", "outcome": "click", "match": "item", "window": "30m"}},
    features=compile_features({"item": {"field": "item_id"}}),
)
WINDOW_MS = OBJECTIVE.closes_after_ms


def a_policy(kind: Any, **fields: Any) -> Policy:
    if kind != "logged" and "items" not in fields:
        fields.setdefault("recent", 50)
    return Policy(name=kind, kind=kind, objective="click", **fields)


def model(event: EventBase) -> float:
    """Likes items by their number, and red ones twice as much."""
    liked = 0.01 * (1 + int((event.item_id or "i0")[1:]))
    return 2 * liked if (event.properties or {}).get("colour") == "red" else liked


class Replay:
    """Feeds a PolicyEvaluation as a replay does."""

    def __init__(self, *policies: Policy) -> None:
        self.evaluation = PolicyEvaluation(OBJECTIVE, policies)
        self.events: list[Impression] = []
        self.probed: list[EventBase] = []

    def show(self, item: str, *, at_ms: int = 0, propensity: float | None = 0.5, **fields: Any) -> int:
        event = an_impression(item, at_ms, propensity=propensity, **fields)
        number = len(self.events)
        self.events.append(event)
        score = Score(
            score_id=f"events-0-{number}:click",
            event_id=event.event_id,
            user_id=event.user_id,
            ts=T0 + at_ms,
            objective="click",
            score=model(event),
            model="m",
            model_version=1,
            reasons=[],
            topic="events",
            partition=0,
            offset=number,
            source_ts=T0 + at_ms,
            item_id=item,
            propensity=propensity,
        )
        self.evaluation.scored(score, event, [], self.probe)
        return number

    def probe(self, event: EventBase) -> float:
        self.probed.append(event)
        return model(event)

    def label(
        self, number: int, clicked: bool, *, released_ms: int | None = None, use: Any = "both", partition: int = 0
    ) -> None:
        event = self.events[number]
        assert isinstance(event.ts, int)
        self.evaluation.labelled(
            Example(
                objective="click",
                score_id=f"events-0-{number}:click",
                ts=event.ts,
                label=clicked,
                features={},
                score=model(event),
                model_version=1,
                topic="events",
                partition=partition,
                offset=number,
                seq=0,
                released_ts=event.ts + WINDOW_MS + 1 if released_ms is None else T0 + released_ms,
                use=use,
            )
        )

    def values(self, policy: str) -> dict[str, float | None]:
        return {name: one["value"] for name, one in self.evaluation.report()[policy].items()}

    def n(self, policy: str) -> int:
        return int(self.evaluation.report()[policy]["ips"]["n"])


def test_the_logging_policy_earns_what_was_earned() -> None:
    replay = Replay(a_policy("logged"))
    for item, clicked in [("i1", True), ("i2", False), ("i3", False), ("i4", True)]:
        replay.label(replay.show(item, propensity=0.3), clicked)

    assert replay.values("logged") == pytest.approx({"ips": 0.5, "snips": 0.5, "dm": 0.035, "dr": 0.5})
    assert replay.probed == []


def test_a_greedy_policy_is_credited_where_the_log_did_the_same() -> None:
    replay = Replay(a_policy("greedy", items=("i1", "i2")))
    replay.label(replay.show("i1", propensity=0.8), True)  # i2 was liked better
    replay.label(replay.show("i2", propensity=0.2), True)  # weight 5
    by_hand = OffPolicy()
    by_hand.update(propensity=0.8, target=0.0, reward=1.0, q=0.02, value=0.03)
    by_hand.update(propensity=0.2, target=1.0, reward=1.0, q=0.03, value=0.03)

    assert replay.values("greedy") == {name: one.value for name, one in by_hand.estimates().items()}
    assert replay.values("greedy")["ips"] == 2.5


def test_the_candidates_of_a_trigger_are_what_was_shown_before_it_at_its_position() -> None:
    replay = Replay(a_policy("uniform", recent=2))
    shown = [("i1", 1), ("i2", 1), ("i3", 2), ("i3", 1), ("i2", 1), ("i1", 1)]
    for item, position in shown:
        replay.label(replay.show(item, position=position, propensity=1.0), True)

    # none | i1: 0 | none | i1, i2: 0 | i2, i3: 1/2 | i3, i2: 0
    assert replay.n("uniform") == 4
    assert replay.values("uniform")["ips"] == pytest.approx(0.5 / 4)


@pytest.mark.parametrize("kind", ["greedy", "softmax"])
@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_the_value_of_a_policy_that_never_ran_is_found(kind: str, estimator: str) -> None:
    # i0 … i4 are clicked at 10 % … 50 %; the log prefers the first, the model the last.
    rng = random.Random(11)
    items, shown, rates = [f"i{k}" for k in range(5)], [0.4, 0.25, 0.15, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4, 0.5]
    policy = a_policy(kind, items=tuple(items))
    replay = Replay(policy)
    for _ in range(3000):
        [k] = rng.choices(range(5), shown)
        replay.label(replay.show(items[k], propensity=shown[k]), rng.random() < rates[k])
    chances = probabilities(policy, [model(an_impression(item)) for item in items])
    truth = sum(chance * rate for chance, rate in zip(chances, rates, strict=True))

    estimate = replay.evaluation.report()[kind][estimator]

    assert estimate["low"] < truth < estimate["high"]
    assert estimate["value"] == pytest.approx(truth, rel=0.15)
    assert estimate["low"] > estimate["logged_value"]


def test_weights_are_1_on_average_however_many_items_there_are() -> None:
    rng = random.Random(5)
    replay = Replay(a_policy("uniform", recent=5), a_policy("softmax", recent=20))
    for _ in range(4000):
        replay.label(replay.show(f"i{rng.randrange(40)}", propensity=1 / 40), False)

    for policy in ("uniform", "softmax"):
        assert replay.evaluation.report()[policy]["ips"]["mean_weight"] == pytest.approx(1.0, abs=0.15)


def test_another_item_comes_with_its_own_fields() -> None:
    replay = Replay(a_policy("greedy", item_fields=("price", "properties.colour")))
    replay.show("i1", price=10.0, category="hats", properties={"colour": "red", "page": "home"})
    replay.show("i2", price=99.0, category="coats", properties={"colour": "blue", "page": "sale"})

    [instead] = replay.probed

    assert (instead.item_id, instead.price, instead.category) == ("i1", 10.0, "coats")
    assert instead.properties == {"colour": "red", "page": "sale"}


def test_fields_of_an_item_that_was_never_shown_are_not_those_of_another() -> None:
    replay = Replay(a_policy("greedy", items=("i1", "i2"), item_fields=("price",)))
    replay.show("i1", price=10.0)

    assert [(one.item_id, one.price) for one in replay.probed] == [("i2", None)]


def test_popularity_follows_the_labels_that_were_known() -> None:
    replay = Replay(a_policy("popularity", items=("i1", "i2")))
    first = replay.show("i1")
    replay.show("i2")  # nothing known: either
    replay.label(first, True)
    replay.label(1, False)
    replay.label(replay.show("i1", propensity=1.0), True)  # i1 is the best now

    assert replay.values("popularity")["ips"] == pytest.approx((0.5 / 0.5 + 0.0 + 1.0) / 3)


def test_triggers_without_a_propensity_are_counted_and_passed_over() -> None:
    replay = Replay(a_policy("uniform", items=("i1", "i2")))
    replay.label(replay.show("i1", propensity=None), True)
    replay.label(replay.show("i2", propensity=0.5), True)

    assert (replay.evaluation.triggers, replay.evaluation.without_propensity, replay.n("uniform")) == (2, 1, 1)


def test_each_candidate_is_scored_once_for_all_policies() -> None:
    replay = Replay(*(a_policy(kind, items=("i1", "i2", "i3")) for kind in ("uniform", "greedy", "softmax")))
    replay.show("i1")

    assert [one.item_id for one in replay.probed] == ["i2", "i3"]


def test_without_policies_nothing_is_kept() -> None:
    replay = Replay()
    replay.show("i1")

    assert replay.evaluation.report() == {}
    assert replay.evaluation.triggers == 0


def test_triggers_that_get_no_label_are_given_up() -> None:
    replay = Replay(a_policy("logged"))
    for number in range(3 * 4096):
        replay.show("i1", at_ms=number * MINUTE)

    kept = WINDOW_MS + HOUR
    assert replay.evaluation.unlabelled > 4096
    assert len(replay.evaluation._waiting) <= kept / MINUTE + 1 + 4096


def test_positives_known_early_count_when_their_window_has_closed() -> None:
    replay = Replay(a_policy("logged"))
    first = replay.show("i1")
    second = replay.show("i2", at_ms=10 * MINUTE)
    replay.label(first, True, use="learn")  # a fake negative's second half: not a label
    replay.label(second, True, released_ms=11 * MINUTE)
    assert replay.n("logged") == 0

    replay.label(first, False, released_ms=WINDOW_MS + 1)
    assert replay.n("logged") == 1
    replay.label(replay.show("i3", at_ms=11 * MINUTE), False)
    assert replay.n("logged") == 3


def test_popularity_learns_of_positives_no_earlier_than_of_negatives() -> None:
    """Else whatever is clicked within its first window would be popular."""
    replay = Replay(a_policy("popularity", items=("i1", "i2")))
    for number in range(40):  # i1 is clicked half of the time and i2 always; of i1 only the clicks are known so far
        shown = replay.show("i1", at_ms=number)
        if number % 2:
            replay.label(shown, True, released_ms=number + 1)
    for number in range(10):
        replay.label(replay.show("i2", at_ms=-HOUR + number), True)

    replay.show("i2", at_ms=MINUTE)

    [chosen] = replay.evaluation._waiting["events-0-50:click"][-1]
    assert chosen is not None
    assert chosen[0] > 0.5, "i2 leads: nothing is known of i1 yet"


def test_an_early_positive_waits_for_the_clock_of_its_own_partition() -> None:
    replay = Replay(a_policy("logged"))
    first, second = replay.show("i1"), replay.show("i2")
    replay.label(first, True, released_ms=MINUTE)
    replay.label(second, False, released_ms=2 * WINDOW_MS, partition=1)
    assert replay.n("logged") == 1

    replay.label(replay.show("i3"), False)
    assert replay.n("logged") == 3


@given(cut=st.integers(0, 120))
@settings(max_examples=20, deadline=None)
def test_going_on_from_a_kept_state_changes_no_bit(cut: int) -> None:
    policies = [a_policy(kind, recent=4) for kind in ("uniform", "popularity", "greedy", "softmax")]
    policies += [a_policy("logged"), a_policy("epsilon_greedy", items=("i1", "i5"), epsilon=0.2)]
    straight, resumed = Replay(*policies), Replay(*policies)

    def run(replay: Replay, numbers: range) -> None:
        for number in numbers:
            item, position = f"i{number * 7 % 10}", number % 3
            replay.show(item, at_ms=number * MINUTE, position=position, propensity=0.1 + number % 9 / 10)
            if number >= 3 and number % 5:
                replay.label(number - 3, number % 4 == 0, released_ms=number * MINUTE)

    run(straight, range(120))
    run(resumed, range(cut))
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(resumed.evaluation.state()))
    resumed.evaluation = PolicyEvaluation(OBJECTIVE, policies)
    resumed.evaluation.restore(state)
    run(resumed, range(cut, 120))

    assert resumed.evaluation.state() == straight.evaluation.state()
    assert resumed.evaluation.report() == straight.evaluation.report()


@given(
    scores=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    epsilon=st.floats(0.0, 1.0),
    temperature=st.floats(0.01, 10.0),
)
def test_probabilities_are_probabilities(scores: list[float], epsilon: float, temperature: float) -> None:
    for kind in ("uniform", "popularity", "greedy", "epsilon_greedy", "softmax"):
        chances = probabilities(a_policy(kind, epsilon=epsilon, temperature=temperature), scores)

        assert sum(chances) == pytest.approx(1.0)
        assert all(chance >= 0.0 for chance in chances)
        assert chances[scores.index(max(scores))] == max(chances)


def test_a_softmax_of_temperature_1_chooses_as_the_odds_are() -> None:
    assert probabilities(a_policy("softmax"), [0.5, 0.2]) == pytest.approx([1.0 / 1.25, 0.25 / 1.25])
