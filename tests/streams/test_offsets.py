"""The ledger's promises, against every order of deliveries, acknowledgements, revocations and failing commits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.offsets import Delivery, OffsetLedger, StallClock


def a_ledger(*, at: int = 0, max_open: int = 100) -> OffsetLedger:
    ledger = OffsetLedger(max_open=max_open)
    ledger.open(at, committed=at)
    return ledger


def test_only_the_acknowledged_prefix_may_be_committed() -> None:
    ledger = a_ledger(at=100)
    first, second, third = (ledger.deliver(at, at + 10, records=10) for at in (100, 110, 120))

    ledger.acknowledge(third)
    ledger.acknowledge(second)
    assert ledger.committable() is None

    ledger.acknowledge(first)
    assert ledger.committable() == 130


def test_the_first_chunk_of_a_log_is_not_committed_by_a_later_ones_acknowledgement() -> None:
    # Offset 0 and "nothing committed yet" must not be mistaken for each other.
    ledger = a_ledger(at=0)
    ledger.deliver(0, 5, records=5)
    second = ledger.deliver(5, 6, records=1)

    ledger.acknowledge(second)

    assert ledger.committable() is None


def test_offsets_without_records_are_committed_with_the_chunk_before_them() -> None:
    # records 0..9, a transaction marker at 10, record 11, compacted away: 12..19, record 20
    ledger = a_ledger()
    first = ledger.deliver(0, 10, records=10)
    ledger.skip(11)
    second = ledger.deliver(11, 12, records=1)
    third = ledger.deliver(20, 21, records=1)

    reached = []
    for delivery in (first, second, third):
        ledger.acknowledge(delivery)
        reached.append(ledger.committable())

    assert reached == [11, 12, 21]


def test_a_marker_at_the_end_of_an_acknowledged_log_leaves_no_lag() -> None:
    ledger = a_ledger()
    ledger.acknowledge(ledger.deliver(0, 10, records=10))

    ledger.skip(11)

    assert ledger.committable() == 11


def test_an_acknowledgement_of_an_older_epoch_is_refused_although_its_offsets_came_again() -> None:
    ledger = a_ledger()
    before = ledger.deliver(0, 10, records=10)
    ledger.close()
    ledger.open(0)
    ledger.deliver(0, 10, records=10)

    assert not ledger.acknowledge(before)
    assert (ledger.acknowledged, ledger.open_records) == (0, 10)


def test_a_start_that_the_application_names_is_due_for_a_commit_even_behind_the_last_one() -> None:
    ledger = a_ledger(at=50)
    ledger.close()
    epoch = ledger.open(20)

    assert ledger.committable() == 20
    assert ledger.confirm(epoch, 20)
    assert ledger.committable() is None


def test_a_commit_that_is_answered_after_a_rewind_does_not_count() -> None:
    ledger = a_ledger()
    ledger.acknowledge(ledger.deliver(0, 10, records=10))
    epoch, offset = ledger.epoch, ledger.committable()
    ledger.close()
    ledger.open(0)

    assert offset == 10
    assert not ledger.confirm(epoch, offset)
    assert ledger.committed is None


def test_room_is_counted_from_the_oldest_chunk_that_is_not_acknowledged() -> None:
    ledger = a_ledger(max_open=2)
    first = ledger.deliver(0, 1, records=1)
    second = ledger.deliver(1, 2, records=1)

    ledger.acknowledge(second)
    assert not ledger.has_room

    ledger.acknowledge(first)
    assert ledger.has_room


@pytest.mark.parametrize(("first", "after"), [(9, 12), (10, 10), (12, 11)])
def test_a_chunk_before_the_position_or_without_offsets_is_refused(first: int, after: int) -> None:
    ledger = a_ledger(at=10)

    with pytest.raises(ValueError, match=r"Expected a chunk from 10 on"):
        ledger.deliver(first, after, records=1)

    assert (ledger.position, ledger.open_chunks) == (10, 0)


def test_a_closed_ledger_takes_nothing_and_has_nothing_to_commit() -> None:
    ledger = OffsetLedger()

    ledger.skip(5)

    assert not ledger.has_room
    assert ledger.committable() is None
    assert not ledger.confirm(0, 5)
    with pytest.raises(ValueError, match="Expected a chunk from None on"):
        ledger.deliver(0, 1, records=1)


@pytest.mark.parametrize(("position", "committed"), [(-1, None), (5, 6)])
def test_an_impossible_start_is_refused(position: int, committed: int | None) -> None:
    ledger = OffsetLedger()

    with pytest.raises(ValueError, match="Expected 0 <= committed <= position"):
        ledger.open(position, committed=committed)

    assert not ledger.is_open


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside the slow, obvious account of the same: a list of offsets, each done or not."""

    @initialize(start=st.integers(0, 1000))
    def begin(self, start: int) -> None:
        self.ledger = OffsetLedger(max_open=5)
        self.everything: list[Delivery] = []
        self.in_flight: tuple[int, int] | None = None
        self.opened(start)

    def opened(self, start: int) -> None:
        self.ledger.open(start)
        self.start = self.seen_committed = start
        self.current: list[Delivery] = []
        self.log: list[tuple[int, Delivery | None]] = []  # (offset, its chunk; None for a marker)

    def oracle(self) -> int:
        """The first offset of this epoch that is not done; a marker is done when all before it is."""
        undone = (offset for offset, delivery in self.log if delivery is not None and not delivery.acknowledged)
        return next(undone, self.log[-1][0] + 1 if self.log else self.start)

    @precondition(lambda self: self.ledger.has_room)
    @rule(gap=st.integers(0, 3), length=st.integers(1, 6), records=st.integers(1, 6))
    def deliver(self, gap: int, length: int, records: int) -> None:
        first = self.ledger.position + gap
        delivery = self.ledger.deliver(first, first + length, records=min(records, length))
        self.log += [(offset, delivery) for offset in range(first, first + length)]
        self.current.append(delivery)
        self.everything.append(delivery)

    @precondition(lambda self: self.ledger.is_open)
    @rule(markers=st.integers(1, 3))
    def skip(self, markers: int) -> None:
        at = self.ledger.position
        self.ledger.skip(at + markers)
        self.log += [(offset, None) for offset in range(at, at + markers)]

    @precondition(lambda self: self.everything)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        delivery = data.draw(st.sampled_from(self.everything), label="delivery")

        assert self.ledger.acknowledge(delivery) == (delivery in self.current)

    @rule(start=st.integers(0, 1000))
    def rewind(self, start: int) -> None:
        before = self.ledger.epoch
        assert self.ledger.close() > before
        self.opened(start)

    @rule(start=st.integers(0, 1000))
    def revoke_and_assign(self, start: int) -> None:
        self.ledger.close()
        self.current = []
        for delivery in self.everything[-3:]:
            assert not self.ledger.acknowledge(delivery)
        assert self.ledger.committable() is None
        self.opened(start)

    @rule()
    def send_commit(self) -> None:
        offset = self.ledger.committable()
        if offset is not None:
            self.in_flight = self.ledger.epoch, offset

    @precondition(lambda self: self.in_flight is not None)
    @rule(accepted=st.booleans())
    def answer_commit(self, accepted: bool) -> None:
        epoch, offset = self.in_flight
        self.in_flight = None
        before = self.ledger.committed
        if accepted:
            self.ledger.confirm(epoch, offset)
        if not accepted or epoch != self.ledger.epoch:
            assert self.ledger.committed == before

    @invariant()
    def never_past_what_is_acknowledged(self) -> None:
        offset = self.ledger.committable()
        undone = [offset for offset, delivery in self.log if delivery is not None and not delivery.acknowledged]
        assert offset is None or not undone or offset <= undone[0]

    @invariant()
    def everything_acknowledged_is_committable(self) -> None:
        # A hole in the offsets (not a marker) is passed together with the chunk behind it.
        reached = self.ledger.acknowledged
        assert all(delivery is None or delivery.acknowledged for offset, delivery in self.log if offset < reached)
        assert not [offset for offset, _ in self.log if reached <= offset < self.oracle()]

    @invariant()
    def never_backwards_within_an_epoch(self) -> None:
        assert self.ledger.acknowledged >= self.seen_committed
        assert self.ledger.committed is None or self.ledger.committed <= self.ledger.acknowledged
        self.seen_committed = self.ledger.acknowledged

    @invariant()
    def the_bound_holds(self) -> None:
        assert self.ledger.open_chunks <= 5
        assert self.ledger.open_records == sum(one.records for one in self.current if not one.acknowledged)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@given(st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=8))
def test_whatever_the_order_and_the_repeats_all_acknowledged_is_all_committable(
    order: list[int], repeats: list[int]
) -> None:
    ledger = a_ledger()
    deliveries = [ledger.deliver(at * 10, at * 10 + 7, records=7) for at in range(8)]  # with gaps

    for index in (*order, *repeats):
        assert ledger.acknowledge(deliveries[index])

    assert (ledger.committable(), ledger.open_chunks, ledger.open_records) == (77, 0, 0)


def test_an_idle_partition_is_not_stuck_when_a_record_comes() -> None:
    clock = StallClock(now_s=0.0)
    clock.stuck_s(now_s=3600.0, committed=5, end=5)

    assert clock.stuck_s(now_s=3601.0, committed=5, end=6) == 1.0


def test_a_partition_whose_fetches_are_never_answered_is_stuck() -> None:
    clock = StallClock(now_s=0.0)
    clock.stuck_s(now_s=1.0, committed=5, end=None)

    assert clock.stuck_s(now_s=61.0, committed=5, end=None) == 60.0


def test_a_partition_that_is_never_positioned_is_stuck() -> None:
    assert StallClock(now_s=0.0).stuck_s(now_s=60.0, committed=None, end=None) == 60.0


def test_a_slow_commit_is_no_standstill() -> None:
    clock = StallClock(now_s=0.0)

    assert [clock.stuck_s(now_s=t * 30.0, committed=t, end=1000) for t in range(1, 5)] == [0.0] * 4
