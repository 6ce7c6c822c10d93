"""Servers that tests share: started when first asked for, ended with the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from kafka_cluster import KafkaCluster, KafkaUnavailable

from streams.embedded import EmbeddedKafka, EmbeddedValkey, die_with_parent, free_port

pytest_plugins: list[str] = []


class Broker(NamedTuple):
    """A broker to test on."""

    kind: str
    bootstrap_servers: str


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    kafka = EmbeddedKafka()
    kafka.start()
    yield Broker("embedded", kafka.bootstrap_servers)
    kafka.stop()


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """Apache Kafka: the one that KAFKA_BOOTSTRAP_SERVERS names, or one of our own by Maven."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield Broker("kafka", given)
        return
    try:
        with KafkaCluster(1) as cluster:
            yield Broker("kafka", cluster.bootstrap_servers)
    except KafkaUnavailable as error:
        if os.environ.get("STREAMSCORE_REQUIRE_KAFKA"):
            raise
        pytest.skip(f"no Apache Kafka: {error}")


@pytest.fixture(params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Both brokers in turn; tests that the embedded one cannot carry take `kafka_broker`."""
    name = "embedded_broker" if request.param == "embedded" else "kafka_broker"
    found: Broker = request.getfixturevalue(name)
    return found


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    valkey = EmbeddedValkey()
    valkey.start()
    yield valkey.url
    valkey.stop()


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's redis-server, where it is installed."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed")
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)],
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
        )
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(10)


@pytest.fixture(params=["valkey", "redis"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """Valkey, and Redis where it is installed."""
    url: str = request.getfixturevalue("valkey_url" if request.param == "valkey" else "redis_server_url")
    return url


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Make names that no other test uses."""
    return lambda name: f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public research data, which is never part of the repository."""
    folder = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    if not folder.exists():
        pytest.skip("the research data is not here")
    return folder


def eventually(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Wait until something holds, for a bounded time."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"did not come to hold within {within_s} s")
        time.sleep(0.05)
