"""What every state store promises, asked of each in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.cluster import key_slot

from streams.embedded import EmbeddedValkey
from streams.settings import RedisSettings
from streams.stores import (
    DictStateStore,
    Fenced,
    PartitionId,
    PartitionRecord,
    RedisStateStore,
    StoreMisconfigured,
    Unavailable,
)
from streams.stores.redis_store import connect

HERE, THERE = PartitionId("events", 3), PartitionId("events", 4)
TTL_MS = 3_600_000


def a_redis_store(url: str, prefix: str, **settings: Any) -> RedisStateStore:
    return RedisStateStore(connect(RedisSettings(url=url, timeout="2s", **settings)), prefix=prefix, ttl_ms=TTL_MS)


@pytest.fixture(params=["memory", "valkey", "redis"])
async def store(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield DictStateStore()
        return
    url = request.getfixturevalue("valkey_url" if request.param == "valkey" else "redis_server_url")
    async with contextlib.aclosing(_closing(a_redis_store(url, unique("store")))) as made:
        async for one in made:
            yield one


async def _closing(store: RedisStateStore) -> AsyncIterator[RedisStateStore]:
    yield store
    await store.close()


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


async def test_what_is_saved_is_loaded_and_none_removes(store: Any) -> None:
    await saved(store, None, 10, users={"u1": b"one", "u2": b"two"}, timers={"u1": 500, "u2": 600})
    await saved(store, 10, 20, meta=b"later", users={"u2": None, "u3": b"three"}, timers={"u1": None, "u3": 700})

    assert await store.load_partition(HERE) == PartitionRecord(20, b"later", {"u2": 600, "u3": 700})
    assert await store.load_users(HERE, ["u3", "u1", "u2"]) == [b"three", b"one", None]
    assert await store.load_partition(THERE) is None


@pytest.mark.parametrize("expected", [None, 9, 11])
async def test_a_write_that_expects_another_offset_is_fenced_and_changes_nothing(
    store: Any, expected: int | None
) -> None:
    await saved(store, None, 10, users={"u1": b"one"}, timers={"u1": 500})

    with pytest.raises(Fenced) as caught:
        await saved(store, expected, 30, meta=b"zombie", users={"u1": b"zombie"}, timers={"u1": None})

    assert (caught.value.expected, caught.value.found) == (expected, 10)
    assert await store.load_partition(HERE) == PartitionRecord(10, b"meta", {"u1": 500})
    assert await store.load_users(HERE, ["u1"]) == [b"one"]


async def test_user_ids_may_be_any_text(store: Any) -> None:
    ids = ["", "a b", "{events-4}", "ü☃\n\x00", "u:1", "x" * 128]

    await saved(store, None, 1, users={one: b"state of " + one.encode() for one in ids}, timers=dict.fromkeys(ids, 5))

    assert await store.load_users(HERE, ids) == [b"state of " + one.encode() for one in ids]
    record = await store.load_partition(HERE)
    assert record.timers == dict.fromkeys(ids, 5)


async def test_a_large_batch_is_one_write(store: Any) -> None:
    users = {f"u{number}": b"x" * 300 for number in range(12_000)}

    await saved(store, None, 12_000, users=users, timers=dict.fromkeys(users, 7))

    assert await store.load_users(HERE, list(users)) == list(users.values())
    record = await store.load_partition(HERE)
    assert len(record.timers) == 12_000


async def test_dropping_a_partition_leaves_the_others(store: Any) -> None:
    await saved(store, None, 5, users={"u1": b"here"}, timers={"u1": 1})
    await saved(store, None, 6, partition=THERE, users={"u1": b"there"})

    assert await store.drop_partition(HERE) > 0

    assert await store.load_partition(HERE) is None
    assert await store.load_users(HERE, ["u1"]) == [None]
    assert await store.load_users(THERE, ["u1"]) == [b"there"]


async def test_checkpoints_are_replaced_only_by_who_read_the_latest(store: Any) -> None:
    first = await store.save_blob("learner", b"\x00one", expected_token=None)
    second = await store.save_blob("learner", b"two" * 100_000, expected_token=first)

    with pytest.raises(Fenced):
        await store.save_blob("learner", b"zombie", expected_token=first)
    with pytest.raises(Fenced):
        await store.save_blob("learner", b"zombie", expected_token=None)

    assert await store.load_blob("learner") == (b"two" * 100_000, second)


# ------------------------------------------------------------------ Redis alone


async def test_every_key_has_a_time_to_live_and_the_partitions_slot(valkey_url: str, unique: Any) -> None:
    prefix = unique("ttl")
    store = a_redis_store(valkey_url, prefix)
    await saved(store, None, 5, users={"u1": b"one", "u{x}": b"two"}, timers={"u1": 1})
    await store.save_blob("learner", b"blob", expected_token=None)
    await store.close()

    async with Redis.from_url(valkey_url) as client:
        keys = [key async for key in client.scan_iter(match=f"{prefix}:*")]
        lives = [await client.pttl(key) for key in keys]
    assert len(keys) == 5
    assert all(0 < live <= TTL_MS for live in lives)
    assert len({key_slot(key) for key in keys if b"blob" not in key}) == 1


class LossyProxy:
    """Passes requests on, and can lose the answer to one of them after the server has done it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.lose_after = b""

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while request := await reader.read(1 << 20):
                up_writer.write(request)
                answer = await up_reader.read(1 << 20)
                if self.lose_after and self.lose_after in request:
                    self.lose_after = b""
                    return
                writer.write(answer)
        finally:
            up_writer.close()
            writer.close()


async def test_a_save_whose_answer_was_lost_may_be_repeated(valkey_url: str, unique: Any) -> None:
    proxy = LossyProxy(int(valkey_url.rpartition(":")[2].partition("/")[0]))
    async with proxy as url:
        store = a_redis_store(url, unique("lossy"))
        await saved(store, None, 10, users={"u1": b"one"})

        proxy.lose_after = b"lost"
        with pytest.raises(Unavailable):
            await saved(store, 10, 20, meta=b"lost", users={"u1": b"two"})
        await saved(store, 10, 20, meta=b"lost", users={"u1": b"two"})

        assert (await store.load_partition(HERE)).next_offset == 20
        await store.close()


async def test_another_writer_at_the_very_same_offset_is_still_fenced(valkey_url: str, unique: Any) -> None:
    prefix = unique("zombie")
    owner, zombie = a_redis_store(valkey_url, prefix), a_redis_store(valkey_url, prefix)
    await saved(owner, None, 10)
    await saved(owner, 10, 20, meta=b"owner")

    with pytest.raises(Fenced):
        await saved(zombie, 10, 20, meta=b"zombie")

    assert (await owner.load_partition(HERE)).meta == b"owner"
    await owner.close()
    await zombie.close()


async def test_a_store_that_is_away_or_full_is_unavailable_and_comes_back(unique: Any) -> None:
    with EmbeddedValkey() as valkey:
        store = a_redis_store(valkey.url, unique("away"))
        async with Redis.from_url(valkey.url) as client:
            await saved(store, None, 10)
            await client.config_set("maxmemory", "1")
            with pytest.raises(Unavailable, match="OutOfMemory"):
                await saved(store, 10, 20)
            await client.config_set("maxmemory", "0")
            await saved(store, 10, 20)
    with pytest.raises(Unavailable):
        await store.load_partition(HERE)
    with pytest.raises(Unavailable):
        await store.ping()
    await store.close()


async def test_wrong_credentials_are_told_apart_and_never_shown(unique: Any) -> None:
    with EmbeddedValkey() as valkey:
        async with Redis.from_url(valkey.url) as client:
            await client.config_set("requirepass", "right")
        store = a_redis_store(valkey.url, unique("auth"), password="wrong-secret")
        with pytest.raises(StoreMisconfigured) as caught:
            await store.ping()
        await store.close()

    assert "wrong-secret" not in str(caught.value)
    assert "wrong-secret" not in repr(store)
