"""What docker-compose.yml starts, started without Docker: its commands, its variables, its brokers' settings."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from compose import ROOT, broker_settings, environment_of, read_compose
from kafka_cluster import kafka_or_skip
from polling import eventually
from processes import start_streamscore, status_of

from streams.embedded import EmbeddedValkey, free_port

COMPOSE = read_compose()
SERVICES = COMPOSE["services"]


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """A broker with the settings of the file; only its addresses and its folder are ours."""
    listeners = "INSIDE://127.0.0.1:{broker}"
    ours = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{{controller}}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": "1@127.0.0.1:{controller}",
    }
    settings = {**broker_settings(environment_of(SERVICES["kafka"])), **ours}
    del settings["log.dirs"]
    with kafka_or_skip(settings=settings) as cluster:
        yield cluster.bootstrap_servers


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """A store with the command of the file; only its address and its folder are ours."""

    class AsInTheFile(EmbeddedValkey):
        def arguments(self) -> list[str]:
            return [*SERVICES["valkey"]["command"][1:], *super().arguments()]

    with AsInTheFile() as server:
        yield server.url


@pytest.fixture
def run(kafka: str, valkey: str, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the command of a service with its variables; only addresses and the mounted file are ours."""

    def start(name: str, **ours: str) -> subprocess.Popen[bytes]:
        variables = {
            **environment_of(SERVICES[name]),
            "STREAMSCORE_CONFIG": str(ROOT / COMPOSE["configs"]["scoring"]["file"]),
            "STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "STREAMSCORE_REDIS_URL": valkey,
            **ours,
        }
        return start_streamscore(SERVICES[name]["command"], variables, tmp_path)

    return start


def test_the_topics_are_made_and_a_worker_becomes_ready_and_ends_when_told(
    run: Callable[..., subprocess.Popen[bytes]],
) -> None:
    for _ in range(2):  # the container may be started again
        made = run("topics")
        said, _ = made.communicate(timeout=60)
        assert made.returncode == 0, said.decode()

    port = str(free_port())
    worker = run("worker", STREAMSCORE_WORKER_HTTP_PORT=port, STREAMSCORE_WORKER_HTTP_HOST="127.0.0.1")
    try:
        eventually(lambda: worker.poll() is not None or status_of(port, "/readyz") == 200, within_s=60)
        healthy = status_of(port, "/healthz")
    finally:
        worker.send_signal(signal.SIGTERM)
        said, _ = worker.communicate(timeout=30)

    assert worker.returncode == 0, said.decode()
    assert healthy == 200
    assert all(json.loads(line) for line in said.splitlines())
