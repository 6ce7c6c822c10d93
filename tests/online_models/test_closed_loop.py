"""The closed loop: what it scores and learns depends on the events alone."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from builders import MINUTE, T0, a_click, a_page_view, an_impression
from core_bench import ALL, FEATURES
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.closed_loop import Arrival, ClosedLoop, LearnerPair, Users, Watchers, learner_pair
from online_models.contest import Contest
from online_models.estimators import build
from online_models.features import compile_features
from online_models.objectives import Objective, parse_objectives
from online_models.scoring import ScoringCore
from online_models.serving import Served
from schemas.codec import decode_user_state, encode_json, encode_user_state
from schemas.events import EventBase
from schemas.examples import Example
from schemas.scores import Score
from schemas.user_state import PartitionMeta

KEY = b"a key that only these tests know"
PUBLISH_MS = 10_000
PARTITIONS = 2


class Tape:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Any) -> None:
        same = probe(event)
        assert same == score.score
        self.told.append(("scored", score.score_id))

    def labelled(self, example: Example) -> None:
        self.told.append(("labelled", example.score_id))

    def state(self) -> Any:
        return self.told

    def restore(self, state: Any) -> None:
        self.told = [(what, which) for what, which in state]


def a_contest(objective: Objective) -> Contest:
    lineages = dict.fromkeys(objective.variants, "test")
    return Contest(objective.name, lineages, objective.promotion, closes_after_ms=objective.closes_after_ms)


class Rig:
    """A loop over the bench's features, with everything it made."""

    def __init__(
        self, model: Mapping[str, Any] | None = None, labels: str = "at_window_end", **more: Mapping[str, Any]
    ) -> None:
        self.features = compile_features(FEATURES)
        declared = {
            name: {**body, "labels": labels, "model": model or {"name": "ftrl"}, **more} for name, body in ALL.items()
        }
        self.objectives = parse_objectives(declared, features=self.features)
        self.learners: dict[str, LearnerPair] = {
            variant.name: learner_pair(
                variant.name,
                lineage="test",
                model=build(variant.model, key=KEY),
                prior=variant.prior,
                publish_examples=1000,
                variant=name,
                own_features=name == "calm",
                contest=None
                if name
                else Contest(
                    one.name, dict.fromkeys(one.variants, "test"), one.promotion, closes_after_ms=one.closes_after_ms
                ),
            )
            for one in self.objectives
            for name, variant in one.variants.items()
        }
        self.served = {one.name: Served(one.variants) for one in self.objectives}
        self.tape = Tape()
        self.loop = ClosedLoop(
            new_core=self.new_core,
            learners=self.learners,
            watchers=Watchers({one.name: [self.tape] for one in self.objectives}),
            publish_ms=PUBLISH_MS,
            served=self.served,
        )
        self.users: dict[int, Users] = {number: {} for number in range(PARTITIONS)}
        self.timers: dict[int, dict[str, int]] = {number: {} for number in range(PARTITIONS)}
        self.scores: list[bytes] = []
        self.examples: list[bytes] = []

    def new_core(self, partition: int, meta: PartitionMeta | None, timers: Mapping[str, int] | None) -> ScoringCore:
        return ScoringCore(
            topic="events",
            partition=partition,
            features=self.features,
            objectives=self.objectives,
            replicas={name: pair.replica for name, pair in self.learners.items()},
            served=self.served,
            meta=meta,
            timers=timers,
            observer=self.loop._watchers,
        )

    def run(self, arrivals: Sequence[Arrival], chunk: int) -> Rig:
        for first in range(0, len(arrivals), chunk):
            self.loop.run(arrivals[first : first + chunk], self.users)
            self.scores += [encode_json(one) for one in self.loop.scores]
            self.examples += [encode_json(one) for one in self.loop.examples]
            for partition, changed in self.loop.take_timers().items():
                for user, due in changed.items():
                    if due is None:
                        self.timers[partition].pop(user, None)
                    else:
                        self.timers[partition][user] = due
        return self

    def fingerprint(self) -> tuple[Any, ...]:
        return self.scores, self.examples, self.tape.told, self.loop.state(), self.loop.ignored, self.loop.scored


def arrivals_of(events: Sequence[EventBase]) -> list[Arrival]:
    offsets = itertools.count()
    return [(hash_of(event.user_id), next(offsets), event.ts, event) for event in events]  # type: ignore[misc]


def hash_of(user_id: str) -> int:
    return int(user_id[1:]) % PARTITIONS


def visitors(count: int) -> Iterator[EventBase]:
    """Five visitors who see and click in turn, minutes apart, so that windows close and models change."""
    for number in range(count):
        at_ms = number * MINUTE // 2
        fields = {"user_id": f"u{number % 5}", "session_id": f"s{number % 5}-{number // 40}", "category": "shoes"}
        if number % 3 == 0:
            yield a_page_view(at_ms=at_ms, event_id=f"v{number}", **fields)
        elif number % 7 == 0:
            yield a_click(f"i{number % 4}", at_ms=at_ms, event_id=f"c{number}", **fields)
        else:
            yield an_impression(f"i{number % 4}", at_ms=at_ms, event_id=f"e{number}", **fields)


ARRIVALS = arrivals_of(list(visitors(400)))
MODELS = {"own": {"name": "ftrl"}, "river": {"name": "river.naive_bayes.BernoulliNB"}}


@functools.cache
def in_one_chunk() -> tuple[Any, ...]:
    return Rig().run(ARRIVALS, len(ARRIVALS)).fingerprint()


@functools.cache
def undisturbed(name: str) -> Rig:
    """Return what every interrupted run of a model is compared with; only to be looked at."""
    return Rig(MODELS[name]).run(ARRIVALS, 100)


@functools.cache
def undisturbed_contest() -> Rig:
    """Return the same of a contest."""
    return Rig(HASTY, **CONTESTED).run(ARRIVALS, 100)


@given(chunk=st.integers(1, 700))
@settings(max_examples=10, deadline=None)
def test_the_size_of_chunks_decides_nothing(chunk: int) -> None:
    assert Rig().run(ARRIVALS, chunk).fingerprint() == in_one_chunk()


@pytest.mark.parametrize("name", MODELS)
@given(cut=st.integers(0, 400))
@settings(max_examples=6, deadline=None)
def test_a_loop_that_is_restored_goes_on_as_if_nothing_had_been(name: str, cut: int) -> None:
    model, whole = MODELS[name], undisturbed(name)
    first = Rig(model).run(ARRIVALS[:cut], 100)

    second = Rig(model)
    second.loop.restore(first.loop.state(), first.timers)
    second.users = {
        number: {user: decode_user_state(encode_user_state(state)) for user, state in users.items()}
        for number, users in first.users.items()
    }
    second.run(ARRIVALS[cut:], 100)

    assert first.scores + second.scores == whole.scores
    assert first.examples + second.examples == whole.examples
    assert second.tape.told == whole.tape.told
    assert second.loop.ignored == whole.loop.ignored


@pytest.mark.parametrize("labels", ["at_window_end", "immediate"])
def test_it_scores_and_learns_what_the_cores_do_when_led_by_hand(labels: str) -> None:
    rig = Rig(labels=labels).run(ARRIVALS, 50)

    assert led_by_hand(Rig(labels=labels), ARRIVALS) == (rig.scores, rig.examples)
    assert any(b'"cold"' not in one for one in rig.scores), "the model has learned on the way"


# A champion that believes the last thing it saw, and a challenger that learns with care.
HASTY: Mapping[str, Any] = {"name": "ftrl", "alpha": 1.0}
CONTESTED: dict[str, Mapping[str, Any]] = {
    "challengers": {"calm": {"model": {"name": "ftrl", "alpha": 1e-4}, "without": ["since_click"]}},
    "promotion": {"automatic": True, "after": 5, "false_promotions": 0.5},
}


@given(cut=st.integers(0, 400), chunk=st.integers(1, 500))
@settings(max_examples=10, deadline=None)
def test_promotions_depend_on_event_time_alone_and_survive_an_interruption(cut: int, chunk: int) -> None:
    whole = undisturbed_contest()
    first = Rig(HASTY, **CONTESTED).run(ARRIVALS[:cut], chunk)
    second = Rig(HASTY, **CONTESTED)
    second.loop.restore(first.loop.state(), first.timers)
    second.users = first.users
    second.run(ARRIVALS[cut:], chunk)

    assert [one.cause for _, one in whole.loop.promotions] == ["test"] * len(whole.loop.promotions) != []
    assert second.loop.promotions == whole.loop.promotions
    assert first.scores + second.scores == whole.scores
    assert first.examples + second.examples == whole.examples
    promoted = whole.loop.promotions[0][1]
    assert any(f'"variant":"{promoted.variant}"'.encode() in one for one in whole.scores)


def led_by_hand(rig: Rig, arrivals: Sequence[Arrival]) -> tuple[list[bytes], list[bytes]]:
    """The obvious loop: one event at a time, and learning whenever a multiple of the interval has passed."""
    scores: list[bytes] = []
    examples: list[bytes] = []
    waiting: list[Example] = []
    seen = 0
    interval = 0
    for arrival in arrivals:
        now = arrival[3].ts // PUBLISH_MS  # type: ignore[operator]
        if now > interval:
            interval = now
            for name, pair in rig.learners.items():
                own = [(seen + at, one) for at, one in enumerate(waiting) if one.objective == name]
                pair.learner.step(own)
                pair.learner.publish_pending()
            seen += len(waiting)
            waiting = []
        rig.loop.run([arrival], rig.users)
        scores += [encode_json(one) for one in rig.loop.scores]
        examples += [encode_json(one) for one in rig.loop.examples]
        waiting += rig.loop.examples
        # What is led by hand must not be led by the loop as well.
        rig.loop._waiting, rig.loop._learned_to = [], len(rig.loop.examples)
        rig.loop._due_ms = 1 << 62
    return scores, examples


def test_models_reach_the_scorers_when_event_time_says_so_and_not_before() -> None:
    # impression i1         window closes   impression i2      … i3
    # |---------------------)               | same interval    | the next
    u = {"user_id": "u0", "session_id": "s"}
    due = 30 * MINUTE + 1
    start = -(T0 + due) % PUBLISH_MS  # T0 + due + start is the beginning of an interval
    events = [
        an_impression("i1", at_ms=0, event_id="a", **u),
        an_impression("i2", at_ms=due + start, event_id="b", **u),
        an_impression("i2", at_ms=due + start + PUBLISH_MS - 1, event_id="c", **u),
        an_impression("i3", at_ms=due + start + PUBLISH_MS, event_id="d", **u),
    ]
    rig = Rig()

    rig.run(arrivals_of(events), 10)

    versions = [one.model_version for one in rig.loop.scores if one.objective == "click"]
    assert versions == [0, 0, 0, 1]


def test_watchers_see_a_score_before_its_label_and_each_once() -> None:
    told = Rig().run(ARRIVALS, 64).tape.told

    scored = [which for what, which in told if what == "scored"]
    labelled = [which for what, which in told if what == "labelled"]
    assert len(set(scored)) == len(scored)
    assert len(set(labelled)) == len(labelled)
    assert all(told.index(("scored", one)) < told.index(("labelled", one)) for one in labelled)
