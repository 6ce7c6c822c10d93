"""docker-compose.yml as values, and run without Docker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docker-compose.yml"


def read_compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the file with its variables filled in, as an engine does before it looks at anything else."""
    given = variables or {}

    def fill(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":-")
        return given.get(name) or default

    loaded: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{([^}]+)\}", fill, FILE.read_text()))
    return loaded


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """Return what the container's processes find in their environment."""
    # An engine fills variables into values, not into text: what is empty then is an empty string.
    return {key: "" if value is None else str(value) for key, value in service.get("environment", {}).items()}


def broker_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the image of Apache Kafka writes into server.properties: KAFKA_NODE_ID is node.id."""
    names = (key for key in environment if key.startswith("KAFKA_") and key != "KAFKA_HEAP_OPTS")
    return {key.removeprefix("KAFKA_").lower().replace("_", "."): environment[key] for key in names}
