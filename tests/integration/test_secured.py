"""A worker on a Kafka and a Redis that ask for TLS, a password and permissions: the ones docs/production.md names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from builders import a_click, an_impression
from kafka_cluster import kafka_or_skip
from polling import eventually
from processes import start_streamscore, status_of

from schemas.codec import encode_json
from streams.configs import shipped_config
from streams.embedded import EmbeddedValkey, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCTION = (ROOT / "docs" / "production.md").read_text()
KAFKA_PASSWORD, REDIS_PASSWORD = "kafka-secret", "redis-secret"

# As the protocol numbers them.
RESOURCES = {"topic": 2, "group": 3}
OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8}
ALLOW, LITERAL, PREFIXED = 3, 3, 4


class Secured(NamedTuple):
    """Where a worker connects, and where the one who sets it up does."""

    variables: dict[str, str]
    plain_servers: str


@pytest.fixture(scope="module")
def kafka(certificate: Path) -> Iterator[Secured]:
    """SASL_SSL with permissions for the worker, and a plain listener for the one who gives them."""
    port = free_port()
    settings = {
        "listeners": f"PLAINTEXT://127.0.0.1:{{broker}},CONTROLLER://127.0.0.1:{{controller}},SASL_SSL://127.0.0.1:{port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{broker}},SASL_SSL://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificate / "both.pem",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    scram = f"SCRAM-SHA-512=[name=streamscore,password={KAFKA_PASSWORD}]"
    variables = {
        "STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        "STREAMSCORE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "STREAMSCORE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "STREAMSCORE_KAFKA_SASL_USERNAME": "streamscore",
        "STREAMSCORE_KAFKA_SASL_PASSWORD": KAFKA_PASSWORD,
        "STREAMSCORE_KAFKA_SSL_CAFILE": str(certificate / "cert.pem"),
    }
    with kafka_or_skip(settings=settings, format_arguments=["--add-scram", scram]) as cluster:
        asyncio.run(give_permissions(cluster.bootstrap_servers, documented_permissions()))
        yield Secured(variables, cluster.bootstrap_servers)


def documented_permissions() -> list[tuple[int, str, str]]:
    """Return resource, name and operation of every row of the table of permissions in docs/production.md."""
    rows = re.findall(r"^\| (topic|group) `([\w.]+)` \| ([\w, ]+) \|", PRODUCTION, re.MULTILINE)
    return [(RESOURCES[kind], name, operation) for kind, name, all_of in rows for operation in all_of.split(", ")]


async def give_permissions(servers: str, permissions: list[tuple[int, str, str]]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        for resource, name, operation in permissions:
            request = CreateAclsRequest(resource, name, LITERAL, "User:streamscore", "*", OPERATIONS[operation], ALLOW)
            response = await admin._send_request(request)
            assert [code for code, _ in response.creation_responses] == [0]
    finally:
        await admin.close()


def documented_redis_user() -> list[str]:
    """Return the rules of the line `user streamscore …` in docs/production.md, with a password of ours."""
    found = re.search(r"^user (streamscore .*)$", PRODUCTION, re.MULTILINE)
    assert found is not None
    return ["--user", *found[1].replace(">…", f">{REDIS_PASSWORD}").split()]


@pytest.fixture(scope="module", params=["valkey", "redis-server with TLS"])
def store(request: pytest.FixtureRequest, certificate: Path) -> Iterator[dict[str, str]]:
    with_tls = request.param != "valkey"
    binary = shutil.which("redis-server")
    if with_tls and binary is None:
        pytest.skip("redis-server is not installed")
    tls_port = free_port()

    class WithPermissions(EmbeddedValkey):
        def binary(self) -> Path:
            return Path(str(binary)) if with_tls else super().binary()

        def arguments(self) -> list[str]:
            tls = ["--tls-port", str(tls_port), "--tls-auth-clients", "no"]
            tls += ["--tls-cert-file", str(certificate / "cert.pem"), "--tls-key-file", str(certificate / "key.pem")]
            return [*super().arguments(), *documented_redis_user(), *(tls if with_tls else [])]

    secrets = {"STREAMSCORE_REDIS_USERNAME": "streamscore", "STREAMSCORE_REDIS_PASSWORD": REDIS_PASSWORD}
    with WithPermissions() as server:
        if with_tls:
            secrets["STREAMSCORE_REDIS_SSL_CAFILE"] = str(certificate / "cert.pem")
            yield {**secrets, "STREAMSCORE_REDIS_URL": f"rediss://127.0.0.1:{tls_port}/0"}
        else:
            yield {**secrets, "STREAMSCORE_REDIS_URL": server.url}


def test_a_worker_with_the_documented_permissions_scores_and_learns(
    kafka: Secured, store: dict[str, str], tmp_path: Path
) -> None:
    config = {"STREAMSCORE_CONFIG": str(shipped_config("shop"))}
    made = start_streamscore(
        ["topics", "create"], {**config, "STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": kafka.plain_servers}, tmp_path
    )
    said, _ = made.communicate(timeout=60)
    assert made.returncode == 0, said.decode()

    with running_worker({**config, **kafka.variables, **store}, tmp_path):
        scores = asyncio.run(scores_of_a_visit(kafka.plain_servers, user=f"user of {store['STREAMSCORE_REDIS_URL']}"))

    assert [score["objective"] for score in scores].count("click") == 20


@contextlib.contextmanager
def running_worker(variables: dict[str, str], folder: Path) -> Iterator[None]:
    port = str(free_port())
    worker = start_streamscore(["worker"], {**variables, "STREAMSCORE_WORKER_HTTP_PORT": port}, folder)
    try:
        eventually(lambda: worker.poll() is not None or status_of(port, "/readyz") == 200, within_s=60)
        assert worker.poll() is None
        yield
    except Exception as error:
        worker.kill()
        error.add_note(worker.communicate()[0].decode())
        raise
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=30)
    assert (worker.returncode, refusals(said)) == (0, []), said.decode()
    assert KAFKA_PASSWORD.encode() not in said
    assert REDIS_PASSWORD.encode() not in said


def refusals(said: bytes) -> list[bytes]:
    return [line for line in said.splitlines() if re.search(rb"uthoriz|NOPERM|denied", line)]


async def scores_of_a_visit(servers: str, user: str) -> list[dict[str, Any]]:
    """Send 20 impressions and a click; return the visitor's scores."""
    events = [an_impression(f"item-{number}", number * 1000, user_id=user) for number in range(20)]
    events.append(a_click("item-1", 20_000, user_id=user))
    async with (
        AIOKafkaConsumer("scores", bootstrap_servers=servers, auto_offset_reset="earliest") as consumer,
        AIOKafkaProducer(bootstrap_servers=servers) as producer,
    ):
        for event in events:
            await producer.send_and_wait("events", encode_json(event), key=user.encode())
        scores: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while sum(score["objective"] == "click" for score in scores) < 20:
                score = json.loads((await consumer.getone()).value)
                if score["user_id"] == user:
                    scores.append(score)
    return scores


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"STREAMSCORE_KAFKA_SASL_PASSWORD": "wrong"}, rb"(?i)authentication"),
        ({"STREAMSCORE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, rb"cannot be reached"),
    ],
)
def test_who_is_not_let_in_is_told_so(kafka: Secured, wrong: dict[str, str], told: bytes, tmp_path: Path) -> None:
    variables = {"STREAMSCORE_CONFIG": str(shipped_config("shop")), **kafka.variables, **wrong}

    made = start_streamscore(["topics", "create"], variables, tmp_path)
    said, _ = made.communicate(timeout=60)

    assert made.returncode == 1
    assert re.search(told, said)
    assert b"Traceback" not in said


@pytest.mark.parametrize(
    ("declared", "granted", "told"),
    [
        (
            {"app": "somebody-else"},
            [],
            b"Kafka does not let us into the consumer group somebody-else; give this user Read on the group",
        ),
        (
            {"topics": {"models": "unread-models"}},
            [(RESOURCES["topic"], "unread-models", "Write")],
            b"check user, password and permissions: Read on the topic unread-models",
        ),
    ],
)
def test_a_worker_that_lacks_a_permission_ends_and_says_which(
    kafka: Secured, declared: dict[str, Any], granted: Any, told: bytes, valkey_url: str, tmp_path: Path
) -> None:
    config = tmp_path / "scoring.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(shipped_config("shop").read_text()) | declared))
    variables = {"STREAMSCORE_CONFIG": str(config), "STREAMSCORE_WORKER_HTTP_PORT": str(free_port())}
    plain = {"STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": kafka.plain_servers}
    made = start_streamscore(["topics", "create"], {**variables, **plain}, tmp_path)
    said, _ = made.communicate(timeout=60)
    assert made.returncode == 0, said.decode()
    asyncio.run(give_permissions(kafka.plain_servers, granted))

    worker = start_streamscore(
        ["worker"], {**variables, **kafka.variables, "STREAMSCORE_REDIS_URL": valkey_url}, tmp_path
    )
    said, _ = worker.communicate(timeout=60)

    assert worker.returncode == 1, said.decode()
    assert told in said
    # uvloop's own, of what still comes in on a TLS connection that has just been closed, is no fault of ours.
    ours = [line for line in said.splitlines() if b'"logger":"asyncio"' not in line]
    assert b"Traceback" not in b"\n".join(ours)
