"""Many commands on one connection: each gets its own answer, or an error, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from inspect import Parameter, Signature, signature
from random import Random
from typing import Any

import pytest
import redis
from redis import exceptions as redis_errors
from redis_servers import LossyProxy

from streams.embedded import EmbeddedValkey
from streams.loop import Loop
from streams.sections import RedisSettings
from streams.stores import Unavailable
from streams.stores.redis_client import connect, faults
from streams.stores.shared_connection import SharedConnection

New = Callable[[], asyncio.AbstractEventLoop]


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on asyncio's loop, and on the one that a worker has."""

    def run(new_loop: New, **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**fixtures))

    new_loop = Parameter("new_loop", Parameter.KEYWORD_ONLY)
    run.__signature__ = Signature([*signature(test).parameters.values(), new_loop])  # type: ignore[attr-defined]
    run.__name__ = test.__name__
    return pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, Loop], ids=["asyncio", "uvloop"])(run)


@contextlib.asynccontextmanager
async def sharing(url: str, *, timeout: str = "2s") -> AsyncIterator[SharedConnection]:
    """Lend a shared connection, closed after the block."""
    client: Any = connect(RedisSettings(url=url, timeout=timeout))
    shared = SharedConnection(client)
    try:
        yield shared
    finally:
        await shared.aclose()
        await client.aclose()


async def repeated(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again until there is a connection; the first ones may hear of the end of the one before."""
    for _ in range(5):
        with contextlib.suppress(redis_errors.RedisError):
            return await ask()
        await asyncio.sleep(0.05)
    raise AssertionError("no connection")


def connections(url: str, *, name: str) -> list[dict[str, str]]:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        return [one for one in client.client_list() if one["name"] == name]


@on_both_loops
async def test_commands_at_the_same_time_share_a_connection_and_get_their_own_answers(
    redis_url: str, unique: Callable[[str], str]
) -> None:
    name = unique("client")
    async with sharing(redis_url) as shared:
        answers = await asyncio.gather(*(shared.execute_command("ECHO", f"{n}" * (n % 7 * 3000)) for n in range(300)))
        await shared.execute_command("CLIENT", "SETNAME", name)

        assert answers == [f"{n}".encode() * (n % 7 * 3000) for n in range(300)]
        assert len(connections(redis_url, name=name)) == 1


@pytest.mark.parametrize("seed", range(3))
@on_both_loops
async def test_whoever_gives_up_takes_no_answer_of_another(seed: int, redis_url: str) -> None:
    async with sharing(redis_url) as shared:
        await shared.execute_command("PING")
        asked = [asyncio.create_task(shared.execute_command("ECHO", f"{n}")) for n in range(400)]
        await asyncio.sleep(0)  # now all have written, and none has its answer
        given_up = set(Random(seed).sample(range(400), 150))
        for n in given_up:
            asked[n].cancel()

        answers = await asyncio.gather(*asked, return_exceptions=True)

        assert {n for n, answer in enumerate(answers) if isinstance(answer, asyncio.CancelledError)} == given_up
        assert all(answer == f"{n}".encode() for n, answer in enumerate(answers) if n not in given_up)


@on_both_loops
async def test_what_the_server_refuses_is_told_to_whoever_asked_for_it(redis_url: str) -> None:
    async with sharing(redis_url) as shared:
        refused, answered = await asyncio.gather(
            shared.execute_command("EVALSHA", "0" * 40, 0),
            shared.execute_command("ECHO", "x"),
            return_exceptions=True,
        )

        assert isinstance(refused, redis_errors.NoScriptError)
        assert answered == b"x"


@on_both_loops
async def test_a_master_that_has_become_a_replica_is_not_asked_on_the_same_connection_again() -> None:
    with EmbeddedValkey() as valkey, contextlib.closing(redis.Redis.from_url(valkey.url)) as admin:
        async with sharing(valkey.url) as shared:
            before = await shared.execute_command("CLIENT", "ID")
            admin.replicaof("127.0.0.1", 1)

            with pytest.raises(redis_errors.ReadOnlyError):
                await shared.execute_command("EVAL", "return redis.call('SET', KEYS[1], 'value')", 1, "key")
            admin.replicaof("NO", "ONE")

            assert await repeated(lambda: shared.execute_command("SET", "key", "value")) == b"OK"
            assert await shared.execute_command("CLIENT", "ID") != before


@pytest.mark.parametrize("losing", ["lose_requests", "lose_answers"])
@on_both_loops
async def test_who_waits_on_a_connection_that_is_lost_gets_an_error_and_the_next_one_another_connection(
    losing: str, valkey_url: str
) -> None:
    async with LossyProxy(valkey_url) as proxy, sharing(proxy.url) as shared:
        await shared.execute_command("PING")
        setattr(proxy, losing, 1)

        answers = await asyncio.gather(
            *(shared.execute_command("ECHO", "x") for _ in range(20)), return_exceptions=True
        )

        assert proxy.lost == 1
        assert all(isinstance(one, redis_errors.ConnectionError) for one in answers)
        assert await repeated(lambda: shared.execute_command("ECHO", "y")) == b"y"


@on_both_loops
async def test_a_connection_that_ended_just_now_is_an_error_of_the_connection(valkey_url: str) -> None:
    async with sharing(valkey_url) as shared:
        await shared.execute_command("PING")
        assert shared._link is not None
        shared._link.connection.abort()  # its reader has not been told yet

        with pytest.raises(redis_errors.ConnectionError):
            await shared.execute_command("ECHO", "x")

        assert await repeated(lambda: shared.execute_command("ECHO", "y")) == b"y"


@on_both_loops
async def test_what_is_written_to_a_connection_that_has_ended_is_an_error_of_the_connection(valkey_url: str) -> None:
    client: Any = connect(RedisSettings(url=valkey_url, timeout="2s"))
    connection = await client.connection_pool.get_connection()
    connection.abort()
    await asyncio.sleep(0.05)  # uvloop answers with a RuntimeError from here on

    with pytest.raises(redis_errors.ConnectionError):
        connection.write(b"PING\r\n")

    async def ask() -> None:
        with faults():
            await connection.send_command("PING")
            await connection.read_response()

    with pytest.raises(Unavailable):
        await ask()

    await client.connection_pool.release(connection)
    assert await client.ping()
    await client.aclose()


@on_both_loops
async def test_when_the_task_that_hands_out_answers_is_ended_from_outside_nobody_waits_on(
    valkey_url: str, unique: Callable[[str], str]
) -> None:
    async with sharing(valkey_url) as shared:
        await shared.execute_command("PING")
        waiting = asyncio.create_task(shared.execute_command("BLPOP", unique("list"), 30))
        await asyncio.sleep(0.05)
        for task in asyncio.all_tasks():
            if task.get_name() == "answers from Redis":
                task.cancel()

        with pytest.raises(redis_errors.ConnectionError):
            await waiting

        answers = await asyncio.gather(*(shared.execute_command("ECHO", f"{n}") for n in range(10)))
        assert answers == [f"{n}".encode() for n in range(10)]


@on_both_loops
async def test_a_server_that_hangs_is_given_up_after_the_time_limit_and_asked_anew_when_it_goes_on() -> None:
    with EmbeddedValkey() as valkey:
        async with sharing(valkey.url, timeout="1s") as shared:
            await shared.execute_command("PING")
            os.kill(valkey.pid or 0, signal.SIGSTOP)
            try:
                async with asyncio.timeout(20):
                    # More than the sockets take: some of it cannot even be sent.
                    answers = await asyncio.gather(
                        *(shared.execute_command("ECHO", "x" * 1_000_000) for _ in range(20)), return_exceptions=True
                    )
            finally:
                os.kill(valkey.pid or 0, signal.SIGCONT)

            assert all(isinstance(one, redis_errors.RedisError) for one in answers)
            assert any(isinstance(one, redis_errors.TimeoutError) for one in answers)
            assert await repeated(lambda: shared.execute_command("ECHO", "y")) == b"y"


@on_both_loops
async def test_it_may_be_silent_for_longer_than_a_command_may_take(
    valkey_url: str, unique: Callable[[str], str]
) -> None:
    name = unique("client")
    async with sharing(valkey_url, timeout="1s") as shared:
        await shared.execute_command("CLIENT", "SETNAME", name)

        await asyncio.sleep(1.5)

        assert await shared.execute_command("CLIENT", "GETNAME") == name.encode()


@on_both_loops
async def test_closing_ends_those_who_wait_and_its_connection_for_good(
    valkey_url: str, unique: Callable[[str], str]
) -> None:
    name = unique("client")
    async with sharing(valkey_url, timeout="5s") as shared:
        await shared.execute_command("CLIENT", "SETNAME", name)
        waiting = asyncio.create_task(shared.execute_command("BLPOP", unique("list"), 30))
        await asyncio.sleep(0.05)

        await shared.aclose()

        with pytest.raises(redis_errors.ConnectionError, match="closed"):
            await waiting
        with pytest.raises(redis_errors.ConnectionError, match="closed"):
            await shared.execute_command("PING")
        for _ in range(50):
            if not connections(valkey_url, name=name):
                break
            await asyncio.sleep(0.1)
        assert connections(valkey_url, name=name) == []


@on_both_loops
async def test_closing_while_it_connects_leaves_nothing_behind(valkey_url: str) -> None:
    client: Any = connect(RedisSettings(url=valkey_url, timeout="2s"))
    shared = SharedConnection(client)
    asking = asyncio.create_task(shared.execute_command("BLPOP", "nothing", 30))
    await asyncio.sleep(0)

    await shared.aclose()

    with pytest.raises(redis_errors.ConnectionError, match="closed"):
        await asking
    assert not client.connection_pool._in_use_connections
    assert all(task.get_name() != "answers from Redis" for task in asyncio.all_tasks())
    await client.aclose()


@on_both_loops
async def test_its_connection_goes_back_to_the_client_with_its_time_limit(valkey_url: str) -> None:
    client: Any = connect(RedisSettings(url=valkey_url, timeout="3s"))
    shared = SharedConnection(client)
    await shared.execute_command("PING")
    await shared.aclose()

    connection = await client.connection_pool.get_connection()

    assert connection.socket_timeout == 3.0
    await client.connection_pool.release(connection)
    await client.aclose()


@on_both_loops
async def test_a_server_that_takes_connections_and_says_nothing_is_given_up_after_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with sharing(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout="500ms") as shared:
            async with asyncio.timeout(20):
                answers = await asyncio.gather(
                    *(shared.execute_command("PING") for _ in range(3)), return_exceptions=True
                )

    assert all(isinstance(one, redis_errors.TimeoutError) for one in answers)


@on_both_loops
async def test_what_cannot_be_read_ends_the_connection_as_an_outage_without_what_was_read(
    valkey_url: str, unique: Callable[[str], str]
) -> None:
    name = unique("key")
    async with sharing(f"{valkey_url}?decode_responses=true") as shared:
        await shared.execute_command("SET", name, b"\xff secret")

        with pytest.raises(redis_errors.ConnectionError) as told:
            await shared.execute_command("GET", name)

        assert "secret" not in str(told.value)
        assert await repeated(lambda: shared.execute_command("ECHO", "x")) == "x"


@on_both_loops
async def test_a_server_that_cannot_be_reached_is_an_error_for_everybody() -> None:
    async with sharing("redis://127.0.0.1:1/0") as shared:
        answers = await asyncio.gather(*(shared.execute_command("PING") for _ in range(3)), return_exceptions=True)

    assert all(isinstance(one, redis_errors.ConnectionError) for one in answers)
