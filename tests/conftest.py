"""Servers that the tests of a process share: started when first asked for, ended with the run.

Take `broker` for a test that both brokers can carry, `kafka_broker` for several workers, rebalances, transactions and
offsets by time (the embedded broker cannot do these), `redis_url` for the store. Tests share the servers, so names
of topics, groups and keys come from `unique`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from browser import running_browser
from hypothesis import settings
from kafka_cluster import KafkaCluster, kafka_or_skip
from redis_servers import valkey_cluster

from streams.embedded import EmbeddedKafka, EmbeddedValkey

# The commands and workers that tests start, some hundreds, need not compile all modules each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What takes longest, the longest first: begun last, it would run on alone while the other processes have nothing to do,
# and a process gives none of its last two tests away.
_FIRST = (
    ("test_main_job.py", "test_globo"),
    ("test_faults.py", "test_what_is_left"),
    ("test_faults.py", "test_the_judge"),
    ("test_bidding.py", ""),
    ("test_challengers.py", ""),
    ("test_main_job.py", ""),
    ("test_replay.py", ""),
    ("test_rebuild.py", ""),
)

# A busy machine is no wrong result.
settings.register_profile("without a deadline", settings(), deadline=None)
settings.load_profile("without a deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.path.parent.name == "integration":
        for turn, (file, beginning) in enumerate(_FIRST):
            if item.path.name == file and item.name.startswith(beginning):
                return turn
    return len(_FIRST)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key, its certificate, and both in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    both = (folder / "key.pem").read_text() + (folder / "cert.pem").read_text()
    (folder / "both.pem").write_text(both)
    return folder


class Broker(NamedTuple):
    """A broker to test on; `kind` is "embedded" or "kafka"."""

    kind: str
    bootstrap_servers: str


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    with EmbeddedKafka() as kafka:
        yield Broker("embedded", kafka.bootstrap_servers)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """Apache Kafka: the one that KAFKA_BOOTSTRAP_SERVERS names, or one of our own by Maven."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield Broker("kafka", given)
        return
    with kafka_or_skip() as cluster:
        yield Broker("kafka", cluster.bootstrap_servers)


@pytest.fixture
def kafka_cluster() -> Iterator[KafkaCluster]:
    """Three nodes of this test's own, to be stopped, killed and started again."""
    with kafka_or_skip(nodes=3) as cluster:
        yield cluster


@pytest.fixture(params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Both brokers in turn."""
    found: Broker = request.getfixturevalue(f"{request.param}_broker")
    return found


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with EmbeddedValkey() as valkey:
        yield valkey.url


class InstalledRedis(EmbeddedValkey):
    """The machine's own redis-server, such as Debian's."""

    name = "Redis"

    def binary(self) -> Path:
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("redis-server is not installed")
        return Path(found)


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    with InstalledRedis() as redis:
        yield redis.url


@pytest.fixture(params=["valkey", "redis_server"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """Valkey, and Redis where it is installed."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """A Valkey cluster of two nodes, whose slots stay as they are: nodes take writes only two seconds after a start."""
    with valkey_cluster() as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[str]:
    """A browser without a window; `browser.opened` opens pages of a test's own in it."""
    with running_browser() as address:
        yield address


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Make names that no other test uses: ``unique("events")`` -> "events-1f0c2d3e"."""
    return lambda name: f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public research data, which is never part of the repository."""
    beside_us = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("RESEARCH_DATA") or beside_us)
    if not folder.exists():
        pytest.skip("no research data: name its folder in RESEARCH_DATA")
    return folder
