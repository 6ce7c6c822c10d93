"""The contest: champions are replaced on evidence only, however often one looks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.contest import BOUND, EDGE, Contest, Evidence, Promoting, decision
from schemas.examples import Example
from schemas.models import Serving

LINEAGES = {"": "aa", "deep": "bb", "lean": "cc"}


def an_example(label: bool, score: float, *, variant: str = "", version: int = 9, **shadows: float) -> Example:
    said = {name.strip("_"): (p, version) for name, p in shadows.items()}
    return Example(
        objective="click", score_id="events-0-1:click", ts=1, label=label, features={}, score=score,
        model_version=version, topic="events", partition=0, offset=1, seq=0, released_ts=1, variant=variant,
        shadows=said,
    )  # fmt: skip


def a_contest(*, automatic: bool = True, after: int = 0, variants: Any = None, alpha: float = 0.05) -> Contest:
    variants = variants or {"": "aa", "deep": "bb"}
    return Contest("click", variants, Promoting(automatic=automatic, after=after, false_promotions=alpha))


# -------------------------------------------------------------------- the evidence


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 1), st.floats(0, 1)),
        min_size=1,
        max_size=30,
    )
)
def test_one_trigger_never_multiplies_a_bet_by_more_than_one_plus_lambda_d(
    rows: list[tuple[bool, float, float]],
) -> None:
    """The inequality that the guarantee rests on: exp(l d - psi(l) d^2) <= 1 + l d, for every row and l."""
    for label, champion, challenger in rows:
        one = Evidence()
        one.add(label, champion, challenger)
        assert abs(one.total) <= BOUND * (1 + 1e-12)
        for k in range(8):
            bet = 2.0**-k / (2 * BOUND)
            penalty = (-math.log(1 - bet * BOUND) - bet * BOUND) / BOUND**2
            assert math.exp(bet * one.total - penalty * one.squares) <= 1 + bet * one.total + 1e-12


def test_the_e_value_is_the_mean_over_the_bets() -> None:
    one = Evidence(judged=900, total=31.0, squares=40.0)
    bets = [2.0**-k / (2 * BOUND) for k in range(8)]
    direct = sum(
        math.exp(bet * 31.0 - (-math.log(1 - bet * BOUND) - bet * BOUND) / BOUND**2 * 40.0) for bet in bets
    ) / len(bets)

    assert one.e_value == pytest.approx(direct, rel=1e-12)
    assert Evidence(10**9, 1e9, 1e6).e_value == 1e300


def false_promotions(streams: int, triggers: int, rate: float, *, users: bool, seed: int) -> int:
    """Count streams on which a challenger that is no better is promoted, with a look at every trigger.

    Truth, champion and challenger have log odds around the base rate's; both models miss the truth by
    noise of the same size. With `users` noise is a visitor's own, and a visitor has several triggers in a row.
    """
    random = np.random.default_rng(seed)
    found = 0
    for _ in range(streams):
        repeats = 5 if users else 1
        truth = np.repeat(random.normal(math.log(rate / (1 - rate)), 1.0, triggers // repeats), repeats)
        noise = [np.repeat(random.normal(0, 0.7, triggers // repeats), repeats) for _ in "ab"]
        labels = random.random(len(truth)) < 1 / (1 + np.exp(-truth))
        said = [1 / (1 + np.exp(-(truth + one))) for one in noise]
        contest = a_contest()
        for label, a, b in zip(labels.tolist(), said[0].tolist(), said[1].tolist(), strict=True):
            contest.update(an_example(label, a, deep=b))
            if contest.decide(1) is not None:
                found += 1
                break
    return found


@pytest.mark.parametrize(("rate", "users"), [(0.3, False), (0.3, True), (0.02, True)])
def test_few_challengers_that_are_no_better_are_promoted(rate: float, users: bool) -> None:
    streams = 150

    found = false_promotions(streams, 1000, rate, users=users, seed=5)

    assert found <= 0.05 * streams


def test_a_better_challenger_is_promoted_soon() -> None:
    random = np.random.default_rng(1)
    contest = a_contest()
    for seen in range(20_000):
        truth = float(random.beta(2, 5))
        contest.update(an_example(bool(random.random() < truth), 0.29, deep=truth))
        if contest.decide(seen) is not None:
            break

    assert contest.champion == "deep"
    assert seen < 4_000


def test_a_challenger_that_is_as_good_is_not_promoted_and_one_that_is_worse_has_no_evidence() -> None:
    contest = a_contest()
    for number in range(5_000):
        contest.update(an_example(number % 4 == 0, 0.25, deep=0.25))
    assert contest.standings()["deep"].evidence == 1.0

    for number in range(5_000):
        contest.update(an_example(number % 4 == 0, 0.25, deep=0.6))
    assert contest.standings()["deep"].evidence < 0.5
    assert contest.decide(1) is None


# -------------------------------------------------------------------- the contest


def judged(contest: Contest, count: int, **said: float) -> Contest:
    """Judge positives, on which challengers say `said`, and as many negatives, on which they say the opposite."""
    for number in range(count):
        label = number % 2 == 0
        contest.update(an_example(label, 0.5, **{name: p if label else 1 - p for name, p in said.items()}))
    return contest


def test_what_is_served_is_told_with_the_reason_and_evidence_begins_anew() -> None:
    contest = judged(a_contest(), 500, deep=0.8)

    made = contest.decide(77)

    assert made is not None
    assert made.serving == Serving(objective="click", variant="deep", before="", number=1)
    assert (made.promotion.cause, made.promotion.version) == ("test", 77)
    assert made.promotion.standing is not None
    assert made.promotion.standing.evidence >= contest.needed == 20
    assert contest.standings()[""].judged == 0  # the old champion is a challenger now
    assert contest.decide(78) is None


def test_the_one_that_was_served_before_can_win_its_place_back() -> None:
    contest = a_contest()
    contest.follow(decision("click", "deep", before="", number=1, cause="command").serving)
    for number in range(500):
        contest.update(an_example(number % 2 == 0, 0.5, variant="deep", _=0.8 if number % 2 == 0 else 0.2))

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

    assert not contest.follow(Serving(objective="click", variant="deep", before="", number=1))
    assert contest.standings()["deep"].judged == 50


def test_state_goes_on_bit_for_bit() -> None:
    contest = judged(a_contest(variants=LINEAGES, after=10), 90, deep=0.7, lean=0.6)
    again = a_contest(variants=LINEAGES, after=10)
    again.restore(contest.state())

    assert judged(again, 40, deep=0.7, lean=0.6).state() == judged(contest, 40, deep=0.7, lean=0.6).state()


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


def test_bounds_of_losses() -> None:
    assert math.log((1 - EDGE) / EDGE) == BOUND
