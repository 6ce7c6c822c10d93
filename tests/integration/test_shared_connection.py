"""Many commands on one connection: each gets its own answer, or an error, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest
import redis
from redis import exceptions as redis_errors
from redis_servers import LossyProxy

from streams.embedded import EmbeddedValkey
from streams.sections import RedisSettings
from streams.stores.redis_client import connect
from streams.stores.shared_connection import SharedConnection

Make = Callable[..., SharedConnection]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make shared connections, closed after the test."""
    made: list[tuple[SharedConnection, Any]] = []

    def shared(url: str, *, timeout: str = "2s") -> SharedConnection:
        client: Any = connect(RedisSettings(url=url, timeout=timeout))
        made.append((SharedConnection(client), client))
        return made[-1][0]

    yield shared
    for one, client in made:
        await one.aclose()
        await client.aclose()


def connections(url: str, *, name: str) -> list[dict[str, str]]:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        return [one for one in client.client_list() if one["name"] == name]


async def test_commands_at_the_same_time_share_a_connection_and_get_their_own_answers(
    redis_url: str, make: Make, unique: Callable[[str], str]
) -> None:
    shared, name = make(redis_url), unique("client")

    answers = await asyncio.gather(*(shared.execute_command("ECHO", f"{n}" * (n % 7 * 3000)) for n in range(300)))
    await shared.execute_command("CLIENT", "SETNAME", name)

    assert answers == [f"{n}".encode() * (n % 7 * 3000) for n in range(300)]
    assert len(connections(redis_url, name=name)) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_gives_up_takes_no_answer_of_another(seed: int, redis_url: str, make: Make) -> None:
    shared, random = make(redis_url), Random(seed)
    asked = [asyncio.create_task(shared.execute_command("ECHO", f"{n}")) for n in range(400)]
    given_up = set()
    for n in random.sample(range(400), 150):
        asked[n].cancel()
        given_up.add(n)
        if random.random() < 0.2:
            await asyncio.sleep(0)

    answers = await asyncio.gather(*asked, return_exceptions=True)

    for n, answer in enumerate(answers):
        assert answer == f"{n}".encode() or (n in given_up and isinstance(answer, asyncio.CancelledError))


async def test_what_the_server_refuses_is_told_to_whoever_asked_for_it(redis_url: str, make: Make) -> None:
    shared = make(redis_url)

    refused, answered = await asyncio.gather(
        shared.execute_command("EVALSHA", "0" * 40, 0), shared.execute_command("ECHO", "x"), return_exceptions=True
    )

    assert isinstance(refused, redis_errors.NoScriptError)
    assert answered == b"x"


async def test_a_master_that_has_become_a_replica_is_not_asked_on_the_same_connection_again(make: Make) -> None:
    with EmbeddedValkey() as valkey, contextlib.closing(redis.Redis.from_url(valkey.url)) as admin:
        shared = make(valkey.url)
        before = await shared.execute_command("CLIENT", "ID")
        admin.replicaof("127.0.0.1", 1)

        with pytest.raises(redis_errors.ReadOnlyError):
            await shared.execute_command("SET", "key", "value")
        admin.replicaof("NO", "ONE")

        assert await shared.execute_command("SET", "key", "value") == b"OK"
        assert await shared.execute_command("CLIENT", "ID") != before


@pytest.mark.parametrize("losing", ["lose_requests", "lose_answers"])
async def test_who_waits_on_a_connection_that_is_lost_gets_an_error_and_the_next_one_another_connection(
    losing: str, valkey_url: str, make: Make
) -> None:
    async with LossyProxy(valkey_url) as proxy:
        shared = make(proxy.url)
        await shared.execute_command("PING")
        setattr(proxy, losing, 1)

        answers = await asyncio.gather(
            *(shared.execute_command("ECHO", "x") for _ in range(20)), return_exceptions=True
        )

        assert proxy.lost == 1
        assert all(isinstance(one, redis_errors.ConnectionError) for one in answers)
        assert await shared.execute_command("ECHO", "y") == b"y"


async def test_a_server_that_hangs_is_given_up_after_the_time_limit_and_asked_anew_when_it_goes_on(make: Make) -> None:
    with EmbeddedValkey() as valkey:
        shared = make(valkey.url, timeout="500ms")
        await shared.execute_command("PING")
        os.kill(valkey.pid or 0, signal.SIGSTOP)
        try:
            async with asyncio.timeout(10):
                # More than the sockets take: writing has to wait too.
                answers = await asyncio.gather(
                    *(shared.execute_command("ECHO", "x" * 1_000_000) for _ in range(20)), return_exceptions=True
                )
        finally:
            os.kill(valkey.pid or 0, signal.SIGCONT)

        assert all(isinstance(one, redis_errors.RedisError) for one in answers)
        assert any(isinstance(one, redis_errors.TimeoutError) for one in answers)
        assert await shared.execute_command("ECHO", "y") == b"y"


async def test_it_may_be_silent_for_longer_than_a_command_may_take(
    valkey_url: str, make: Make, unique: Callable[[str], str]
) -> None:
    shared, name = make(valkey_url, timeout="200ms"), unique("client")
    await shared.execute_command("CLIENT", "SETNAME", name)

    await asyncio.sleep(0.6)

    assert await shared.execute_command("CLIENT", "GETNAME") == name.encode()


async def test_closing_ends_those_who_wait_and_its_connection(
    valkey_url: str, make: Make, unique: Callable[[str], str]
) -> None:
    shared, name = make(valkey_url, timeout="5s"), unique("client")
    await shared.execute_command("CLIENT", "SETNAME", name)
    waiting = asyncio.create_task(shared.execute_command("BLPOP", unique("list"), 30))
    await asyncio.sleep(0.05)

    await shared.aclose()

    with pytest.raises(redis_errors.ConnectionError, match="closed"):
        await waiting
    for _ in range(50):
        if not connections(valkey_url, name=name):
            break
        await asyncio.sleep(0.1)
    assert connections(valkey_url, name=name) == []
    await shared.aclose()


async def test_its_connection_is_lent_by_the_client_with_its_time_limit_when_it_is_given_back(
    valkey_url: str,
) -> None:
    client: Any = connect(RedisSettings(url=valkey_url, timeout="3s"))
    shared = SharedConnection(client)
    await shared.execute_command("PING")
    await shared.aclose()

    connection = await client.connection_pool.get_connection()

    assert connection.socket_timeout == 3.0
    await client.connection_pool.release(connection)
    await client.aclose()


async def test_a_server_that_cannot_be_reached_is_an_error_for_everybody(make: Make) -> None:
    shared = make("redis://127.0.0.1:1/0")

    answers = await asyncio.gather(*(shared.execute_command("PING") for _ in range(3)), return_exceptions=True)

    assert all(isinstance(one, redis_errors.ConnectionError) for one in answers)
