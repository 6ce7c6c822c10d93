"""Commands are packed by hiredis, byte for byte as redis-py packs them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from streams.sections import RedisSettings
from streams.stores.redis_client import connect

ARGUMENTS = st.lists(st.one_of(st.binary(max_size=80), st.text(max_size=20), st.integers(-(2**63), 2**63 - 1)))


@given(ARGUMENTS)
def test_a_command_has_the_same_bytes(arguments: list[Any]) -> None:
    ours = connect(RedisSettings()).connection_pool.connection_class()  # type: ignore[union-attr]

    command = ("EVALSHA", *arguments)

    assert b"".join(ours.pack_command(*command)) == b"".join(Connection().pack_command(*command))


def test_a_command_of_two_words_is_taken_apart() -> None:
    ours = connect(RedisSettings()).connection_pool.connection_class()  # type: ignore[union-attr]

    assert b"".join(ours.pack_command("CONFIG GET", "maxmemory")) == (
        b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$9\r\nmaxmemory\r\n"
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:1/0", Connection),
        ("rediss://h:1/0", SSLConnection),
        ("unix:///tmp/redis.sock", UnixDomainSocketConnection),
    ],
)
def test_every_way_to_connect_stays_what_it_was(url: str, expected: type) -> None:
    pool = connect(RedisSettings(url=url)).connection_pool  # type: ignore[union-attr]

    assert issubclass(pool.connection_class, expected)


@pytest.mark.parametrize("url", ["redis://h:1/0", "redis://h:1/0?protocol=2"])
def test_servers_are_not_asked_to_tell_of_their_maintenance(url: str) -> None:
    options = connect(RedisSettings(url=url)).connection_pool.connection_kwargs  # type: ignore[union-attr]

    told = options.get("maint_notifications_config")

    assert told is None or told.enabled is False  # where redis-py knows of it, it asks unless it is told not to
