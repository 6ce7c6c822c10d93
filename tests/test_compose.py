from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from compose import FILE, ROOT, environment_of, read_compose
from kafka_cluster import POM
from typer.testing import CliRunner

from streams.cli.main import app
from streams.settings import load_settings

SERVICES = read_compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def variables_of(service: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in environment_of(service).items() if key.startswith("STREAMSCORE_")}


def test_the_file_keeps_the_compose_specification() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_there_are_a_broker_a_store_topics_and_a_worker() -> None:
    assert set(SERVICES) == {"kafka", "valkey", "topics", "worker"}
    assert set(OURS) == {"topics", "worker"}


@pytest.mark.parametrize("name", OURS)
def test_the_command_of_each_service_is_one_of_ours(name: str) -> None:
    result = CliRunner().invoke(app, [*OURS[name]["command"], "--help"])

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", OURS)
def test_the_variables_of_each_service_are_settings_that_a_worker_takes(name: str) -> None:
    mounted = read_compose()["configs"]["scoring"]["file"]

    settings = load_settings(ROOT / mounted, variables_of(OURS[name]))

    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.redis.url == "redis://valkey:6379/0"
    assert environment_of(OURS[name])["STREAMSCORE_CONFIG"] == OURS[name]["configs"][0]["target"]


def test_hosts_and_ports_that_the_worker_is_given_are_those_of_the_services() -> None:
    kafka, worker = environment_of(SERVICES["kafka"]), environment_of(SERVICES["worker"])

    assert f"INSIDE://{worker['STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS']}" in kafka["KAFKA_ADVERTISED_LISTENERS"]
    assert worker["STREAMSCORE_WORKER_HTTP_PORT"] in SERVICES["worker"]["ports"][0].split(":")
    assert f":{worker['STREAMSCORE_WORKER_HTTP_PORT']}/healthz" in SERVICES["worker"]["healthcheck"]["test"][-1]
    assert worker["STREAMSCORE_WORKER_HTTP_HOST"] == "0.0.0.0"


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_what_a_service_waits_for_can_come_true() -> None:
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] != "unless-stopped"


def test_workers_are_given_longer_to_end_than_they_take() -> None:
    from streams.worker_process import _STOP_S

    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > _STOP_S


def test_the_broker_is_of_the_version_that_is_tested() -> None:
    version = ElementTree.parse(POM).findtext(".//{*}dependency[1]/{*}version")

    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


def test_the_configuration_can_be_exchanged_by_a_variable(tmp_path: Path) -> None:
    mine = str(tmp_path / "scoring.yaml")

    assert read_compose({"SCORING_YAML": mine})["configs"]["scoring"]["file"] == mine


def test_the_image_is_built_from_files_that_are_there_and_let_in() -> None:
    build = SERVICES["worker"]["build"]
    dockerfile = ROOT / build["dockerfile"]
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile.read_text(), re.MULTILINE)
        for word in line.split()[:-1]
    ]
    let_in = dockerfile.with_name("Dockerfile.dockerignore").read_text().split()

    assert copied
    assert [name for name in copied if not (ROOT / build["context"] / name).exists()] == []
    assert [name for name in copied if f"!{name}" not in let_in] == []


def has_compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
def test_docker_compose_reads_it() -> None:
    subprocess.run(["docker", "compose", "-f", str(FILE), "config", "--quiet"], check=True, timeout=60)
