"""A real Apache Kafka for tests: fetched by Maven, run in KRaft mode on loopback, ended afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from streams.embedded import die_with_parent, free_port

ROOT = Path(__file__).resolve().parent.parent
JARS = ROOT / "build" / "kafka"
_FETCH_SECONDS = 600
_START_SECONDS = 60
_STOP_SECONDS = 10
_CLUSTER_ID = "c3RyZWFtc2NvcmUtdGVzdA"


class KafkaUnavailable(RuntimeError):
    """No Apache Kafka can be had here; the message says why."""


def fetch_jars() -> Path:
    """Fetch the broker and its run-time dependencies once; later calls find them."""
    if any(JARS.glob("kafka_2.13-*.jar")):
        return JARS
    for tool in ("mvn", "java"):
        if shutil.which(tool) is None:
            raise KafkaUnavailable(f"{tool} is not installed, and KAFKA_BOOTSTRAP_SERVERS is not set")
    partial = JARS.with_name(f"kafka.{os.getpid()}")
    command = ["mvn", "-q", "-B", "-f", str(ROOT / "tests" / "kafka" / "pom.xml"), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_FETCH_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise KafkaUnavailable(f"Maven could not fetch Apache Kafka: {(error.stdout or b'')[-500:]!r}") from None
    shutil.rmtree(JARS, ignore_errors=True)
    partial.rename(JARS)
    return JARS


class KafkaCluster:
    """`nodes` brokers, each also a controller.

    Examples
    --------
    ``with KafkaCluster(1) as kafka: connect(kafka.bootstrap_servers)``
    """

    def __init__(self, nodes: int = 1) -> None:
        self._jars = fetch_jars()
        self._folder = Path(tempfile.mkdtemp(prefix="streamscore-kafka-"))
        self._ports = [(free_port(), free_port()) for _ in range(nodes)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)

    def __enter__(self) -> KafkaCluster:
        try:
            for number in range(len(self._ports)):
                self._configure(number)
                self.start_node(number)
            for number in range(len(self._ports)):
                self._wait_for(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self._processes):
            self.stop_node(number)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _java(self, main: str, arguments: Sequence[str], *options: str) -> list[str]:
        return ["java", "-Xms128m", "-Xmx512m", *options, "-cp", f"{self._jars}/*", main, *arguments]

    def _configure(self, number: int) -> None:
        broker, controller = self._ports[number]
        voters = ",".join(f"{node + 1}@127.0.0.1:{port}" for node, (_, port) in enumerate(self._ports))
        replicas = min(3, len(self._ports))
        settings = {
            "process.roles": "broker,controller",
            "node.id": number + 1,
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._folder / f"data-{number}",
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min(2, replicas),
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
        }
        path = self._folder / f"node-{number}.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = self._java("kafka.tools.StorageTool", ["format", "-t", _CLUSTER_ID, "-c", str(path)])
        subprocess.run(command, check=True, capture_output=True, timeout=_START_SECONDS)

    def start_node(self, number: int) -> None:
        """Start a node, the first time or again with its data."""
        with (self._folder / f"log-{number}").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                self._java("kafka.Kafka", [str(self._folder / f"node-{number}.properties")]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def stop_node(self, number: int, *, kill: bool = False) -> None:
        """End a node, in order or at once; its data stays."""
        process = self._processes.pop(number)
        process.kill() if kill else process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_for(self, number: int) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._processes[number].poll() is None:
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", self._ports[number][0])) == 0:
                    return
            time.sleep(0.1)
        said = (self._folder / f"log-{number}").read_text(errors="replace")[-2000:]
        raise KafkaUnavailable(f"Apache Kafka did not come up:\n{said}")
