"""What is stored of a partition's bidding: what the ledger may be told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from online_models.bidding.allowances import Want as Shortage
from schemas.user_state import Allowance
from streams.budgets.base import CampaignDay, Entry


class Books:
    """What is stored of a partition's bidding: a copy, as of the last batch that was saved.

    Attributes
    ----------
    epoch
        The ledger's, by which it spends.
    entries, wants
        By campaign and day; `wants` are taken by the clerk.
    changed
        Entries that were not reported yet.
    """

    def __init__(self, epoch: str, allowances: Sequence[Allowance]) -> None:
        self.epoch = epoch
        self.entries: dict[CampaignDay, Allowance] = {}
        self.changed: set[CampaignDay] = set()
        self.wants: dict[CampaignDay, Shortage] = {}
        self.saved(epoch, allowances, {})

    def saved(self, epoch: str, allowances: Sequence[Allowance], wants: Mapping[tuple[str, str], Shortage]) -> None:
        """Take note of what was stored."""
        self.epoch = epoch
        for one in allowances:
            place = CampaignDay(one.campaign, one.day)
            self.entries[place] = replace(one)
            self.changed.add(place)
        self.wants.update((CampaignDay(*place), want) for place, want in wants.items())

    def close(self, open_: Sequence[Allowance]) -> None:
        """Let go of what was reported and is not open any more: days long past."""
        if len(self.entries) > len(open_) + len(self.changed):
            kept = {CampaignDay(one.campaign, one.day) for one in open_} | self.changed
            self.entries = {place: one for place, one in self.entries.items() if place in kept}

    def entry(self, place: CampaignDay) -> Entry:
        """Return what the ledger is told."""
        one = self.entries.get(place)
        return Entry(one.received, one.returned, one.spent, one.seen, one.moved) if one else Entry(0)
