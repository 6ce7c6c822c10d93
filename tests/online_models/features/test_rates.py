from __future__ import annotations

import pytest
from builders import DAY, HOUR, a_click, an_impression

from tests.online_models.features.timelines import values_of


def test_a_rate_starts_at_the_prior_and_follows_the_visitor() -> None:
    rates = values_of(
        {"x": {"rate": "click", "over": "impression", "prior": {"rate": 0.05, "strength": 20}}},
        an_impression(),
        a_click(),
        *(an_impression(at_ms=at) for at in range(3)),
    )

    assert rates == pytest.approx([1 / 21, 2 / 21, 2 / 22, 2 / 23, 2 / 24])


def test_a_decayed_rate_returns_to_the_prior() -> None:
    rates = values_of(
        {"x": {"rate": "click", "over": "impression", "half_life": "1h", "prior": {"rate": 0.5, "strength": 1}}},
        an_impression(at_ms=0),
        an_impression(at_ms=0),
        an_impression(at_ms=HOUR),
        an_impression(at_ms=100 * DAY),
        a_click(at_ms=200 * DAY),
    )

    assert rates == pytest.approx([0.5 / 2, 0.5 / 3, 0.5 / 3, 0.5 / 2, 1.5 / 1])


def test_a_windowed_rate_forgets() -> None:
    rates = values_of(
        {"x": {"rate": "click", "over": "impression", "window": "1h", "prior": {"rate": 0.5, "strength": 2}}},
        an_impression(at_ms=0),
        a_click(at_ms=1),
        an_impression(at_ms=3 * HOUR),
    )

    assert rates == pytest.approx([1 / 3, 2 / 3, 1 / 3])
