"""What every state store promises, asked of each in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.sections import RedisSettings
from streams.stores import DictStateStore, Fenced, PartitionId, PartitionRecord, RedisStateStore
from streams.stores.redis_store import connect

HERE, THERE = PartitionId("events", 3), PartitionId("events", 4)
TTL_MS = 3_600_000


def a_redis_store(url: str, prefix: str, **options: Any) -> RedisStateStore:
    return RedisStateStore(connect(RedisSettings(url=url, timeout="2s", **options)), prefix=prefix, ttl_ms=TTL_MS)


@pytest.fixture(params=["memory", "valkey", "redis_server", "cluster"])
async def store(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield DictStateStore()
        return
    url = request.getfixturevalue(f"{request.param}_url")
    made = a_redis_store(url, unique("store"), cluster=request.param == "cluster")
    yield made
    await made.close()


async def saved(store: Any, expected: int | None, following: int, **changes: Any) -> None:
    await store.save(
        changes.pop("partition", HERE),
        expected_offset=expected,
        next_offset=following,
        meta=changes.pop("meta", b"meta"),
        users=changes.pop("users", {}),
        timers=changes.pop("timers", {}),
    )


async def test_an_unknown_partition_holds_nothing(store: Any) -> None:
    await store.ping()

    assert await store.load_partition(HERE) is None
    assert await store.load_users(HERE, ["u1", "u2"]) == [None, None]
    assert await store.load_users(HERE, []) == []
    assert await store.load_blob("learner") is None
    assert await store.drop_partition(HERE) == 0


async def test_what_is_saved_is_loaded_and_none_removes(store: Any) -> None:
    await saved(store, None, 10, users={"u1": b"one", "u2": b"two"}, timers={"u1": 500, "u2": 600})
    await saved(store, 10, 20, meta=b"later", users={"u2": None, "u3": b"three"}, timers={"u1": None, "u3": 700})

    assert await store.load_partition(HERE) == PartitionRecord(20, b"later", {"u2": 600, "u3": 700})
    assert await store.load_users(HERE, ["u3", "u1", "u2", "u3"]) == [b"three", b"one", None, b"three"]
    assert await store.load_partition(THERE) is None


async def test_empty_bytes_are_a_state_and_not_a_removal(store: Any) -> None:
    await saved(store, None, 1, meta=b"", users={"u1": b"", "u2": b"x"})
    await saved(store, 1, 2, meta=b"", users={"u2": b"", "u1": None, "u3": b"\x00\r\n$"})

    assert await store.load_partition(HERE) == PartitionRecord(2, b"", {})
    assert await store.load_users(HERE, ["u1", "u2", "u3"]) == [None, b"", b"\x00\r\n$"]


async def test_what_was_loaded_is_not_changed_by_later_saves(store: Any) -> None:
    await saved(store, None, 1, timers={"u1": 500})
    record = await store.load_partition(HERE)
    await saved(store, 1, 2, timers={"u1": 900})

    assert record == PartitionRecord(1, b"meta", {"u1": 500})


@pytest.mark.parametrize("expected", [None, 0, 9, 11])
async def test_a_write_that_expects_another_offset_is_fenced_and_changes_nothing(
    store: Any, expected: int | None
) -> None:
    await saved(store, None, 10, users={"u1": b"one"}, timers={"u1": 500})

    with pytest.raises(Fenced) as caught:
        await saved(store, expected, 30, meta=b"zombie", users={"u1": b"zombie"}, timers={"u1": None})

    assert (caught.value.expected, caught.value.found) == (expected, 10)
    assert await store.load_partition(HERE) == PartitionRecord(10, b"meta", {"u1": 500})
    assert await store.load_users(HERE, ["u1"]) == [b"one"]


async def test_a_write_to_a_partition_that_was_lost_is_fenced(store: Any) -> None:
    with pytest.raises(Fenced) as caught:
        await saved(store, 10, 20)

    assert (caught.value.expected, caught.value.found) == (10, None)
    assert await store.load_partition(HERE) is None


async def test_of_several_writers_at_one_offset_one_succeeds(store: Any) -> None:
    await saved(store, None, 10)

    outcomes = await asyncio.gather(
        *(saved(store, 10, 20, meta=b"%d" % n, users={"u1": b"%d" % n}) for n in range(5)), return_exceptions=True
    )

    winners = [n for n, outcome in enumerate(outcomes) if outcome is None]
    assert len(winners) == 1
    assert all(isinstance(outcome, Fenced) for n, outcome in enumerate(outcomes) if n not in winners)
    assert await store.load_users(HERE, ["u1"]) == [b"%d" % winners[0]]


async def test_user_ids_may_be_any_text(store: Any) -> None:
    ids = ["", "a b", "{events-4}", "}{", "ü☃\n\x00", "u:1", "*", "[a]", "\U0001f6d2" * 128]

    await saved(store, None, 1, users={one: b"state of " + one.encode() for one in ids}, timers=dict.fromkeys(ids, 5))

    assert await store.load_users(HERE, ids) == [b"state of " + one.encode() for one in ids]
    assert await store.load_partition(HERE) == PartitionRecord(1, b"meta", dict.fromkeys(ids, 5))


async def test_a_large_batch_is_one_write(store: Any) -> None:
    users = {f"u{number}": b"x" * 300 for number in range(12_000)}

    await saved(store, None, 12_000, users=users, timers=dict.fromkeys(users, 1_800_000_000_000))
    loaded = await store.load_users(HERE, list(users))
    record = await store.load_partition(HERE)
    await saved(store, 12_000, 12_001, users=dict.fromkeys(users), timers=dict.fromkeys(users))

    assert loaded == list(users.values())
    assert record.timers == dict.fromkeys(users, 1_800_000_000_000)
    assert await store.load_partition(HERE) == PartitionRecord(12_001, b"meta", {})


async def test_dropping_a_partition_leaves_the_others(store: Any) -> None:
    await saved(store, None, 5, users={f"u{n}": b"here" for n in range(2500)}, timers={"u1": 1})
    await saved(store, None, 6, partition=THERE, users={"u1": b"there"})

    assert await store.drop_partition(HERE) == 2500

    assert await store.load_users(HERE, ["u1"]) == [None]
    assert await store.load_partition(HERE) is None
    assert await store.load_users(THERE, ["u1"]) == [b"there"]


async def test_checkpoints_are_replaced_only_by_who_read_the_latest(store: Any) -> None:
    first = await store.save_blob("learner", b"\x00one", expected_token=None)
    second = await store.save_blob("learner", b"two" * 1_000_000, expected_token=first)

    for stale in (first, None):
        with pytest.raises(Fenced, match="learner") as caught:
            await store.save_blob("learner", b"zombie", expected_token=stale)
        assert (caught.value.expected, caught.value.found) == (stale, second)

    assert await store.load_blob("learner") == (b"two" * 1_000_000, second)
    assert await store.load_blob("another") is None


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
async def test_a_checkpoint_may_have_any_size(store: Any, size: int) -> None:
    blob = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    token = await store.save_blob("learner", blob, expected_token=None)

    assert await store.load_blob("learner") == (blob, token)


# Few users, few offsets: so that the same ones meet again, and half of the writes are refused.
USERS = st.sampled_from(["u1", "u2", "{u}", "é"])
OFFSETS = st.integers(0, 3)
SAVES = st.tuples(
    st.sampled_from([HERE, THERE]),
    st.none() | OFFSETS,
    OFFSETS,
    st.dictionaries(USERS, st.none() | st.binary(max_size=3)),
    st.dictionaries(USERS, st.none() | st.integers(0, 2**43)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(saves=st.lists(SAVES | st.just("drop"), max_size=12))
@pytest.mark.parametrize("kind", ["valkey", "redis_server"])
async def test_any_writes_leave_in_redis_what_they_leave_in_memory(
    kind: str, saves: list[Any], request: pytest.FixtureRequest, unique: Callable[[str], str]
) -> None:
    memory = DictStateStore()
    redis_store = a_redis_store(request.getfixturevalue(f"{kind}_url"), unique("law"))

    async def outcome(store: Any, step: Any) -> object:
        if step == "drop":
            return await store.drop_partition(HERE)
        partition, expected, following, users, timers = step
        try:
            return await saved(store, expected, following, partition=partition, users=users, timers=timers)
        except Fenced as fenced:
            return fenced.expected, fenced.found

    async def held(store: Any) -> list[object]:
        users = ["u1", "u2", "{u}", "é"]
        return [(await store.load_partition(one), await store.load_users(one, users)) for one in (HERE, THERE)]

    try:
        for step in saves:
            assert await outcome(redis_store, step) == await outcome(memory, step)
        assert await held(redis_store) == await held(memory)
    finally:
        await redis_store.close()
