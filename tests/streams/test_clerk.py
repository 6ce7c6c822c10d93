"""What a clerk writes into the logs of partitions, and what it tells the ledger of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from online_models.bidding.allowances import Allowances
from schemas.codec import MIN_TS_MS
from schemas.events import BudgetGranted, CampaignSet, LedgerBegun, SystemEvent
from schemas.user_state import Allowance
from streams.budgets import CampaignDay, Clerk, DictLedger, Draw, Entry, Totals, Want
from streams.budgets.books import Books
from streams.campaign_feed import Told
from streams.stores import PartitionId, Unavailable

SHOES = CampaignDay("shoes", "2026-11-26")
BUDGET = 1_000_000
# What a partition asks for first, in `fall_short` of 100: sixteen bids of that.
SLICE = 1_600


class FlakyLedger(DictLedger):
    """Is away on demand, before or after it has done what was asked; remembers what was drawn."""

    away = loses_answers = False

    def __init__(self) -> None:
        super().__init__()
        self.registered: list[tuple[str, Mapping[CampaignDay, Entry]]] = []
        self.asked: list[CampaignDay] = []

    async def draw(self, holder: str, epoch: str, wants: Mapping[CampaignDay, Want]) -> Draw:
        if self.away:
            raise Unavailable("store: away")
        self.asked += wants
        answer = await super().draw(holder, epoch, wants)
        if self.loses_answers:
            raise Unavailable("store: the answer was lost")
        return answer

    async def report(self, holder: str, entries: Mapping[CampaignDay, Entry]) -> None:
        if self.away:
            raise Unavailable("store: away")
        await super().report(holder, entries)

    async def register(
        self, holder: str, epoch: str, entries: Mapping[CampaignDay, Entry], *, expected: Collection[str]
    ) -> Draw:
        answer = await super().register(holder, epoch, entries, expected=expected)
        if answer.epoch == epoch:
            self.registered.append((holder, dict(entries)))
        return answer


class Partition:
    """Reads its log when it is told to, and stores what it knows at once."""

    stream_time_ms = 0

    def __init__(self, number: int = 0) -> None:
        self.partition = PartitionId("events", number)
        self.allowances = Allowances()
        self.books: Books | None = Books("", [])
        self.log: list[SystemEvent] = []
        self.read_to = 0
        self.versions: dict[str, int] = {}

    def campaign_version(self, name: str) -> int:
        return self.versions.get(name, 0)

    def read(self) -> None:
        for event in self.log[self.read_to :]:
            if isinstance(event, LedgerBegun):
                self.allowances.begin(event.epoch)
            elif isinstance(event, BudgetGranted):
                known = {"returned": event.returned, "spent": event.spent, "moved": event.moved}
                place = event.campaign, event.day
                self.allowances.receive(place, event.epoch, event.drawn, event.committed, **known)
            elif isinstance(event, CampaignSet):
                self.versions[event.campaign] = event.version
        self.read_to = len(self.log)
        self.save()

    def save(self) -> None:
        assert self.books is not None
        self.books.saved(self.allowances.epoch, self.allowances.take_changed(), self.allowances.take_wants())

    def want(self, amount: int = 100) -> None:
        self.allowances.fall_short(SHOES, amount, BUDGET)
        self.save()

    @property
    def free(self) -> int:
        return self.allowances.free(SHOES, BUDGET)


class Office:
    """A clerk between a ledger and partitions; a second passes with each round."""

    def __init__(self, partitions: int = 1) -> None:
        self.ledger = FlakyLedger()
        self.partitions = [Partition(number) for number in range(partitions)]
        self.campaigns: dict[str, Told] = {}
        self.away: set[int] = set()
        self.now_s = 1_000.0
        self.clerk = self.new_clerk()

    def new_clerk(self) -> Clerk:
        return Clerk(
            self.ledger,
            expected=[str(one.partition) for one in self.partitions],
            partitions=lambda: list(self.partitions),
            campaigns=self.campaigns,
            write=self.write,
            clock=lambda: self.now_s,
        )

    async def write(self, partition: PartitionId, events: Sequence[SystemEvent]) -> None:
        if partition.partition in self.away:
            raise Unavailable("broker: away")
        self.partitions[partition.partition].log.extend(events)

    async def rounds(self, count: int, *, read: bool = True) -> None:
        for _ in range(count):
            await self.clerk.round()
            self.now_s += 1
            for one in self.partitions if read else ():
                one.read()

    async def opened(self) -> Office:
        await self.rounds(5)
        return self

    @property
    def log(self) -> list[SystemEvent]:
        return self.partitions[0].log

    @property
    def epoch(self) -> str:
        return self.ledger._epoch

    def begun(self) -> LedgerBegun:
        return LedgerBegun(ts=MIN_TS_MS, epoch=self.epoch)

    def granted(self, drawn: int, committed: int) -> BudgetGranted:
        return BudgetGranted(
            ts=MIN_TS_MS, campaign="shoes", day=SHOES.day, epoch=self.epoch, drawn=drawn, committed=committed
        )

    async def totals(self) -> Totals:
        return (await self.ledger.totals(SHOES.day))[SHOES.campaign]


async def test_a_partition_that_starts_is_told_the_epoch_then_registered_then_granted_what_it_wants() -> None:
    office = Office()
    office.partitions[0].want()

    await office.rounds(1)
    after_one = list(office.log), list(office.ledger.registered)
    await office.rounds(1)
    after_two = list(office.log), list(office.ledger.registered)
    await office.rounds(5)

    assert after_one == ([office.begun()], [])
    assert after_two == ([office.begun()], [("events-0", {SHOES: Entry(0)})])
    assert office.ledger.registered == after_two[1]
    assert office.log == [office.begun(), office.granted(SLICE, SLICE)]
    assert office.partitions[0].free == SLICE


async def test_nothing_is_granted_while_a_partition_is_missing() -> None:
    office = Office(partitions=2)
    late = office.partitions.pop()
    await office.rounds(3)
    office.partitions[0].want()
    await office.rounds(5)
    before = list(office.log)

    office.partitions.append(late)
    await office.rounds(4)

    assert before == [office.begun()]
    assert office.log == [office.begun(), office.granted(SLICE, SLICE)]


async def test_what_is_not_read_yet_is_written_again_only_after_the_patience() -> None:
    office = await Office().opened()
    office.campaigns["shoes"] = Told(7, None)
    office.partitions[0].want()
    changed = CampaignSet(ts=MIN_TS_MS, campaign="shoes", version=7)

    await office.rounds(1, read=False)
    for _ in range(8):
        office.partitions[0].want()
        await office.rounds(1, read=False)
    once = office.log[1:]
    office.now_s += 2
    await office.rounds(1, read=False)
    twice = office.log[3:]
    await office.rounds(5)

    assert once == [changed, office.granted(SLICE, SLICE)]
    assert twice == once
    assert office.log[5:] == []
    assert (office.partitions[0].free, (await office.totals()).committed) == (SLICE, SLICE)


async def test_after_a_lost_answer_the_grant_is_written_and_no_other_is_made() -> None:
    office = await Office().opened()
    office.partitions[0].want()

    office.ledger.loses_answers = True
    await office.rounds(2)
    office.ledger.loses_answers = False
    await office.rounds(4)

    assert office.log[1:] == [office.granted(SLICE, SLICE)]
    assert await office.totals() == Totals(BUDGET, SLICE, 0)


async def test_what_was_spent_and_moved_is_reported_once_it_is_stored_also_after_the_ledger_was_away() -> None:
    office = await Office().opened()
    partition = office.partitions[0]
    partition.want()
    await office.rounds(3)

    partition.allowances.move_in(SHOES, 50)
    partition.allowances.spend(SHOES, 20)
    await office.rounds(1, read=False)
    not_stored = await office.totals()
    partition.save()
    office.ledger.away = True
    await office.rounds(2)
    office.ledger.away = False
    await office.rounds(2)

    assert not_stored == Totals(BUDGET, SLICE, 0)
    assert (await office.totals()).spent == 20
    assert office.partitions[0].books.entry(SHOES) == Entry(SLICE, 0, 20, SLICE, 50)  # type: ignore[union-attr]


async def test_a_ledger_that_is_lost_is_told_all_and_grants_nothing_twice() -> None:
    office = await Office().opened()
    partition = office.partitions[0]
    partition.want()
    await office.rounds(3)
    first = office.begun(), office.granted(SLICE, SLICE)
    partition.allowances.move_in(SHOES, 50)
    partition.allowances.spend(SHOES, 20)
    partition.save()
    office.ledger.forget()

    await office.rounds(5)
    lost = await office.totals()
    partition.want(1_000)
    await office.rounds(3)

    assert office.ledger.registered[1:] == [("events-0", {SHOES: Entry(SLICE, 0, 20, SLICE, 50)})]
    assert lost == Totals(0, SLICE + 50, 20)
    # It has 1,580 free, and asks to have sixteen bids of 1,000 on top.
    assert office.log == [*first, office.begun(), office.granted(SLICE + 16_000, SLICE + 50 + 16_000)]
    assert partition.free == SLICE - 20 + 16_000


async def test_a_grant_of_an_epoch_that_is_over_is_taken_by_nobody() -> None:
    office = await Office().opened()
    office.partitions[0].want()
    await office.rounds(1, read=False)
    office.ledger.forget()

    await office.rounds(1, read=False)
    office.partitions[0].allowances.begin(office.epoch)  # its record came to stand before the grant
    await office.rounds(4)

    assert office.partitions[0].free == 0
    assert office.ledger.registered[-1] == ("events-0", {SHOES: Entry(0)})


async def test_while_the_broker_is_away_nothing_is_granted_twice_and_then_it_comes_right() -> None:
    office = Office()
    office.away = {0}
    await office.rounds(3)
    office.away = set()
    await office.opened()
    begun = list(office.log)
    office.away = {0}
    office.campaigns["shoes"] = Told(7, None)
    office.partitions[0].want()
    await office.rounds(15)
    office.away = set()
    await office.rounds(4)
    campaign = CampaignSet(ts=MIN_TS_MS, campaign="shoes", version=7)

    assert begun == [office.begun()]
    assert office.log[1:] == [campaign, office.granted(SLICE, SLICE)]


async def test_a_grant_that_could_not_be_written_is_written_later_and_not_made_again() -> None:
    office = await Office().opened()
    office.partitions[0].want()

    office.away = {0}
    await office.rounds(3)
    held = await office.totals()
    office.away = set()
    await office.rounds(3)

    assert held == Totals(BUDGET, SLICE, 0)
    assert office.log[1:] == [office.granted(SLICE, SLICE)]


async def test_a_partition_that_cannot_be_written_to_keeps_no_other_waiting() -> None:
    office = await Office(partitions=2).opened()
    office.partitions[0].want()
    office.partitions[1].want()

    office.away = {0}
    await office.rounds(4)

    assert office.partitions[1].free == SLICE


async def test_the_next_worker_goes_on_with_what_is_stored() -> None:
    office = await Office().opened()
    office.partitions[0].want()
    await office.rounds(1)

    office.clerk = office.new_clerk()
    office.partitions[0].want(1_000)
    await office.rounds(4)

    # The first grant was read before, and the ledger is asked for more than that.
    assert office.log[1:] == [office.granted(SLICE, SLICE), office.granted(SLICE + 16_000, SLICE + 16_000)]


async def test_a_partition_that_has_lost_its_books_takes_on_what_the_ledger_knows_of_them() -> None:
    office = await Office().opened()
    partition = office.partitions[0]
    partition.want()
    await office.rounds(3)
    partition.allowances.move_in(SHOES, 50)
    partition.allowances.spend(SHOES, SLICE)
    partition.save()
    await office.rounds(2)

    partition.allowances, partition.books = Allowances(epoch=office.epoch), Books(office.epoch, [])
    office.clerk = office.new_clerk()
    partition.want()
    await office.rounds(3)

    assert partition.allowances.state(0) == [Allowance(*SHOES, received=SLICE, moved=50, spent=SLICE, seen=SLICE + 50)]
    assert partition.free == 50
    assert await office.totals() == Totals(BUDGET, SLICE + 50, SLICE)


async def test_where_nothing_is_left_it_is_not_asked_with_every_bid_that_cannot_be_made() -> None:
    office = await Office().opened()
    [partition] = office.partitions

    for _ in range(30):  # three seconds, ten rounds in each
        partition.allowances.fall_short(SHOES, 100, 0)
        partition.save()
        await office.clerk.round()
        office.now_s += 0.1

    assert partition.free == 0
    assert 3 <= office.ledger.asked.count(SHOES) <= 4


def test_books_of_days_long_past_are_let_go_once_they_were_told() -> None:
    yesterday, today = Allowance("shoes", "2026-11-25", spent=5), Allowance("shoes", "2026-11-26", spent=7)
    books = Books("e1", [yesterday, today])

    books.close([today])
    kept = dict(books.entries)
    books.changed.clear()
    books.close([today])

    assert set(kept) == {CampaignDay("shoes", "2026-11-25"), SHOES}
    assert books.entries == {SHOES: today}
