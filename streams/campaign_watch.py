"""What a worker shows of bidding: how the campaigns stand, asked of the ledger every few seconds, and what was bid.

All workers show the same of the campaigns, because all ask the same ledger; a chart takes the maximum over them. What
was bid is each worker's own.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from online_models.bidding.desk import UNKNOWN
from schemas.api import CampaignState
from streams.campaign_states import RUNNING, TAKEN_AWAY, is_wrong
from streams.logs import log_event
from streams.stores import Unavailable
from streams.telemetry import Telemetry

if TYPE_CHECKING:
    from streams.web.api import Api

LOOK_S = 5.0
# Each campaign is a time series of its own for each metric; those beyond are counted and not shown.
MOST_SHOWN = 200
WRONG = "wrong"
logger = logging.getLogger("streamscore.campaigns")


class CampaignWatch:
    """Looks after the campaigns.

    Parameters
    ----------
    ask
        Returns how all campaigns stand; raises Unavailable.
    is_open
        Whether the ledger granted something, or would have, when it was asked last.

    Attributes
    ----------
    states
        As of the last look.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        ask: Callable[[], Awaitable[Sequence[CampaignState]]],
        is_open: Callable[[], bool],
    ) -> None:
        self._telemetry = telemetry
        self._ask = ask
        self._is_open = is_open
        self._is_away = False
        self._unbooked = 0
        self.states: Sequence[CampaignState] = ()

    @property
    def ledger_open(self) -> bool:
        """Whether the ledger can be reached and grants."""
        return self._is_open() and not self._is_away

    async def look(self) -> None:
        """Ask, and show what has come; while the ledger is away, what was shown last stays."""
        try:
            self.states = await self._ask()
        except Unavailable:
            self._is_away = True
        else:
            self._is_away = False
            self._show()
        self._telemetry.ledger_open.set(self.ledger_open)
        self._tell_unbooked()

    def _tell_unbooked(self) -> None:
        """Say how many wins have come since the last look that no campaign pays for."""
        before, self._unbooked = self._unbooked, self._telemetry.notices_by_kind.get(UNKNOWN, 0)
        if self._unbooked > before:
            log_event(
                logger,
                logging.ERROR,
                "wins of unknown bids are paid for and not booked: is each notice's user_id that of its bid?",
                wins=self._unbooked - before,
            )

    def _show(self) -> None:
        told = self._telemetry
        told.campaigns.clear()
        for status, count in self.counted().items():
            told.campaigns.labels(status).set(count)
        for gauge in (told.campaign_budget, told.campaign_spent, told.campaign_left, told.campaign_multiplier):
            gauge.clear()
        for one in self.shown():
            told.campaign_budget.labels(one.campaign).set(one.budget)
            told.campaign_spent.labels(one.campaign).set(one.spent)
            told.campaign_left.labels(one.campaign).set(max(0.0, one.budget - one.committed))
            told.campaign_multiplier.labels(one.campaign).set(one.multiplier)

    def shown(self) -> list[CampaignState]:
        """Return the campaigns that have a budget today, those that run first, not more than `MOST_SHOWN`."""
        return [one for one in self._in_order() if one.day][:MOST_SHOWN]

    def _in_order(self) -> list[CampaignState]:
        return sorted(self.states, key=lambda one: (one.status != RUNNING, not one.day, one.campaign))

    def counted(self) -> Counter[str]:
        """Return how many campaigns run, are wrong, or do not bid for another reason."""
        return Counter(WRONG if is_wrong(one) else one.status for one in self.states)

    def status(self) -> dict[str, Any]:
        """Return what `/status` shows."""
        return {
            "campaigns": dict(self.counted()),
            "bids": dict(self._telemetry.bids_by_reason),
            "notices": dict(self._telemetry.notices_by_kind),
            "ledger_open": self.ledger_open,
        }

    def document(self) -> dict[str, Any]:
        """Return what the dashboard shows: of the campaigns those that run first, and those that are wrong too."""
        shown = [asdict(one) for one in self._in_order() if one.status != TAKEN_AWAY]
        return {**self.status(), "shown": shown[:MOST_SHOWN]}


def watch_campaigns(telemetry: Telemetry, api: Api) -> CampaignWatch:
    """Look after the campaigns that a worker answers for over HTTP."""

    async def ask() -> Sequence[CampaignState]:
        return (await api.campaigns()).campaigns

    return CampaignWatch(telemetry, ask=ask, is_open=lambda: api.ledger_open)
