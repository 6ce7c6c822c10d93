"""What the store in Redis promises beyond the contract of all stores: lifetimes, faults, writers that come again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import key_slot
from redis_servers import ClusterNode, LossyProxy, valkey_cluster

from streams.embedded import EmbeddedValkey
from streams.sections import RedisSettings
from streams.stores import Fenced, PartitionId, PartitionRecord, RedisStateStore, StoreMisconfigured, Unavailable
from streams.stores.redis_store import connect

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "state.md"
HERE = PartitionId("events", 3)
TTL_MS = 3_600_000
Make = Callable[..., RedisStateStore]


@pytest.fixture
async def make(unique: Callable[[str], str]) -> AsyncIterator[Make]:
    """Make stores on the same keys, closed after the test."""
    made: list[RedisStateStore] = []
    name = unique("store")

    def store(url: str, *, prefix: str = name, timeout: str = "2s", **options: Any) -> RedisStateStore:
        client = connect(RedisSettings(url=url, timeout=timeout, **options))
        made.append(RedisStateStore(client, prefix=prefix, ttl_ms=TTL_MS))
        return made[-1]

    yield store
    for one in made:
        await one.close()


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the server under test; what it sets is set back."""
    with contextlib.closing(redis.Redis.from_url(redis_url)) as client:
        yield client
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 0)


def write(expected: int | None, following: int, *, state: bytes | None = b"state") -> dict[str, Any]:
    return {
        "expected_offset": expected,
        "next_offset": following,
        "meta": b"meta",
        "users": {"u1": state},
        "timers": {"u1": following},
    }


async def repeated(step: Callable[[], Awaitable[Any]]) -> Any:
    """Do what the worker does: repeat one step while it is Unavailable."""
    for _ in range(5):
        with contextlib.suppress(Unavailable):
            return await step()
    raise AssertionError("The store did not come back")


# ------------------------------------------------------------------ keys


async def test_every_key_has_a_time_to_live_and_a_partition_has_one_slot(
    redis_url: str, admin: redis.Redis, make: Make, unique: Any
) -> None:
    prefix = unique("ttl")
    store = make(redis_url, prefix=prefix)
    await store.save(
        HERE, expected_offset=None, next_offset=5, meta=b"", users={"u1": b"1", "u{x}": b"2"}, timers={"u1": 1}
    )
    for key in admin.scan_iter(match=f"{prefix}:*"):
        admin.pexpire(key, 60_000)
    await store.save(HERE, **write(5, 6))
    await store.save_blob("learner", b"blob", expected_token=None)

    lives = {key.decode().removeprefix(f"{prefix}:"): admin.pttl(key) for key in admin.scan_iter(match=f"{prefix}:*")}
    untouched = lives.pop("{events-3}:u:u{x}")
    assert set(lives) == {"{events-3}:p", "{events-3}:t", "{events-3}:u:u1", "blob:learner"}
    assert all(60_000 < life <= TTL_MS for life in lives.values())
    assert 0 < untouched <= 60_000
    assert len({key_slot(key.encode()) for key in lives if key.startswith("{")}) == 1


def test_a_checkpoint_is_sent_to_the_slot_it_replaces() -> None:
    assert key_slot(b"shop:blob:learner") == key_slot(b"shop:{shop:blob:learner}:token")


async def test_users_who_outlive_a_lost_record_are_gone_before_the_partition_is_rebuilt(
    redis_url: str, admin: redis.Redis, make: Make, unique: Any
) -> None:
    prefix = unique("a[b]*?")  # text in a key, not a pattern
    store, neighbour = make(redis_url, prefix=prefix), PartitionId("events", 33)
    await store.save(HERE, **write(None, 5))
    await store.save(neighbour, **write(None, 5))
    admin.delete(f"{prefix}:{{events-3}}:p")  # evicted, or a drop that was cut off

    assert await store.load_partition(HERE) is None
    assert await store.load_users(HERE, ["u1"]) == [None]
    await store.save(HERE, **write(None, 1, state=None))
    assert await store.load_partition(HERE) == PartitionRecord(1, b"meta", {"u1": 1})
    assert await store.load_users(neighbour, ["u1"]) == [b"state"]


async def test_scripts_that_the_server_has_forgotten_are_sent_again(
    redis_url: str, admin: redis.Redis, make: Make
) -> None:
    store = make(redis_url)
    await store.save(HERE, **write(None, 1))
    admin.script_flush()
    await store.save(HERE, **write(1, 2))

    assert await store.load_partition(HERE) == PartitionRecord(2, b"meta", {"u1": 2})


# ------------------------------------------------------------------ lost connections, other writers


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("losing", ["lose_requests", "lose_answers"])
async def test_whichever_connection_is_lost_the_step_may_be_repeated(
    losing: str, at: int, valkey_url: str, make: Make
) -> None:
    async with LossyProxy(valkey_url) as proxy:
        store = make(proxy.url)
        await store.save(HERE, **write(None, 10))
        first = await store.save_blob("learner", b"first", expected_token=None)
        second_write, blob = write(10, 20, state=b"twenty"), b"second" * 400_000

        setattr(proxy, losing, at)
        await repeated(lambda: store.save(HERE, **second_write))
        token = await repeated(lambda: store.save_blob("learner", blob, expected_token=first))
        record = await repeated(lambda: store.load_partition(HERE))
        users = await repeated(lambda: store.load_users(HERE, ["u1"]))
        found = await repeated(lambda: store.load_blob("learner"))

        assert proxy.lost == 1
        assert record == PartitionRecord(20, b"meta", {"u1": 20})
        assert users == [b"twenty"]
        assert found == (blob, token)


async def test_a_save_whose_answer_was_lost_is_recognized_by_its_content(valkey_url: str, make: Make) -> None:
    async with LossyProxy(valkey_url) as proxy:
        store = make(proxy.url)
        await store.save(HERE, **write(None, 10))
        proxy.lose_answers = 1
        with pytest.raises(Unavailable):
            await store.save(HERE, **write(10, 20))
        assert proxy.lost == 1

        with pytest.raises(Fenced):  # another session of this process, which stood there too
            await store.save(HERE, **write(10, 20, state=b"other"))
        await store.save(HERE, **write(20, 30))

        assert await store.load_partition(HERE) == PartitionRecord(30, b"meta", {"u1": 30})


async def test_a_save_that_was_done_and_answered_is_not_done_again(valkey_url: str, make: Make) -> None:
    store = make(valkey_url)
    await store.save(HERE, **write(None, 10))

    with pytest.raises(Fenced):
        await store.save(HERE, **write(None, 10))


async def test_another_writer_at_the_very_same_offset_is_fenced_even_with_the_same_content(
    redis_url: str, make: Make
) -> None:
    owner, zombie = make(redis_url), make(redis_url)
    await owner.save(HERE, **write(None, 10))
    await owner.save(HERE, **write(10, 20, state=b"owner"))

    for state in (b"zombie", b"owner"):
        with pytest.raises(Fenced, match="expected 10, found 20"):
            await zombie.save(HERE, **write(10, 20, state=state))

    assert await owner.load_users(HERE, ["u1"]) == [b"owner"]


async def test_a_save_is_not_recognized_once_another_writer_went_on(valkey_url: str, make: Make) -> None:
    async with LossyProxy(valkey_url) as proxy:
        store, other = make(proxy.url), make(valkey_url)
        await store.save(HERE, **write(None, 10))
        proxy.lose_answers = 1
        with pytest.raises(Unavailable):
            await store.save(HERE, **write(10, 20))
        await other.save(HERE, **write(20, 30))

        with pytest.raises(Fenced, match="expected 10, found 30"):
            await store.save(HERE, **write(10, 20))


async def test_a_large_checkpoint_is_read_whole_while_it_is_replaced(redis_url: str, make: Make) -> None:
    learner, reader = make(redis_url), make(redis_url)
    size = 3_500_000
    token = await learner.save_blob("learner", b"\x00" * size, expected_token=None)

    async def replaced() -> None:
        nonlocal token
        for n in range(1, 6):
            token = await learner.save_blob("learner", bytes([n]) * size, expected_token=token)

    replacing = asyncio.create_task(replaced())
    seen = []
    while not replacing.done():
        with contextlib.suppress(Unavailable):
            blob, _ = await reader.load_blob("learner") or (b"", "")
            seen.append(set(blob))
            assert len(blob) == size
    await replacing

    assert all(len(values) == 1 for values in seen)
    assert await reader.load_blob("learner") == (b"\x05" * size, token)


async def test_a_checkpoint_of_50_megabytes_holds_nobody_up(valkey_url: str, make: Make) -> None:
    store, other = make(valkey_url), make(valkey_url)
    blob = os.urandom(1 << 20) * 50
    saving = asyncio.create_task(store.save_blob("learner", blob, expected_token=None))
    waits = []
    while not saving.done():
        started = time.perf_counter()
        await other.load_users(HERE, ["u1"])
        waits.append(time.perf_counter() - started)

    assert await store.load_blob("learner") == (blob, await saving)
    assert len(waits) > 20  # others were served in between


# ------------------------------------------------------------------ a world that is wrong


async def unavailable(*steps: Awaitable[Any]) -> list[str]:
    """Return why each step was Unavailable."""
    whys = []
    for step in steps:
        with pytest.raises(Unavailable) as caught:
            await step
        whys.append(str(caught.value))
    return whys


async def test_a_full_store_is_unavailable_and_nothing_is_half_written(
    redis_url: str, admin: redis.Redis, make: Make
) -> None:
    store = make(redis_url)
    await store.save(HERE, **write(None, 10))
    admin.config_set("maxmemory", 1)

    whys = await unavailable(
        store.save(HERE, **write(10, 20, state=b"new")), store.save_blob("b", b"", expected_token=None)
    )
    as_before = await store.load_partition(HERE), await store.load_users(HERE, ["u1"])
    admin.config_set("maxmemory", 0)
    await store.save(HERE, **write(10, 20, state=b"new"))

    assert all("OutOfMemory" in why for why in whys)
    assert as_before == (PartitionRecord(10, b"meta", {"u1": 10}), [b"state"])
    assert await store.load_users(HERE, ["u1"]) == [b"new"]


async def test_a_store_that_lacks_its_replicas_is_unavailable(redis_url: str, admin: redis.Redis, make: Make) -> None:
    store = make(redis_url)
    admin.config_set("min-replicas-to-write", 1)

    assert "NOREPLICAS" in (await unavailable(store.save(HERE, **write(None, 10))))[0]


async def test_a_store_that_became_a_replica_is_unavailable(redis_url: str, admin: redis.Redis, make: Make) -> None:
    store = make(redis_url)
    await store.save(HERE, **write(None, 10))
    admin.replicaof("127.0.0.1", 1)

    assert "ReadOnly" in (await unavailable(store.save(HERE, **write(10, 20))))[0]


async def test_a_silent_store_is_unavailable_within_the_time_limit_and_used_again_when_it_speaks(make: Make) -> None:
    with EmbeddedValkey() as valkey:
        store = make(valkey.url, timeout="300ms")
        await store.save(HERE, **write(None, 10))
        os.kill(valkey.pid or 0, signal.SIGSTOP)
        started = time.monotonic()
        try:
            await unavailable(
                store.save(HERE, **write(10, 20)),
                store.load_users(HERE, ["u1"]),
                store.load_partition(HERE),
                store.drop_partition(HERE),
                store.load_blob("learner"),
                store.save_blob("learner", b"x", expected_token=None),
                store.ping(),
            )
            took_s = time.monotonic() - started
        finally:
            os.kill(valkey.pid or 0, signal.SIGCONT)
        await store.ping()

    assert took_s < 10
    await unavailable(store.ping(), store.load_partition(HERE))


async def test_slots_that_nobody_serves_are_unavailable_and_work_when_somebody_does(make: Make) -> None:
    with valkey_cluster() as url:
        store = make(url, cluster=True)
        partitions = [PartitionId("events", number) for number in range(8)]
        for partition in partitions:
            await store.save(partition, **write(None, 10))
        with contextlib.closing(redis.Redis.from_url(url)) as first:
            first.execute_command("CLUSTER", "DELSLOTSRANGE", 0, 8191)  # nobody owns half of the slots
            outcomes = [await outcome(store, partition) for partition in partitions]
            first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            for partition in partitions:
                await repeated(lambda partition=partition: store.load_partition(partition))

    assert "Unavailable" in outcomes


async def outcome(store: RedisStateStore, partition: PartitionId) -> str:
    try:
        await store.save(partition, **write(10, 10))
    except Unavailable:
        return "Unavailable"
    return "saved"


# ------------------------------------------------------------------ a configuration that is wrong


async def test_wrong_credentials_and_missing_permissions_are_told_apart_and_never_shown(
    redis_url: str, admin: redis.Redis, make: Make, unique: Any
) -> None:
    user = unique("user")
    rules = ["on", ">right-secret", "~other:*", "-@all", "+ping", "+hmget", "+evalsha", "+eval", "+@connection"]
    admin.execute_command("ACL", "SETUSER", user, *rules)
    wrong = make(redis_url, username=user, password="wrong-secret")
    elsewhere = make(redis_url, username=user, password="right-secret")
    powerless = make(redis_url, username=user, password="right-secret", prefix="other")
    try:
        for step in (wrong.ping(), elsewhere.load_partition(HERE), powerless.save(HERE, **write(None, 1))):
            with pytest.raises(StoreMisconfigured, match="check user, password, permissions") as caught:
                await step
            assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {wrong!r} {vars(wrong)!r}"
    finally:
        admin.execute_command("ACL", "DELUSER", user)


async def test_the_documented_permissions_are_enough(
    redis_url: str, admin: redis.Redis, make: Make, unique: Any
) -> None:
    paragraph = re.search(r"\*\*Permissions\.\*\*(.*?) on keys", DOCUMENT.read_text(), re.DOTALL)
    assert paragraph is not None
    commands = re.findall(r"[A-Z]+", " ".join(re.findall(r"`([A-Z ]+)`", paragraph[1])))
    user, prefix = unique("user"), unique("app")
    rules = ["on", ">secret", f"~{prefix}:*", "-@all", *(f"+{command.lower()}" for command in commands)]
    admin.execute_command("ACL", "SETUSER", user, *rules)
    admin.script_flush()
    store = make(redis_url, prefix=prefix, username=user, password="secret")
    try:
        await store.ping()
        assert await store.load_partition(HERE) is None
        await store.save(HERE, **write(None, 10))
        await store.save(HERE, **{**write(10, 20, state=None), "timers": {"u1": None, "u2": 5}})
        assert await store.load_partition(HERE) == PartitionRecord(20, b"meta", {"u2": 5})
        assert await store.load_users(HERE, ["u1"]) == [None]
        token = await store.save_blob("learner", b"one", expected_token=None)
        await store.save_blob("learner", b"two", expected_token=token)
        with pytest.raises(Fenced):
            await store.save_blob("learner", b"three", expected_token=token)
        assert await store.drop_partition(HERE) == 0
    finally:
        admin.execute_command("ACL", "DELUSER", user)


async def test_a_password_that_is_missing_is_told(make: Make) -> None:
    with EmbeddedValkey() as valkey:
        with contextlib.closing(redis.Redis.from_url(valkey.url)) as client:
            client.config_set("requirepass", "right")
        with pytest.raises(StoreMisconfigured):
            await make(valkey.url).load_partition(HERE)


async def test_a_cluster_that_is_not_configured_as_one_is_told_and_the_reverse(
    valkey_url: str, cluster_url: str, make: Make
) -> None:
    told = []
    for number in range(8):
        with contextlib.suppress(StoreMisconfigured):
            await make(cluster_url).load_partition(PartitionId("events", number))
            continue
        told.append(number)
    with pytest.raises(StoreMisconfigured, match=r"set redis\.cluster: true"):
        await make(cluster_url).load_partition(PartitionId("events", told[0]))
    with pytest.raises(StoreMisconfigured, match=r"set redis\.cluster: false"):
        await make(valkey_url, cluster=True).ping()


async def test_a_cluster_without_owners_is_unavailable(tmp_path: Any, make: Make) -> None:
    with ClusterNode(tmp_path) as node:
        await unavailable(make(node.url, cluster=True).load_partition(HERE))
    await unavailable(make(node.url, cluster=True).load_partition(HERE))


async def test_a_key_of_another_kind_under_our_prefix_is_our_own_fault(
    redis_url: str, admin: redis.Redis, make: Make, unique: Any
) -> None:
    prefix = unique("kind")
    admin.set(f"{prefix}:{{events-3}}:p", "no hash", px=60_000)

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await make(redis_url, prefix=prefix).load_partition(HERE)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "noeviction"])
@pytest.mark.parametrize("limit", ["64mb", 0])
async def test_a_store_that_would_evict_visitors_is_told_of(
    redis_url: str, admin: redis.Redis, make: Make, caplog: pytest.LogCaptureFixture, policy: str, limit: Any
) -> None:
    admin.config_set("maxmemory-policy", policy)
    admin.config_set("maxmemory", limit)
    try:
        await make(redis_url).ping()
    finally:
        admin.config_set("maxmemory-policy", "noeviction")

    evicts = bool(limit) and policy != "noeviction"
    assert any("evicts keys" in one.message for one in caplog.records) is evicts
