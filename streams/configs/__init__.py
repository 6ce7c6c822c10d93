"""Configurations that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped_configs() -> list[str]:
    """Return their names."""
    return sorted(one.stem for one in _folder().glob("*.yaml"))


def shipped_config(name: str) -> Path:
    """Return the file of a shipped configuration, whether or not it exists."""
    return _folder() / f"{name}.yaml"


def _folder() -> Path:
    return Path(str(files("streams"))) / "configs"
