"""Progressive validation: a score is judged when its label comes, beside rules that knew no more than the model."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from builders import DAY, HOUR, MINUTE, T0, an_impression
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from online_models.evaluation import base_rate_log_loss
from online_models.features import compile_features
from online_models.objectives import Objective, parse_objectives
from online_models.validation import Judge
from schemas.examples import Example
from schemas.report import ObjectiveReport
from schemas.scores import Score

FEATURES = compile_features({"position": {"field": "position"}, "item": {"field": "item_id"}})


def objective(**fields: Any) -> Objective:
    body = {"trigger": "impression", "outcome": "click", "match": "item", "window": "30m", **fields}
    return parse_objectives({"click": body}, features=FEATURES)[0]


OBJECTIVE = objective()
WINDOW_MS = OBJECTIVE.closes_after_ms


class Trigger(NamedTuple):
    """A scored impression and what became of it; `delay_ms` None: it never gets a label."""

    at_ms: int
    score: float
    label: bool
    delay_ms: int | None = WINDOW_MS
    item_id: str = "i1"
    user_id: str = "u1"
    position: float = 1.0
    partition: int = 0


Step = tuple[int, int, int, Trigger]


def steps(triggers: Iterable[Trigger], first: int = 0) -> list[Step]:
    """Scores and labels in the order of time: (time, whether it is a label, number of the trigger, trigger)."""
    found = []
    for number, one in enumerate(triggers, first):
        found.append((one.at_ms, 0, number, one))
        if one.delay_ms is not None:
            found.append((one.at_ms + one.delay_ms, 1, number, one))
    return sorted(found)


class Replay:
    """Feeds a judge as a replay does: scores and labels in the order of time."""

    def __init__(self, objective: Objective = OBJECTIVE) -> None:
        self.judge = Judge(objective, FEATURES)
        self.scored = 0

    def run(self, triggers: Iterable[Trigger]) -> Replay:
        for step in steps(triggers, first=self.scored):
            self.apply(step)
        return self

    def apply(self, step: Step) -> None:
        at_ms, is_label, number, one = step
        if is_label:
            self.label(number, one, at_ms)
        else:
            self.score(number, one)

    def score(self, number: int, one: Trigger) -> None:
        self.scored = max(self.scored, number + 1)
        score = Score(
            score_id=f"events-0-{number}:click",
            event_id=f"e{number}",
            user_id=one.user_id,
            ts=T0 + one.at_ms,
            objective="click",
            score=one.score,
            model="m",
            model_version=1,
            reasons=[],
            topic="events",
            partition=0,
            offset=number,
            source_ts=T0,
            item_id=one.item_id,
        )
        event = an_impression(one.item_id, one.at_ms)
        self.judge.scored(score, event, [one.position, one.item_id], lambda event: 0.5)

    def label(self, number: int, one: Trigger, at_ms: int) -> None:
        self.judge.labelled(
            Example(
                objective="click",
                score_id=f"events-0-{number}:click",
                ts=T0 + one.at_ms,
                label=one.label,
                features={},
                score=one.score,
                model_version=1,
                topic="events",
                partition=one.partition,
                offset=number,
                seq=0,
                released_ts=T0 + at_ms,
            )
        )

    def report(self) -> dict[str, Any]:
        return self.judge.report()


def some_triggers(n: int, *, seed: int = 1, every_ms: int = MINUTE) -> list[Trigger]:
    rng = random.Random(seed)
    found = []
    for number in range(n):
        score = rng.uniform(0.05, 0.6)
        found.append(
            Trigger(
                number * every_ms,
                score,
                rng.random() < score,
                rng.choice([WINDOW_MS, WINDOW_MS + 1, WINDOW_MS + HOUR, None]),
                f"i{rng.randrange(5)}",
                f"u{rng.randrange(9)}",
                float(rng.randrange(4)),
            )
        )
    return found


_TRIGGERS = some_triggers(6_000, every_ms=11_000)


def test_all_scores_with_a_label_are_judged_as_over_the_whole_run() -> None:
    triggers = some_triggers(3_000)
    known = [one for one in triggers if one.delay_ms is not None]
    labels, scores = [one.label for one in known], [one.score for one in known]

    overall = Replay().run(triggers).report()["overall"]

    assert (overall["n"], overall["positives"]) == (len(known), sum(labels))
    assert overall["log_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-9)
    assert overall["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=5e-4)


def test_a_report_is_what_its_schema_says() -> None:
    found = Replay(objective(rule=[{"score": 0.3}])).run(some_triggers(300)).report()

    report = msgspec.convert({**found, "weights": []}, ObjectiveReport, strict=True)

    assert report.overall.base_log_loss == found["baselines"]["base_rate"]["log_loss"]
    assert list(found["baselines"]) == ["base_rate", "popularity", "last_click", "rule"]
    assert all(one["base_log_loss"] == report.overall.base_log_loss for one in found["baselines"].values())
    assert all(set(window.baselines) == set(found["baselines"]) for window in report.windows)


# ---------------------------------------------------------------- baselines


def test_with_labels_at_once_the_base_rate_is_that_of_all_labels_before() -> None:
    triggers = [one._replace(delay_ms=0) for one in some_triggers(400)]

    last = Trigger(10 * DAY, 0.5, False, 2_000)  # its label brings stream time to where all windows have closed

    found = Replay(objective(window="1s", grace="0s")).run([*triggers, last]).report()

    labels = [one.label for one in [*triggers, last]]
    assert found["overall"]["base_log_loss"] == pytest.approx(base_rate_log_loss(labels), rel=1e-9)


def test_a_baseline_does_not_know_a_label_before_the_model_could() -> None:
    # two triggers while the first label is still out: the second knows nothing either, the third knows it
    #   t0 ------ t1 ------ label of t0 ------ t2
    triggers = [
        Trigger(0, 0.5, True),
        Trigger(MINUTE, 0.5, True),
        Trigger(WINDOW_MS + 1, 0.5, True),
    ]

    found = Replay().run(triggers).report()["baselines"]

    third = (1 + 1) / (1 + 2)  # after one label, a positive
    assert found["base_rate"]["log_loss"] == pytest.approx(-(2 * math.log(0.5) + math.log(third)) / 3)


@pytest.mark.parametrize(("prior", "worth"), [(0.04, 25.0), (0.96, 25.0), (0.5, 2.0), (0.0001, 1_000.0)])
def test_the_base_rate_starts_where_the_model_does(prior: float, worth: float) -> None:
    triggers = [Trigger(0, prior, True), Trigger(MINUTE, prior, True), Trigger(WINDOW_MS + 1, prior, True)]

    found = Replay(objective(prior=prior)).run(triggers).report()

    third = (1 + worth * prior) / (1 + worth)
    assert found["baselines"]["base_rate"]["log_loss"] == pytest.approx(-(2 * math.log(prior) + math.log(third)) / 3)
    assert found["overall"]["log_loss"] == pytest.approx(-math.log(prior))


@pytest.mark.parametrize("labels", ["at_window_end", "immediate"])
def test_rules_are_no_worse_than_an_honest_constant_where_the_window_is_long(labels: str) -> None:
    rng = random.Random(4)
    asked = objective(window="24h", prior=0.04, labels=labels)
    triggers = []
    for number in range(6_000):  # three days that are all alike, and a model that has learned nothing
        positive = rng.random() < 0.05
        delay_ms = rng.randrange(DAY) if positive and labels == "immediate" else asked.closes_after_ms
        triggers.append(Trigger(number * 3 * DAY // 6_000, 0.04, positive, delay_ms, "i1", f"u{number}"))

    found = Replay(asked).run(triggers).report()

    rate = sum(one.label for one in triggers) / len(triggers)
    honest = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    base = found["baselines"]["base_rate"]["log_loss"]
    assert base == pytest.approx(honest, rel=0.01)
    assert base < found["overall"]["log_loss"]


def test_under_immediate_labels_a_rule_learns_of_a_positive_when_its_window_closes() -> None:
    # positive known
    #   t0 -- x -- t1 ------ both windows close ------ t2
    triggers = [
        Trigger(0, 0.5, True, MINUTE),
        Trigger(2 * MINUTE, 0.5, False),
        Trigger(2 * MINUTE + WINDOW_MS + 1, 0.5, True),
    ]

    found = Replay(objective(labels="immediate", prior=0.2)).run(triggers).report()["baselines"]

    base = (1 + 5 * 0.2) / (2 + 5)
    for name, third in (("base_rate", base), ("popularity", (1 + 20 * base) / (2 + 20))):
        expected = -(math.log(0.2) + math.log(0.8) + math.log(third)) / 3
        assert found[name]["log_loss"] == pytest.approx(expected), name


def test_popularity_draws_an_items_rate_towards_the_base_rate() -> None:
    closed = [Trigger(number, 0.5, True, item_id="liked") for number in range(30)]
    closed += [Trigger(number, 0.5, False, item_id="shunned") for number in range(30)]
    base = 31 / 62
    later = [
        Trigger(2 * HOUR, 0.5, True, item_id="liked"),
        Trigger(2 * HOUR, 0.5, True, item_id="never seen"),
    ]

    before = Replay().run(closed).report()["baselines"]["popularity"]
    after = Replay().run([*closed, *later]).report()["baselines"]["popularity"]

    added = after["log_loss"] * after["n"] - before["log_loss"] * before["n"]
    assert added == pytest.approx(-math.log((30 + 20 * base) / (30 + 20)) - math.log(base))


def test_last_click_tells_apart_who_did_it_last_time() -> None:
    triggers = [
        Trigger(round_ * DAY + number, 0.5, number < 20, user_id=f"u{number}")
        for round_ in range(20)
        for number in range(40)
    ]

    found = Replay().run(triggers).report()["baselines"]

    assert found["last_click"]["auc"] > 0.9
    assert found["last_click"]["log_loss"] < found["base_rate"]["log_loss"] / 2
    assert found["base_rate"]["auc"] < 0.6


def test_the_first_case_of_a_rule_that_applies_counts() -> None:
    cases = [
        {"when": {"position": {"max": 1}}, "score": 0.8},
        {"when": {"position": {"max": 2}}, "score": 0.4},
        {"score": 0.1},
    ]
    triggers = [Trigger(number, 0.5, False, position=float(position)) for number, position in enumerate([0, 2, 3])]

    found = Replay(objective(rule=cases)).run(triggers).report()["baselines"]["rule"]

    assert found["log_loss"] == pytest.approx(-(math.log(0.2) + math.log(0.6) + math.log(0.9)) / 3)


def test_without_a_rule_there_is_no_such_baseline() -> None:
    assert "rule" not in Replay().run(some_triggers(10)).report()["baselines"]


# ---------------------------------------------------------------- windows


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400 * DAY), st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=40))
def test_windows_are_few_cover_every_judged_trigger_and_do_not_overlap(run: list[tuple[int, float, bool]]) -> None:
    report = Replay().run(Trigger(*one) for one in run).report()

    windows = report["windows"]
    assert 1 <= len(windows) <= 64
    assert sum(one["n"] for one in windows) == report["overall"]["n"] == len(run)
    assert sum(one["positives"] for one in windows) == report["overall"]["positives"]
    assert all(one["to_ms"] <= later["from_ms"] for one, later in pairwise(windows))
    assert windows[0]["from_ms"] <= T0 + min(run)[0] < windows[0]["to_ms"]
    assert windows[-1]["from_ms"] <= T0 + max(run)[0] < windows[-1]["to_ms"]
    assert len({one["to_ms"] - one["from_ms"] for one in windows}) == 1


def test_a_window_holds_the_metrics_of_its_own_triggers() -> None:
    triggers = [one for one in some_triggers(9_000, every_ms=5 * MINUTE) if one.delay_ms is not None]

    windows = Replay().run(triggers).report()["windows"]

    assert len(windows) > 30
    for window in windows:
        within = [one for one in triggers if window["from_ms"] <= T0 + one.at_ms < window["to_ms"]]
        labels, scores = [one.label for one in within], [one.score for one in within]
        assert (window["n"], window["positives"]) == (len(within), sum(labels))
        assert window["log_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-9)
        assert window["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=0.01)


def test_the_last_quarter_is_that_of_the_time() -> None:
    # a model that says 0.5 for three quarters of the time, and then knows everything
    triggers = [
        Trigger(number * MINUTE, 0.5 if number < 3_072 else (0.99 if number % 2 else 0.01), bool(number % 2))
        for number in range(4_096)
    ]
    start = (-T0) % (64 * MINUTE)  # windows begin at whole multiples of their width

    report = Replay().run(one._replace(at_ms=one.at_ms + start) for one in triggers).report()

    assert report["last_quarter"]["n"] == 1_024
    assert report["last_quarter"]["log_loss"] == pytest.approx(-math.log(0.99))


def test_under_immediate_labels_the_last_windows_are_not_of_positives_only() -> None:
    # positives are known after a minute, negatives when the window has closed; the stream ends before the last do
    triggers = [
        Trigger(number * MINUTE, 0.5, number % 2 == 0, MINUTE if number % 2 == 0 else WINDOW_MS)
        for number in range(300)
    ]
    replay = Replay(objective(labels="immediate"))

    for step in steps(triggers):
        if step[0] <= 300 * MINUTE:
            replay.apply(step)

    overall = replay.report()["overall"]
    assert overall["n"] > 250
    assert overall["positives"] == pytest.approx(overall["n"] / 2, abs=1)


def test_a_positive_waits_for_the_clock_of_its_own_partition() -> None:
    # partition 1 stands still before its windows close: its negative is not known, its positive does not count
    triggers = [
        Trigger(0, 0.5, True, MINUTE, partition=1),
        Trigger(0, 0.5, False, None, partition=1),
        *(Trigger(number * MINUTE, 0.5, number % 2 == 0) for number in range(300)),
    ]

    overall = Replay(objective(labels="immediate")).run(triggers).report()["overall"]

    assert (overall["n"], overall["positives"]) == (300, 150)


# ---------------------------------------------------------------- bounded, and resumed


def test_triggers_that_never_get_a_label_are_given_up() -> None:
    replay = Replay()

    replay.run(Trigger(number * MINUTE, 0.1, False, None, user_id=f"u{number}") for number in range(150_000))

    assert len(replay.judge.state()[0]) < 80_000
    late = Trigger(0, 0.1, True)
    replay.label(0, late, 150_000 * MINUTE)
    assert replay.judge.unknown == 1
    assert replay.report()["overall"]["n"] == 0


def test_one_clock_far_ahead_does_not_keep_everything_that_came_after_it() -> None:
    replay = Replay()
    replay.score(0, Trigger(5_000 * DAY, 0.1, False))

    replay.run(Trigger(number * MINUTE, 0.1, False, None) for number in range(150_000))

    assert len(replay.judge.state()[0]) < 80_000


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9_000), st.sampled_from(["at_window_end", "immediate"]))
def test_a_judge_that_was_restored_goes_on_bit_for_bit(cut: int, labels: str) -> None:
    rules = [{"when": {"position": {"max": 1}}, "score": 0.4}, {"score": 0.2}]
    whole, first = (Replay(objective(labels=labels, rule=rules)) for _ in range(2))
    events = steps(_TRIGGERS)

    for step in events[:cut]:
        first.apply(step)
    second = Replay(objective(labels=labels, rule=rules))
    second.judge.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.judge.state())))
    for step in events[cut:]:
        second.apply(step)
    for step in events:
        whole.apply(step)

    assert msgspec.msgpack.encode(second.judge.state()) == msgspec.msgpack.encode(whole.judge.state())
    assert second.report() == whole.report()


def test_a_report_in_between_changes_nothing_but_the_last_bits() -> None:
    asked, unasked = Replay(), Replay()
    events = steps(_TRIGGERS)

    for number, step in enumerate(events):
        asked.apply(step)
        unasked.apply(step)
        if number % 1_000 == 0:
            asked.report()

    found, expected = asked.report()["overall"], unasked.report()["overall"]
    assert found == pytest.approx(expected, rel=1e-12)
    assert np.isclose(found["log_loss"], expected["log_loss"], rtol=1e-12)
