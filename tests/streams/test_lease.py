from __future__ import annotations

from streams.lease import Lease


def test_only_a_gap_ends_a_term_and_whoever_looks_first_sees_it() -> None:
    times = iter((0.0, 4.0, 9.0, 14.1, 14.2, 30.0))
    lease = Lease(gap_s=5.0, clock=lambda: next(times))

    assert [lease.term() for _ in range(5)] == [0, 0, 1, 1, 2]
