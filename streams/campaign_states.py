"""How campaigns stand: what is declared of each, whether it may bid today, and what it has spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from online_models.bidding.campaigns import NOT_YET, OVER, PAUSED, Checked
from online_models.bidding.money import MICROS
from online_models.errors import ConfigError
from schemas.api import CampaignState
from schemas.campaigns import Campaign
from streams.budgets import Ledger, Totals
from streams.campaign_feed import Told

RUNNING, TAKEN_AWAY = "running", "taken away"
_IN_ORDER = {RUNNING, TAKEN_AWAY, PAUSED, NOT_YET, OVER}


class Known(NamedTuple):
    """A campaign as it was declared last.

    Attributes
    ----------
    version
        Of the record on `campaigns`; 0: it is the configuration's.
    campaign
        None: it was taken away, or is wrong and never bids.
    why
        What is wrong; empty otherwise.
    """

    version: int
    campaign: Checked | None
    why: str = ""


def known_campaigns(
    declared: Iterable[Campaign], told: Mapping[str, Told], check: Callable[[Campaign], Checked]
) -> dict[str, Known]:
    """Return the configuration's campaigns and those of the topic, which take the place of a configuration's."""
    known = {one.campaign: _checked(0, one, check) for one in declared}
    for name, one in told.items():
        if one.campaign is None:
            known[name] = Known(one.version, None, one.why)
        else:
            known[name] = _checked(one.version, one.campaign, check)
    return known


def _checked(version: int, declared: Campaign, check: Callable[[Campaign], Checked]) -> Known:
    try:
        return Known(version, check(declared))
    except ConfigError as error:
        return Known(version, None, str(error))


async def states_of(known: Mapping[str, Known], ledger: Ledger, now_ms: int) -> list[CampaignState]:
    """Return how campaigns stand at a time, by name; the multiplier is left at 1. Raises Unavailable."""
    totals: dict[str, dict[str, Totals]] = {}
    found = []
    for name, one in sorted(known.items()):
        state = CampaignState(campaign=name, version=one.version, status=one.why or TAKEN_AWAY)
        if one.campaign is not None:
            state.day = one.campaign.day(now_ms)
            state.status = one.campaign.why_not_on(state.day) or RUNNING
            state.budget = one.campaign.declared.budget_per_day
            if state.day not in totals:
                totals[state.day] = await ledger.totals(state.day)
            if (total := totals[state.day].get(name)) is not None:
                state.spent, state.committed = total.spent / MICROS, total.committed / MICROS
        found.append(state)
    return found


def is_wrong(state: CampaignState) -> bool:
    """Tell whether a campaign does not bid because its declaration is wrong."""
    return state.status not in _IN_ORDER
