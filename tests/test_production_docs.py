"""docs/production.md names things that exist."""

from __future__ import annotations

import re
from pathlib import Path

from online_models.bidding.declaration import KEYS
from schemas.campaigns import Campaign
from streams.cli.main import app
from streams.configs import shipped_config
from streams.settings import load_settings
from streams.telemetry import Telemetry

DOCS = Path(__file__).resolve().parent.parent / "docs"
PRODUCTION = (DOCS / "production.md").read_text()


def test_every_metric_to_watch_is_exposed() -> None:
    named = set(re.findall(r"streamscore_[a-z_]+", PRODUCTION))
    exposed = Telemetry().exposition().decode()
    families = {line.split()[2] for line in exposed.splitlines() if line.startswith("# TYPE")}

    assert named
    assert named - families == set()


def test_every_variable_is_a_setting_that_can_be_given() -> None:
    lines = re.findall(r"^(STREAMSCORE_\w+)=(\S+)", PRODUCTION, re.MULTILINE)
    of_files = {name for name, _ in lines if name.endswith("FILE")}
    given = {name: value for name, value in lines if name not in of_files}

    settings = load_settings(shipped_config("shop"), given)

    assert settings.kafka.security_protocol == "SASL_SSL"
    assert settings.redis.url.startswith("rediss://")


def test_the_permissions_are_of_the_topics_and_the_group_of_the_configuration() -> None:
    settings = load_settings(shipped_config("shop"), {})

    assert set(re.findall(r"^\| topic `([\w.]+)`", PRODUCTION, re.MULTILINE)) == {
        topic.name for topic in settings.used_topics
    }
    for topic in settings.topics.of_bidding():
        assert f"`{topic.name}`" in PRODUCTION.partition("With `bidding:` also")[2].partition(". ")[0]
    assert re.findall(r"^\| group `(\w+)`", PRODUCTION, re.MULTILINE) == [settings.app]
    assert f"~{settings.app}:*" in PRODUCTION


def test_the_permissions_of_every_command_are_told() -> None:
    table = PRODUCTION.partition("| command |")[2].partition("\n\n")[0]
    told = {words.split()[0] for row in table.splitlines() for words in re.findall(r"`([^`]+)`", row.split("|")[1])}
    commands = {one.name for one in [*app.registered_commands, *app.registered_groups]}

    # Those that meet no Kafka but their own, and the worker, which has a table of its own.
    assert commands - told == {"demo", "check", "simulate-auctions", "worker"}
    assert told - commands == set()


def test_every_key_of_a_campaign_is_told_of() -> None:
    told = (DOCS / "configuration.md").read_text().partition("## Bidding")[2].partition("## Settings")[0]

    assert [one for one in [*Campaign.__struct_fields__, *KEYS] if one != "campaign" and f"`{one}`" not in told] == []
