"""Which offset of a partition may be committed, and whether it still moves.

A ledger holds the chunks of one partition in the order of their delivery. They are acknowledged in any
order; what may be committed is the end of the longest acknowledged prefix, so a crash repeats work but never
loses it. The rules, and what they replace:

- **Chunks, not offsets, are counted.** Offsets have holes (compaction, transaction markers), and arithmetic on
  holes is where commits past unfinished work come from. A chunk says itself where the next one begins.
- **Every jump is a new epoch.** Revoking or rewinding a partition drops what is in the ledger; who still holds an
  older chunk and acknowledges it is refused. Nothing else can tell a late answer from a right one, because the
  same offsets are delivered again.
- **A commit counts when the broker said yes**, and only within the epoch it was made in.

No clock, no client, no lock: one event loop owns a ledger.
"""

from __future__ import annotations

from collections import deque


class Delivery:
    """A chunk's entry in its ledger: offsets from ``first_offset`` up to, not including, ``next_offset``."""

    __slots__ = ("acknowledged", "epoch", "first_offset", "next_offset", "records")

    def __init__(self, epoch: int, first_offset: int, next_offset: int, records: int) -> None:
        self.epoch = epoch
        self.first_offset = first_offset
        self.next_offset = next_offset
        self.records = records
        self.acknowledged = False

    def __repr__(self) -> str:
        state = "acknowledged" if self.acknowledged else "open"
        return f"<Delivery [{self.first_offset}, {self.next_offset}) epoch {self.epoch} {state}>"


class OffsetLedger:
    """The deliveries of one partition, and the offset that is safe to commit.

    Parameters
    ----------
    max_open
        Chunks that may be on their way at once, counted from the oldest one that is not acknowledged. This is
        the back-pressure of the partition and the bound of its memory.

    Attributes
    ----------
    epoch
        Raised by every `close`; never goes back, so an old chunk can be told from its second delivery.
    position
        The offset the next delivery begins at or behind; None while closed.
    start
        Where this epoch began to read; None while closed.
    acknowledged
        The end of the acknowledged prefix; None while closed.
    committed
        What the broker is known to hold for this epoch; None when that is not known.

    Examples
    --------
    >>> ledger = OffsetLedger()
    >>> _ = ledger.open(100)
    >>> first, second = ledger.deliver(100, 110, records=10), ledger.deliver(110, 125, records=12)
    >>> ledger.acknowledge(second), ledger.acknowledged
    (True, 100)
    >>> ledger.acknowledge(first), ledger.acknowledged
    (True, 125)
    """

    __slots__ = ("_open", "acknowledged", "committed", "epoch", "max_open", "open_records", "position", "start")

    def __init__(self, *, max_open: int = 4) -> None:
        if max_open < 1:
            raise ValueError(f"Expected max_open >= 1, got {max_open}")
        self.max_open = max_open
        self.epoch = 0
        self.position: int | None = None
        self.start: int | None = None
        self.acknowledged: int | None = None
        self.committed: int | None = None
        self.open_records = 0
        self._open: deque[Delivery] = deque()

    @property
    def is_open(self) -> bool:
        """Whether the partition is positioned, so that chunks may be delivered."""
        return self.position is not None

    @property
    def has_room(self) -> bool:
        """Whether one more chunk may be delivered."""
        return self.position is not None and len(self._open) < self.max_open

    @property
    def open_chunks(self) -> int:
        """Chunks delivered since, and including, the oldest one that is not acknowledged."""
        return len(self._open)

    def open(self, position: int, *, committed: int | None = None) -> int:
        """Begin to read at ``position``; return the epoch.

        Parameters
        ----------
        position
            The first offset that will be asked for. Everything below it counts as acknowledged.
        committed
            What the broker holds, if known. When left out, ``position`` itself is due for a commit, so that the
            broker learns where the application says it stands.
        """
        if self.is_open:
            raise ValueError(f"Expected a closed ledger, got one open at {self.position}")
        if position < 0 or (committed is not None and committed > position):
            raise ValueError(f"Expected 0 <= committed <= position, got position {position}, committed {committed}")
        self.position = self.start = self.acknowledged = position
        self.committed = committed
        return self.epoch

    def close(self) -> int:
        """Drop everything: the partition is revoked, or is about to be read from elsewhere. Return the new epoch."""
        self.epoch += 1
        self.position = self.start = self.acknowledged = self.committed = None
        self.open_records = 0
        self._open.clear()
        return self.epoch

    def deliver(self, first_offset: int, next_offset: int, *, records: int) -> Delivery:
        """Enter a chunk that is about to be handed out.

        Raises
        ------
        ValueError
            The ledger is closed, or the chunk does not lie at or behind `position`.
        """
        if self.position is None or not self.position <= first_offset < next_offset:
            raise ValueError(f"Expected a chunk from {self.position} on, got [{first_offset}, {next_offset})")
        delivery = Delivery(self.epoch, first_offset, next_offset, records)
        self.position = next_offset
        self.open_records += records
        self._open.append(delivery)
        return delivery

    def skip(self, next_offset: int) -> None:
        """Move on over offsets without records, such as transaction markers.

        They belong to the chunk before them, and are acknowledged with it; without an open chunk, at once.
        """
        if self.position is None or next_offset <= self.position:
            return
        self.position = next_offset
        if self._open:
            self._open[-1].next_offset = next_offset
        else:
            self.acknowledged = next_offset

    def is_current(self, delivery: Delivery) -> bool:
        """Whether the delivery belongs to what is being read now."""
        return delivery.epoch == self.epoch and self.position is not None

    def acknowledge(self, delivery: Delivery) -> bool:
        """Note that a chunk's effects are safe. Once or several times, in any order.

        Returns
        -------
        bool
            False when the partition was revoked or rewound since the delivery: the chunk no longer counts, and
            whoever holds it should drop it.
        """
        if not self.is_current(delivery):
            return False
        if not delivery.acknowledged:
            delivery.acknowledged = True
            self.open_records -= delivery.records
            while self._open and self._open[0].acknowledged:
                self.acknowledged = self._open.popleft().next_offset
        return True

    def committable(self) -> int | None:
        """Return the offset to commit, None when the broker holds it already (or the ledger is closed)."""
        return None if self.acknowledged == self.committed else self.acknowledged

    def confirm(self, epoch: int, offset: int) -> bool:
        """Note that the broker accepted a commit of ``offset`` which was made in ``epoch``.

        Returns
        -------
        bool
            Whether it was noted: False for another epoch, or when a later commit was confirmed before.
        """
        if epoch != self.epoch or self.position is None:
            return False
        if self.committed is not None and offset <= self.committed:
            return False
        self.committed = offset
        return True


class StallClock:
    """Since when a partition has had records to commit and committed none.

    A partition that is caught up is not stuck, however long ago its last record was; the clock starts with the
    first record it is behind. So it wants to be shown the partition often, also while nothing happens.

    Examples
    --------
    >>> clock = StallClock(now_s=0.0)
    >>> [clock.stuck_s(now_s=t, committed=7, end=7) for t in (10.0, 20.0)]  # caught up
    [0.0, 0.0]
    >>> [clock.stuck_s(now_s=t, committed=7, end=9) for t in (21.0, 30.0)]  # behind, and nothing moves
    [1.0, 10.0]
    >>> clock.stuck_s(now_s=31.0, committed=8, end=9)
    0.0
    """

    __slots__ = ("_committed", "_fine_s")

    def __init__(self, *, now_s: float) -> None:
        self._fine_s = now_s
        self._committed: int | None = None

    def stuck_s(self, *, now_s: float, committed: int | None, end: int | None) -> float:
        """Show the clock the partition as it is now; return for how many seconds it has been stuck.

        Parameters
        ----------
        committed
            The committed offset, None when the partition could not be positioned yet.
        end
            The end of the log, None when no fetch was answered yet; that counts as being behind.
        """
        moved = committed != self._committed
        caught_up = committed is not None and end is not None and committed >= end
        if moved or caught_up:
            self._committed = committed
            self._fine_s = now_s
        return max(0.0, now_s - self._fine_s)
