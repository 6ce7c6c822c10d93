"""Leaders: those of all counters, whatever way led there, and cheap to keep."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from online_models.crowd import CrowdCounts
from online_models.crowd_distribution import CrowdDistributor, CrowdReplica
from online_models.features.counter_names import SEPARATOR
from online_models.features.leaders import Leaders
from online_models.features.plan import CrowdTable
from schemas.codec import decode_model_record

LED = 4
TABLE = CrowdTable("t", lambda prefix: lambda *_: None, frozenset(), most=1_000, keeps="lowest", leaders=LED)
TABLES = {TABLE.prefix: TABLE}
ONE = "one"


def name_of(group: str, member: str) -> str:
    return f"{TABLE.prefix}{group}{SEPARATOR}{member}"


def obvious(counters: Mapping[str, float], group: str) -> list[str]:
    """Sort all there are; of equals whose places do not suffice, the last names lead."""
    start = name_of(group, "")
    members = {name.removeprefix(start): counters[name] for name in counters if name.startswith(start)}
    highest = sorted(members, key=lambda member: (members[member], member))[-LED:]
    return sorted(highest, key=lambda member: (-members[member], member))


class Counted(dict[str, float]):
    """Counters that count how often somebody goes through all of them."""

    looked_through = 0

    def items(self) -> Any:
        self.looked_through += 1
        return super().items()


def put(leaders: Leaders, counters: dict[str, float], group: str, member: str, height: float | None) -> None:
    name = name_of(group, member)
    before = counters.pop(name, None)
    if height is not None:
        counters[name] = height
    leaders.moved(name, before, height, counters)


@pytest.mark.parametrize("seed", range(8))
def test_leaders_are_those_of_all_counters_after_any_moves(seed: int) -> None:
    rng = random.Random(seed)
    leaders, counters = Leaders(TABLES), Counted()

    for number in range(3_000):
        # Few heights, so that many are equal; None: it goes.
        height = float(rng.randrange(8)) if rng.random() < 0.8 else None
        put(leaders, counters, rng.choice("ab"), str(rng.randrange(12)), height)
        if rng.random() < 0.5:
            group = rng.choice("ab")
            assert leaders.of(TABLE.prefix, group) == obvious(counters, group), number

    assert counters.looked_through < 200  # of 3,000 moves, of which every other may be the fall of a leader
    looked_through = Leaders(TABLES)
    looked_through.look_through(counters)
    for group in "ab":
        assert looked_through.of(TABLE.prefix, group) == obvious(counters, group)


def test_what_falls_has_nothing_looked_through() -> None:
    leaders, counters = Leaders(TABLES), Counted()
    for item in range(1_000):
        put(leaders, counters, ONE, str(item), float(item))

    for item in range(0, 1_000, 7):  # among them those that lead
        put(leaders, counters, ONE, str(item), item - 0.5)
    assert counters.looked_through == 0
    assert leaders.of(TABLE.prefix, ONE) == ["999", "998", "997", "996"]

    assert counters.looked_through == 0


def test_when_all_leaders_fall_counters_are_looked_through_once_and_by_who_asks() -> None:
    leaders, counters = Leaders(TABLES), Counted()
    for group in "ab":
        for item in range(100):
            put(leaders, counters, group, str(item), float(item))

    for group in "ab":
        for item in range(80, 100):
            put(leaders, counters, group, str(item), -1.0)
    assert counters.looked_through == 0
    for group in "abab":
        assert leaders.of(TABLE.prefix, group) == ["79", "78", "77", "76"]

    assert counters.looked_through == 1


@pytest.mark.parametrize("fallen", [[9], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [0, 1, 2]])
def test_learner_scorer_and_who_starts_anew_have_the_same_leaders(fallen: list[int]) -> None:
    learner, others = Learner(), [CrowdReplica(TABLES, lineage="x") for _ in range(2)]
    for item in range(30):
        learner.counts.learn_one({name_of("", str(item)): float(item % 10)}, True)
    first = learner.publish(1)

    for number in fallen:
        learner.counts.learn_one({name_of("", str(20 + number)): -1.0}, True)
    second = learner.publish(2)
    for replica in others[:1]:  # it has met every delta
        follow(replica, first)
        replica.leaders.of(TABLE.prefix, "")
        follow(replica, second)
    restarted = Learner(learner.counts.to_bytes())
    follow(others[1], restarted.publish(2))

    expected = obvious(learner.counts.weights, "")
    for one in (learner.counts, restarted.counts, *others):
        assert one.weights == learner.counts.weights
        assert one.leaders.of(TABLE.prefix, "") == expected


def test_who_leads_may_go_and_others_come_back_in_one_delta() -> None:
    leaders, counters = Leaders(TABLES), dict[str, float]()
    for item in range(50):
        put(leaders, counters, ONE, str(item), float(item))

    # As a delta tells it that names them in the order of their first change: all were forgotten, and two are back.
    for item in range(49, -1, -1):
        put(leaders, counters, ONE, str(item), 0.5 if item in (3, 48) else None)

    assert leaders.of(TABLE.prefix, ONE) == ["3", "48"]


class Learner:
    """Crowd counts and their way to the topic `models`."""

    def __init__(self, checkpoint: bytes = b"") -> None:
        self.counts = CrowdCounts(TABLES)
        if checkpoint:
            self.counts.restore(checkpoint)
        self.distributor = CrowdDistributor("crowd", lineage="x", counts=self.counts)

    def publish(self, version: int) -> list[bytes]:
        return [value for _, value in self.distributor.publish(version)]


def follow(replica: CrowdReplica, records: list[bytes]) -> None:
    for record in _decoded(records):
        replica.follow(record)


def _decoded(records: list[bytes]) -> Iterator[Any]:
    return (decode_model_record(one) for one in records)
