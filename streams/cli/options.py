"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.errors import UserError
from streams.configs import shipped_config, shipped_configs
from streams.settings import Settings, load_settings

DEFAULT_FILE = "scoring.yaml"
DEFAULT_SHIPPED = "shop"

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        help="The configuration: a file, or the name of a shipped one "
        f"({', '.join(f'`{name}`' for name in shipped_configs())}). Default: scoring.yaml here, else the shipped "
        f"`{DEFAULT_SHIPPED}`.",
        envvar="STREAMSCORE_CONFIG",
        show_default=False,
    ),
]


def config_path(name: str | None) -> Path:
    """Find a configuration by path, or among those that come with the package."""
    if name is None:
        name = DEFAULT_FILE if Path(DEFAULT_FILE).exists() else DEFAULT_SHIPPED
    path = Path(name)
    if path.exists():
        return path
    shipped = shipped_config(name)
    if shipped.exists():
        return shipped
    known = ", ".join(shipped_configs())
    raise UserError(f"There is no configuration {name!r}: neither a file nor one of {known}")


def settings_of(name: str | None, *, candidate: str | None = None) -> Settings:
    """Load a configuration, or a candidate that it declares, together with the environment."""
    return load_settings(config_path(name), os.environ, candidate=candidate)
