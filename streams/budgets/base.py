"""The interface of a budget ledger, what it guarantees, and what its holders must keep to.

A *holder* draws slices of a campaign's budget of the day and bids with nothing else. Each partition of
`events` is a holder (``events-3``): what it received and spent is part of its stored state, and a grant
reaches it as a record of its log. Each process that answers bids over HTTP is one (``http-<uuid>``), and
keeps its slices in memory. Money is whole micro-units of currency.

Ledger and holders tell each other totals of the day that only grow: what a holder was granted (`received`),
has given back (`returned`) and, if it is a partition, has spent. So every message may be lost, repeated, or
come late.

The guarantee
-------------
A holder *commits* what it was granted and has not given back, or what it spent, if that is more. A bid over
HTTP is reserved out of what its process drew, and then is the partition's that finds it in its log: the money
has *moved*, and the process never gives it back, whatever the bid costs. What the partition gives back or
spends of it was drawn elsewhere, and is counted there. So of what a partition had,
``drawn + moved - returned``, or spent, `moved` is not its own, and its commitment is
``max(drawn - returned, spent - moved)``. It may be below zero; what is kept is the sum.

A grant is made in one atomic step, and only while the commitments of all holders and the grant together stay
within the budget given with it. A holder reserves a bid only out of
``received + moved - returned - spent - reserved``, and a bid costs at most what was reserved for it. Then spend
is never above the highest budget of that day, with any number of holders, crashes, lost answers and late
reports. Above it can be only:

- cost of a win above what was reserved for its bid;
- cost of a win whose notice came after its reservation was released. Both are taken from what is left for
  others as soon as they are reported, so they overspend only what finds nothing left;
- what was already drawn when a budget was lowered.

When the ledger is lost
-----------------------
What was lost with it is known to the holders. So a ledger has an *epoch*, a random name that it takes
when it finds itself empty, on another server or restarted (both may have lost the latest writes), or when a
campaign's part of it is gone. In another epoch nothing is granted until every partition has registered what
it received. This is exact if partitions keep three rules:

1. take on no grant of another epoch than the one the stored state names;
2. change that epoch by a record of the log, and register with a state that was stored after it. Then a
   process that lost its partition without knowing cannot register with less than the partition received;
3. report `returned` only once that is stored.

HTTP holders cannot be waited for, as nobody knows them any more. What they had drawn counts as committed
up to what the partitions were last told (`Drawn.committed`, which comes back as `Entry.seen`), and at least
up to what has moved to partitions from holders that the ledger does not know. So after a loss, and only
then, spend can be above the budget by what HTTP holders drew after the last grant that any partition has
stored. What partitions had paid above what was reserved may hide as much of that, and is not taken from others.

An HTTP holder that is alive names its part in a report, and no longer counts among the unknown with that. It
should do so before it gives anything back: the ledger cannot tell whether what it returned had been returned
before the loss, and does not count that as named.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

# What floats, which Lua counts in, hold exactly: nine billion units of currency.
MAX_MICROS = 2**53 - 1
# Names of holders begin with this that answer over HTTP, whose money moves to partitions.
HTTP_HOLDER = "http-"


class CampaignDay(NamedTuple):
    """What has one budget.

    Attributes
    ----------
    campaign
        Any text.
    day
        Any text without a colon, such as 2026-11-26 in the campaign's time zone; the ledger reads nothing in it.
    """

    campaign: str
    day: str


class Want(NamedTuple):
    """What a holder would like to draw; money in micros.

    Attributes
    ----------
    micros
        How much; 0 only asks.
    unit
        Slices are not made smaller than this while so much is left; such as the highest bid.
    budget
        Budget of the whole day, as the holder knows it.
    received
        All that the holder knows it was granted. If it was granted more, an answer was lost, or the holder's
        books were: the next one tells the totals and grants nothing.
    """

    micros: int
    unit: int
    budget: int
    received: int


class Drawn(NamedTuple):
    """The answer to a want; money in micros.

    Attributes
    ----------
    total
        All that the holder was granted; its `received` from now on.
    granted
        How much of that is granted by this answer.
    committed
        Commitments of all holders, together.
    left
        What may still be granted.
    returned, spent, moved
        What the ledger knows of the holder beside `total`, if that is more than the holder knew; otherwise 0. A
        holder that has lost its books must not take for free what it had spent.
    """

    total: int
    granted: int
    committed: int
    left: int
    returned: int = 0
    spent: int = 0
    moved: int = 0


class Draw(NamedTuple):
    """The answer to a draw.

    Attributes
    ----------
    epoch
        The ledger's epoch. If it is not the one asked for, nothing was granted: change epoch first.
    missing
        How many partitions must register before anything is granted; at least 1 while nobody has said.
    drawn
        An answer for each want; none if the epoch is another or somebody is missing.
    """

    epoch: str
    missing: int
    drawn: dict[CampaignDay, Drawn]


class Entry(NamedTuple):
    """What a holder knows of its part in a campaign's day; totals in micros.

    Attributes
    ----------
    received, returned, spent
        Granted to it, given back by it, and cost of its wins.
    seen
        The latest `Drawn.committed` that it was told.
    moved
        Came to a partition with bids that were made over HTTP.
    """

    received: int
    returned: int = 0
    spent: int = 0
    seen: int = 0
    moved: int = 0


class Totals(NamedTuple):
    """A campaign's day, all holders together; micros.

    Attributes
    ----------
    budget
        As the latest draw gave it.
    committed
        Held or spent.
    spent
        As reported.
    """

    budget: int
    committed: int
    spent: int


class Ledger(Protocol):
    """Grants slices of budgets. Each method is one atomic step, and safe to repeat after Unavailable."""

    async def draw(self, holder: str, epoch: str, wants: Mapping[CampaignDay, Want]) -> Draw:
        """Ask for slices; grants at most what is wanted and left.

        When little is left, slices get smaller, so that it does not get stuck with one holder: at most half of
        the holder's even share of what is left (after guided self-scheduling, Polychronopoulos and Kuck, IEEE
        Transactions on Computers C-36, 1987), where those share who hold something.

        Parameters
        ----------
        epoch
            The holder's; "" for none.
        """

    async def report(self, holder: str, entries: Mapping[CampaignDay, Entry]) -> None:
        """Raise what the ledger knows of a holder to what the holder knows; lowers nothing."""

    async def register(
        self, holder: str, epoch: str, entries: Mapping[CampaignDay, Entry], *, expected: Collection[str]
    ) -> Draw:
        """Report in an epoch, and say who must do so before anything is granted; `drawn` of the answer is empty.

        Does nothing if the epoch is another by now.

        Parameters
        ----------
        entries
            Of all days that are not over for good.
        expected
            The names of all partitions. Once named, a holder stays expected during the epoch.
        """

    async def spent_total(self, campaign: str, day: str) -> int:
        """Return what all holders reported as spent, in micros."""

    async def totals(self, day: str) -> dict[str, Totals]:
        """Return all campaigns of a day that the ledger knows."""

    async def close(self) -> None:
        """Let go of the connections."""


def check_amounts(place: CampaignDay, amounts: Want | Entry) -> None:
    """Raise ValueError unless amounts and day are such as a ledger can keep.

    Examples
    --------
    >>> check_amounts(CampaignDay("shoes", "2026-11-26"), Entry(received=5, spent=-1))
    Traceback (most recent call last):
    ...
    ValueError: Expected 0 to 9007199254740991 micros, got -1 - at spent
    """
    if ":" in place.day:
        raise ValueError(f"Expected a day without a colon, got {place.day!r}")
    for name, micros in amounts._asdict().items():
        if not 0 <= micros <= MAX_MICROS:
            raise ValueError(f"Expected 0 to {MAX_MICROS} micros, got {micros} - at {name}")
