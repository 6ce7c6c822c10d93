"""A real Apache Kafka for tests: fetched by Maven, run in KRaft mode on loopback, ended afterwards.

Its data lies in a folder named after our process. A test run that was killed leaves that folder (the brokers end with
it); the next run takes it away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from streams.embedded import ask_kafka, die_with_parent, free_port, kafka_identity

ROOT = Path(__file__).resolve().parent.parent
POM = ROOT / "tests" / "kafka" / "pom.xml"
_FOLDER_PREFIX = "streamscore-kafka-"
_FETCH_SECONDS = 600
_START_SECONDS = 60
_STOP_SECONDS = 15
_TRIES = 3
_COORDINATORS = {0: "group coordinator", 1: "transaction coordinator"}  # as the protocol numbers them
_CLUSTER_ID = "c3RyZWFtc2NvcmUtdGVzdA"
_JVM = ("-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
_SMALL = ("-Xms64m", "-Xmx512m")
# Compile quickly, not well. In its first minutes a broker on two cores otherwise takes half as much time again, for a
# compiler whose work pays later.
QUICKLY_COMPILED = "-XX:TieredStopAtLevel=1"
# The heap that Kafka's own start script gives. In a small one the collector stops the broker for 10 ms every 2 s.
USUAL_HEAP = ("-Xms1g", "-Xmx1g")


class KafkaUnavailable(RuntimeError):
    """No Apache Kafka can be had here; the message says why."""


def fetch_jars() -> Path:
    """Fetch the broker and its run-time dependencies once for each pom; later calls find them."""
    jars = ROOT / "build" / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None and not (tool == "mvn" and jars.exists()):
            raise KafkaUnavailable(f"{tool} is not installed, and KAFKA_BOOTSTRAP_SERVERS is not set")
    if jars.exists():
        return jars
    partial = jars.with_name(f"{jars.name}.{os.getpid()}")
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    try:
        _run(command, "Maven could not fetch Apache Kafka", _FETCH_SECONDS)
        with contextlib.suppress(OSError):  # another test run may have been faster
            partial.rename(jars)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return jars


class KafkaCluster:
    """`nodes` brokers, each also a controller.

    Parameters
    ----------
    nodes
        How many. Topics of ours are replicated to as many, three at most.
    settings
        Broker settings to add or to replace; ``{broker}`` and ``{controller}`` in them become the node's ports.
    format_arguments
        For Kafka's storage tool, such as the passwords that the cluster begins with.
    jvm
        How each broker's Java runs; as is, with little memory and for a short time.

    Examples
    --------
    ``with KafkaCluster(1) as kafka: connect(kafka.bootstrap_servers)``
    """

    def __init__(
        self,
        nodes: int = 1,
        settings: Mapping[str, Any] | None = None,
        *,
        format_arguments: Sequence[str] = (),
        jvm: Sequence[str] = (*_SMALL, QUICKLY_COMPILED),
    ) -> None:
        self._jars = fetch_jars()
        self._jvm = tuple(jvm)
        self._format_arguments = format_arguments
        self._settings = dict(settings or {})
        self._nodes = range(nodes)
        self._ports: list[tuple[int, int]] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        _remove_what_killed_runs_left()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)

    def pid(self, number: int) -> int:
        """Return the process id of a node that was started."""
        return self._processes[number].pid

    def __enter__(self) -> KafkaCluster:
        try:
            for attempt in range(1, _TRIES + 1):
                try:
                    self._start_all()
                    return self
                except _PortTaken:
                    if attempt == _TRIES:
                        raise
                    self._end_all()
        except BaseException:
            self.__exit__()
            raise
        raise AssertionError("not reached")

    def __exit__(self, *_: object) -> None:
        self._end_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_node(self, number: int) -> None:
        """Start a node, the first time or again with its data; `wait_until_up` waits for it."""
        with self._log(number).open("ab") as log:
            self._processes[number] = subprocess.Popen(
                self._java("kafka.Kafka", [str(self._config(number))], *self._jvm),
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

    def wait_until_up(self, number: int) -> None:
        """Wait until a node knows all nodes that run, and says so."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._processes[number].poll() is None:
            if kafka_identity(self._ports[number][0]) == (_CLUSTER_ID, len(self._processes)):
                return
            time.sleep(0.05)
        said = self._log(number).read_text(errors="replace")[-3000:]
        fault = _PortTaken if "Address already in use" in said else KafkaUnavailable
        raise fault(f"Apache Kafka did not come up:\n{said}")

    def _start_all(self) -> None:
        self._ports = [(free_port(), free_port()) for _ in self._nodes]
        for number in self._nodes:
            self._configure(number)
            self.start_node(number)
        for number in self._nodes:
            self.wait_until_up(number)
        for kind in _COORDINATORS:
            self._wait_for_coordinator(kind)

    def _wait_for_coordinator(self, kind: int) -> None:
        """Wait until groups can be joined, or transactions begun: a new cluster makes their topics when first asked."""
        request = struct.pack(">hhihh1sb", 10, 1, 0, -1, 1, b"a", kind)  # FindCoordinator 1, of no client, for "a"
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(OSError, struct.error):
                (error,) = struct.unpack_from(">h", ask_kafka(self._ports[0][0], request), 8)
                if error == 0:
                    return
            time.sleep(0.05)
        raise KafkaUnavailable(f"Apache Kafka has no {_COORDINATORS[kind]} after {_START_SECONDS} s")

    def _end_all(self) -> None:
        for number in list(self._processes):
            self.stop_node(number, kill=True)  # in order takes seconds, for data that nobody reads again
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()

    def _configure(self, number: int) -> None:
        lines = (f"{key}={value}\n" for key, value in self._broker_settings(number).items())
        self._config(number).write_text("".join(lines))
        arguments = ["format", "-t", _CLUSTER_ID, "-c", str(self._config(number)), *self._format_arguments]
        command = self._java("kafka.tools.StorageTool", arguments, *_SMALL, QUICKLY_COMPILED)
        _run(command, "Apache Kafka could not prepare its storage", _START_SECONDS)

    def _broker_settings(self, number: int) -> dict[str, Any]:
        broker, controller = self._ports[number]
        voters = ",".join(f"{node + 1}@127.0.0.1:{port}" for node, (_, port) in enumerate(self._ports))
        replicas = min(3, len(self._ports))
        return {
            "process.roles": "broker,controller",
            "node.id": number + 1,
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._folder / f"data-{number}",
            "default.replication.factor": replicas,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min(2, replicas),
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "broker.session.timeout.ms": 6000,  # after so long a killed node is missed, and may come back
            "auto.create.topics.enable": "false",
            "log.cleaner.dedupe.buffer.size": 8 * 2**20,  # 128 MiB by default, a quarter of the heap
            **{key: str(value).format(broker=broker, controller=controller) for key, value in self._settings.items()},
        }

    def _java(self, main: str, arguments: Sequence[str], *options: str) -> list[str]:
        return ["java", *_JVM, *options, "-cp", f"{self._jars}/*", main, *arguments]

    def _config(self, number: int) -> Path:
        return self._folder / f"node-{number}.properties"

    def _log(self, number: int) -> Path:
        return self._folder / f"log-{number}"


@contextlib.contextmanager
def kafka_or_skip(
    nodes: int = 1, settings: Mapping[str, Any] | None = None, *, format_arguments: Sequence[str] = ()
) -> Iterator[KafkaCluster]:
    """Run a cluster for the length of a block; where none can be had, skip the test, or fail if that is demanded."""
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(KafkaCluster(nodes, settings, format_arguments=format_arguments))
        except KafkaUnavailable as error:
            if os.environ.get("STREAMSCORE_REQUIRE_KAFKA") == "1":
                raise
            pytest.skip(f"no Apache Kafka: {error}")
        yield cluster


class _PortTaken(KafkaUnavailable):
    """Somebody took the port between our look and the broker's."""


def _run(command: Sequence[str], fault: str, timeout_s: float) -> None:
    try:
        subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise KafkaUnavailable(f"{fault} within {timeout_s:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise KafkaUnavailable(f"{fault}:\n{error.stdout[-2000:].decode(errors='replace')}") from None


def _remove_what_killed_runs_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).split("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
