from __future__ import annotations

from online_models.attribution import mark_outcome
from online_models.objectives import Objective
from schemas.user_state import OpenAttribution

WINDOW_MS = 1000


def an_objective(**fields: object) -> Objective:
    return Objective(
        **{  # type: ignore[arg-type]
            "name": "click",
            "trigger": ("impression",),
            "outcome": ("click",),
            "match": "item",
            "window_ms": WINDOW_MS,
            "model": {"name": "ftrl"},
            **fields,
        }
    )


def an_open(ts: int, *, key: str = "i1", offset: int = 0, objective: str = "click") -> OpenAttribution:
    return OpenAttribution(objective, offset, key, ts, [], 0.5, 0)


def test_an_outcome_counts_from_the_trigger_up_to_and_including_the_end_of_the_window() -> None:
    # trigger                    window ends
    # |-------------------------------|
    # hit at 0               hit at 1000   not at 1001, nor before the trigger
    def hits(at_ms: int) -> bool:
        open_ = [an_open(ts=0)]
        mark_outcome(an_objective(), open_, "i1", at_ms)
        return open_[0].hit

    assert [hits(at) for at in (-1, 0, WINDOW_MS, WINDOW_MS + 1)] == [False, True, True, False]


def test_an_outcome_matches_only_its_item_and_its_objective() -> None:
    open_ = [an_open(0), an_open(0, key="i2"), an_open(0, objective="other")]

    mark_outcome(an_objective(), open_, "i1", 10)

    assert [one.hit for one in open_] == [True, False, False]


def test_credit_goes_to_all_open_triggers_or_to_the_last_one() -> None:
    everyone = [an_open(0, offset=1), an_open(5, offset=2)]
    latest = [an_open(0, offset=1), an_open(5, offset=2)]

    mark_outcome(an_objective(), everyone, "i1", 10)
    mark_outcome(an_objective(credit="last"), latest, "i1", 10)

    assert [one.hit for one in everyone] == [True, True]
    assert [one.hit for one in latest] == [False, True]


def test_a_second_outcome_is_no_second_hit() -> None:
    open_ = [an_open(0)]

    assert mark_outcome(an_objective(), open_, "i1", 10) == open_
    assert mark_outcome(an_objective(), open_, "i1", 11) == []


def test_a_second_outcome_gives_the_last_credit_to_nobody_else() -> None:
    open_ = [an_open(0, offset=1), an_open(5, offset=2)]
    last = an_objective(credit="last")

    assert mark_outcome(last, open_, "i1", 10) == [open_[1]]
    assert mark_outcome(last, open_, "i1", 11) == []
    assert [one.hit for one in open_] == [False, True]


def test_the_last_one_is_sought_among_those_whose_windows_have_not_ended() -> None:
    # Their windows may be of different lengths: the later one, which was hit, opened when the window was short.
    long = OpenAttribution("click", 1, "i1", 0, [], 0.5, 0, closes_after_ms=WINDOW_MS, grace_ms=0)
    short = OpenAttribution("click", 2, "i1", 5, [], 0.5, 0, closes_after_ms=100, grace_ms=0, hit=True)

    assert mark_outcome(an_objective(credit="last", grace_ms=0), [long, short], "i1", 106) == [long]
