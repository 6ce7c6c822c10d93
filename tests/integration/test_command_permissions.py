"""Each command with the permissions that its row in docs/production.md names, and no others."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from kafka_cluster import kafka_or_skip
from site_under_test import Site

from streams.admin import create_topics
from streams.configs import shipped_config
from streams.embedded import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = (ROOT / "docs" / "production.md").read_text().partition("| command |")[2].partition("\n\n")[0]
PASSWORD = "kafka-secret"

# As the protocol numbers them.
TOPIC, LITERAL, ALLOW = 2, 3, 3
READ, WRITE, CREATE = 3, 4, 5

T0, DAY_MS = 1_700_000_000_000, 86_400_000
EVENTS = [
    {"type": "bid_request", "ts": T0},
    {"type": "click", "ts": T0, "item_id": "a"},
    {"type": "purchase", "ts": T0 + 1000},
    {"type": "click", "ts": T0 + 8 * DAY_MS, "item_id": "a"},  # closes the window of the first, so that it is learned
]


class Cluster(NamedTuple):
    """Where everybody may do everything, and where users may do what they were given."""

    plain_servers: str
    guarded_servers: str


def rows() -> dict[str, list[str]]:
    """Return the cells of each command's row, without those of `topics create`, which is about no single topic."""
    found = {}
    for line in TABLE.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for command in re.findall(r"`([^`]+)`", cells[0]):
            found[command] = cells[1:]
    del found["topics create"]
    return found


USERS = {command: command.replace(" ", "-") for command in rows()}


@pytest.fixture(scope="module")
def kafka() -> Iterator[Cluster]:
    port = free_port()
    settings = {
        "listeners": (
            f"PLAINTEXT://127.0.0.1:{{broker}},CONTROLLER://127.0.0.1:{{controller}},SASL_PLAINTEXT://127.0.0.1:{port}"
        ),
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{broker}},SASL_PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": ("PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    scrams = [
        word for user in USERS.values() for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={PASSWORD}]")
    ]
    with kafka_or_skip(settings=settings, format_arguments=scrams) as cluster:
        yield Cluster(cluster.bootstrap_servers, f"127.0.0.1:{port}")


@pytest.fixture
def site(kafka: Cluster, tmp_path: Path, valkey_url: str, unique: Callable[[str], str]) -> Iterator[Site]:
    objectives = yaml.safe_load(shipped_config("ads").read_text())["objectives"]
    objectives["ad_sale"]["challengers"] = {"lean": {"without": ["hour"]}}
    site = Site(tmp_path, "ads", kafka.plain_servers, valkey_url, unique("allowed"), objectives=objectives)
    asyncio.run(create_topics(site.settings))
    try:
        site.start_worker()
        yield site
    finally:
        site.end()


async def give_permissions(site: Site, servers: str) -> None:
    """Give each command's user what its row says; of topics that it is told, those that this test tells it."""
    names = {"events.dead": "dead", "NAME": "own", "NAME-bids": "own-bids"}
    told = {"tail": ["scores"], "replay": ["events"]}
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        for command, (read, write, besides) in rows().items():
            wanted = [(READ, one) for one in [*re.findall(r"`([\w.]+)`", read), *told.get(command, [])]]
            wanted += [(WRITE, one) for one in re.findall(r"`([\w.-]+)`", write)]
            if besides.startswith("Create on these two"):
                wanted += [(CREATE, "NAME"), (CREATE, "NAME-bids")]
            for operation, name in wanted:
                topic = f"{site.settings.app}.{names.get(name, name)}"
                request = CreateAclsRequest(TOPIC, topic, LITERAL, f"User:{USERS[command]}", "*", operation, ALLOW)
                response = await admin._send_request(request)
                assert [code for code, _ in response.creation_responses] == [0]
    finally:
        await admin.close()


async def send_a_wrong_record(site: Site) -> None:
    async with AIOKafkaProducer(**site.settings.kafka.client_kwargs()) as producer:
        await producer.send_and_wait(site.settings.topics.events.name, b"{", key=b"v-1")


def test_each_command_works_with_the_permissions_of_its_row(kafka: Cluster, site: Site) -> None:
    asyncio.run(give_permissions(site, kafka.plain_servers))
    events = site.folder / "events.jsonl"
    lines = [{"event_id": f"e-{number}", "user_id": "v-1", **event} for number, event in enumerate(EVENTS)]
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    campaigns = site.folder / "campaigns.yaml"
    campaigns.write_text("boats: {budget_per_day: 1, value_per_click: 1}")
    app = site.settings.app

    def run(command: str, *words: str) -> str:
        site.environment |= {
            "STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": kafka.guarded_servers,
            "STREAMSCORE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "STREAMSCORE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "STREAMSCORE_KAFKA_SASL_USERNAME": USERS[command],
            "STREAMSCORE_KAFKA_SASL_PASSWORD": PASSWORD,
        }
        done: subprocess.CompletedProcess[str] = site.command(*command.split(), *words, within_s=90)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        ran.add(command)
        return done.stdout

    ran: set[str] = set()
    asyncio.run(send_a_wrong_record(site))
    report = json.loads(run("feed", str(events), "--wait", "--json"))
    assert (report["scored"], report["unaccounted"], report["bids"]) == (3, 0, 1)
    [score] = map(json.loads, run("tail", "scores", "--from-start", "--json", "--limit", "1").splitlines())
    run("audit", score["score_id"])
    run("diff", "live", "live")
    run("replay", f"kafka://{app}.events", "--as-live", "--to", f"kafka://{app}.own")
    assert "1 not_json" in run("dead list")
    run("dead redrive", "--yes")
    run("challengers")
    run("promote", "ad_sale", "lean")
    run("rollback", "ad_sale")
    run("campaigns", "put", str(campaigns))
    assert "boats" in run("campaigns", "list")
    assert ran == set(rows())
