"""The contest: champions are replaced on evidence only, however often one looks."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from builders import MINUTE, T0
from hypothesis import given
from hypothesis import strategies as st

from online_models.contest import HOUR_MS, Contest, Evidence, Promoting, compared, decision
from online_models.serving import Served
from schemas.examples import Example
from schemas.models import Serving

WINDOW = 30 * MINUTE
LINEAGES = {"": "aa", "deep": "bb", "lean": "cc"}


def an_example(
    label: bool,
    score: float,
    *,
    at_ms: int = 0,
    user: str = "u1",
    variant: str = "",
    version: int = 9,
    early_ms: int = 0,
    partition: int = 0,
    **shadows: float,
) -> Example:
    """Return an example; `early_ms` before the end of its window."""
    said = {name.strip("_"): (p, version) for name, p in shadows.items()}
    return Example(
        objective="click", score_id="events-0-1:click", ts=T0 + at_ms, label=label, features={}, score=score,
        model_version=version, topic="events", partition=partition, offset=1, seq=0,
        released_ts=T0 + at_ms + WINDOW - early_ms, variant=variant, user_id=user, shadows=said,
    )  # fmt: skip


def a_contest(*, automatic: bool = True, after: int = 0, variants: Any = None, alpha: float = 0.05) -> Contest:
    variants = variants or {"": "aa", "deep": "bb"}
    promoting = Promoting(automatic=automatic, after=after, false_promotions=alpha)
    return Contest("click", variants, promoting, closes_after_ms=WINDOW)


# -------------------------------------------------------------------- the evidence


probability = st.floats(0, 1)


@given(truth=probability, champion=probability, challenger=probability)
def test_a_bets_mean_is_at_most_what_the_guarantee_allows(truth: float, champion: float, challenger: float) -> None:
    """Whatever is true: the mean of a factor is at most exp(stake * mean of D), for every stake."""
    outcomes = {label: Evidence() for label in (True, False)}
    for label, one in outcomes.items():
        one.add(*compared(label, champion, challenger))
    mean = truth * outcomes[True].total + (1 - truth) * outcomes[False].total
    for k, (if_positive, if_negative) in enumerate(zip(*(one.state()[4] for one in outcomes.values()), strict=True)):
        factor = truth * math.exp(if_positive) + (1 - truth) * math.exp(if_negative)
        assert factor <= math.exp(2.0**-k * mean) * (1 + 1e-9)


@given(label=st.booleans(), champion=probability, challenger=probability)
def test_the_worst_that_a_trigger_can_cost_is_known_before_its_label(
    label: bool, champion: float, challenger: float
) -> None:
    d, at_worst = compared(label, champion, challenger)

    assert d >= -at_worst
    assert at_worst == compared(not label, champion, challenger)[1] <= math.log(0.9999 / 0.0001) + 1e-9


def test_the_e_value_is_the_mean_of_the_bets() -> None:
    one = Evidence()
    for label, champion, challenger in [(True, 0.3, 0.4), (False, 0.2, 0.25), (True, 0.5, 0.6)]:
        one.add(*compared(label, champion, challenger))

    direct = 0.0
    for stake in (2.0**-k for k in range(10)):
        product = 1.0
        for d in (math.log(0.4 / 0.3), math.log(0.75 / 0.8), math.log(0.6 / 0.5)):
            product *= 1 + stake * d
        direct += product / 10
    assert one.e_value == pytest.approx(direct, rel=1e-12)
    assert Evidence(9, 1e3, 9.0, 9.0, [800.0] * 10).e_value == 1e300


def false_promotions(streams: int, triggers: int, rate: float, *, in_a_row: int, seed: int) -> int:
    """Count streams on which a challenger that is no better is promoted, with a look at every trigger.

    Truth, champion and challenger have log odds around the base rate's; both models miss the truth by
    noise of the same size, which is a visitor's own. A visitor has `in_a_row` triggers, ten seconds apart.
    """
    random = np.random.default_rng(seed)
    found = 0
    for _ in range(streams):
        visitors = triggers // in_a_row
        truth = np.repeat(random.normal(math.log(rate / (1 - rate)), 1.0, visitors), in_a_row)
        noise = [np.repeat(random.normal(0, 0.7, visitors), in_a_row) for _ in "ab"]
        labels = random.random(len(truth)) < 1 / (1 + np.exp(-truth))
        said = [(1 / (1 + np.exp(-(truth + one)))).tolist() for one in noise]
        contest = a_contest()
        for number, (label, a, b) in enumerate(zip(labels.tolist(), *said, strict=True)):
            user = f"u{number // in_a_row}"
            contest.update(an_example(label, a, deep=b, user=user, at_ms=10_000 * number))
            if contest.decide(1) is not None:
                found += 1
                break
    return found


@pytest.mark.parametrize(("rate", "in_a_row"), [(0.3, 1), (0.3, 10), (0.02, 10)])
def test_few_challengers_that_are_no_better_are_promoted(rate: float, in_a_row: int) -> None:
    streams = 150

    found = false_promotions(streams, 1000, rate, in_a_row=in_a_row, seed=5)

    assert found <= 0.05 * streams


def test_a_better_challenger_is_promoted_soon() -> None:
    random = np.random.default_rng(1)
    contest = a_contest()
    for seen in range(20_000):
        truth = float(random.beta(2, 5))
        label = bool(random.random() < truth)
        contest.update(an_example(label, 0.29, deep=truth, user=f"u{seen}", at_ms=10_000 * seen))
        if contest.decide(seen) is not None:
            break

    assert contest.champion == "deep"
    assert seen < 2_000


def test_a_challenger_that_is_as_good_is_not_promoted_and_one_that_is_worse_has_no_evidence() -> None:
    same = a_contest()
    for number in range(5_000):
        same.update(an_example(number % 4 == 0, 0.25, deep=0.25, at_ms=HOUR_MS * number))
    assert same.standings()["deep"].evidence == 1.0

    worse = a_contest()
    for number in range(5_000):
        worse.update(an_example(number % 4 == 0, 0.25, deep=0.6, at_ms=HOUR_MS * number))
    assert worse.standings()["deep"].evidence < 0.3
    assert worse.decide(1) is None


def test_triggers_of_one_visitor_within_an_hour_are_worth_less_than_those_of_many() -> None:
    together, apart, hours = a_contest(), a_contest(), a_contest()
    for number in range(12):
        together.update(an_example(True, 0.5, deep=0.6, at_ms=number))
        apart.update(an_example(True, 0.5, deep=0.6, at_ms=number, user=f"u{number}"))
        hours.update(an_example(True, 0.5, deep=0.6, at_ms=number * HOUR_MS))

    one, twelve = together.standings()["deep"], apart.standings()["deep"]
    assert (one.judged, one.advantage) == (twelve.judged, twelve.advantage)
    assert one.evidence < twelve.evidence == hours.standings()["deep"].evidence
    assert together._evidence["deep"].design_effect == pytest.approx(12)
    assert apart._evidence["deep"].design_effect == pytest.approx(1)


def test_positives_that_are_known_early_wait_for_their_window() -> None:
    """A challenger that promises more would be ahead whenever one looks: positives come first."""
    contest = a_contest()
    for number in range(60):  # within one window
        contest.update(an_example(True, 0.1, deep=0.9, at_ms=1000 * number, early_ms=WINDOW - 1, user=f"u{number}"))
    assert contest.standings()["deep"].judged == 0

    contest.update(an_example(False, 0.1, deep=0.9, at_ms=3 * HOUR_MS, user="last"))
    assert contest.standings()["deep"].judged == 61


def stored(contest: Contest) -> list[Any]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(contest.state()), type=list[Any])


def test_a_positive_waits_for_the_clock_of_its_own_partition() -> None:
    # partition 1 works off a backlog of three hours: of its windows no negative is known, its positives do not count
    contest = a_contest()
    for number in range(60):
        contest.update(an_example(False, 0.5, deep=0.5, at_ms=3 * HOUR_MS + number))
        early = an_example(True, 0.1, deep=0.9, at_ms=number, early_ms=WINDOW - 1, partition=1, user=f"u{number}")
        contest.update(early)
    again = a_contest()
    again.restore(stored(contest))

    for one in (contest, again):
        assert one.standings()["deep"].judged == 60
        one.update(an_example(False, 0.1, deep=0.9, at_ms=59, partition=1, user="last"))
        assert one.standings()["deep"].judged == 121
    assert again.state() == contest.state()


def test_positives_that_an_earlier_version_held_back_count_by_the_first_clock_that_passes_them() -> None:
    contest = a_contest()
    row = [T0 + WINDOW, 7, True, "u1", {"": 0.1, "deep": 0.9}]  # it noted no partition
    *others, nothing = stored(contest)
    contest.restore([*others, [row]])
    assert (nothing, contest.state()[-1]) == ([], [row])

    contest.update(an_example(False, 0.1, deep=0.9, at_ms=-1, partition=1))
    assert contest.standings()["deep"].judged == 1
    contest.update(an_example(False, 0.1, deep=0.9, at_ms=0, partition=1))
    assert contest.standings()["deep"].judged == 3


# -------------------------------------------------------------------- the contest


_HOURS = itertools.count()


def judged(contest: Contest, count: int, **said: float) -> Contest:
    """Judge positives, on which challengers say `said`, and as many negatives, on which they say the opposite."""
    for number in range(count):
        label = number % 2 == 0
        at_ms = HOUR_MS * next(_HOURS)
        contest.update(an_example(label, 0.5, at_ms=at_ms, **{name: p if label else 1 - p for name, p in said.items()}))
    return contest


def test_what_is_served_is_told_with_the_reason_and_evidence_begins_anew() -> None:
    contest = judged(a_contest(), 500, deep=0.8)

    made = contest.decide(77)

    assert made is not None
    assert made.serving == Serving(objective="click", variant="deep", before="", number=1, cause="test")
    assert (made.promotion.cause, made.promotion.version) == ("test", 77)
    assert made.promotion.standing is not None
    assert made.promotion.standing.evidence >= contest.needed == 20
    assert contest.standings()[""].judged == 0  # the old champion is a challenger now
    assert contest.decide(78) is None


def test_the_one_that_was_served_before_can_win_its_place_back() -> None:
    contest = a_contest()
    contest.follow(decision("click", "deep", before="", number=1, cause="command").serving)
    for number in range(500):
        said = 0.8 if number % 2 == 0 else 0.2
        contest.update(an_example(number % 2 == 0, 0.5, variant="deep", _=said, at_ms=HOUR_MS * number))

    made = contest.decide(5)

    assert made is not None
    assert (made.serving.variant, made.serving.before, made.serving.number) == ("", "deep", 2)


def test_without_automatic_it_only_tells() -> None:
    contest = judged(a_contest(automatic=False), 500, deep=0.8)

    assert contest.decide(1) is None
    assert contest.metric(1).standings["deep"].evidence > contest.needed


def test_the_begin_of_a_reign_and_models_that_have_learned_nothing_do_not_count() -> None:
    contest = judged(a_contest(after=100), 130, deep=0.8)
    assert contest.standings()["deep"].judged == 30

    contest.update(an_example(True, 0.5, version=0, deep=0.9))
    contest.update(an_example(True, 0.5))
    assert contest.standings()["deep"].judged == 30


def test_several_challengers_need_as_many_times_the_evidence() -> None:
    contest = judged(a_contest(variants=LINEAGES), 400, deep=0.7, lean=0.8)

    assert contest.needed == 40
    made = contest.decide(1)
    assert made is not None
    assert made.serving.variant == "lean"


def test_a_record_that_was_known_changes_nothing() -> None:
    contest = judged(a_contest(), 100, deep=0.8)
    contest.follow(Serving(objective="click", variant="", before="deep", number=1))
    judged(contest, 50, deep=0.8)

    assert not contest.follow(Serving(objective="click", variant="", before="deep", number=1))
    assert contest.standings()["deep"].judged == 50


def test_what_is_served_is_the_champion_when_a_deploy_without_it_is_rolled_back() -> None:
    """Else another challenger is held against a model that nobody is served."""
    served = Serving(objective="click", variant="deep", before="", number=1)
    contest = a_contest(variants=LINEAGES)
    contest.follow(served)
    without = a_contest(variants={"": "aa", "lean": "cc"})
    without.restore(contest.state())
    without.follow(Serving(objective="click", variant="", before="", number=1))
    judged(without, 90, lean=0.6)
    again = a_contest(variants=LINEAGES)
    again.restore(without.state())

    assert again.follow(served)
    assert again.champion == "deep"
    assert again.standings()["lean"].judged == 0


def test_when_models_is_a_new_topic_the_champion_is_what_is_served_by_it() -> None:
    contest = a_contest()
    contest.follow(Serving(objective="click", variant="deep", before="", number=3))

    assert contest.follow(Served(["", "deep"]).record("click"))
    assert (contest.champion, contest.number) == ("", 0)
    assert contest.follow(Serving(objective="click", variant="deep", before="", number=1))
    assert contest.champion == "deep"


def test_state_goes_on_bit_for_bit() -> None:
    contest = judged(a_contest(variants=LINEAGES, after=10), 90, deep=0.7, lean=0.6)
    again = a_contest(variants=LINEAGES, after=10)
    again.restore(json.loads(json.dumps(contest.state())))
    more = [an_example(True, 0.5, deep=0.7, lean=0.6, at_ms=HOUR_MS * (10**6 + hour)) for hour in range(40)]
    for one in more:
        contest.update(one)
        again.update(one)

    assert again.state() == contest.state()


def test_a_model_that_was_declared_anew_has_no_evidence() -> None:
    contest = judged(a_contest(variants=LINEAGES), 90, deep=0.7, lean=0.6)
    again = a_contest(variants=LINEAGES | {"deep": "other"})
    again.restore(contest.state())
    assert (again.standings()["deep"].judged, again.standings()["lean"].judged) == (0, 90)

    champion_changed = a_contest(variants=LINEAGES | {"": "other"})
    champion_changed.restore(contest.state())
    assert champion_changed.standings()["lean"].judged == 0


def test_a_champion_that_is_no_longer_declared_is_the_declared_model() -> None:
    contest = a_contest(variants=LINEAGES)
    contest.follow(decision("click", "lean", before="", number=4, cause="command").serving)
    again = a_contest()
    again.restore(contest.state())

    assert (again.champion, again.number) == ("", 4)
