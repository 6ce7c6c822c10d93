"""Campaigns in files: a YAML mapping of name to campaign, as the configuration may hold it too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from online_models.errors import ConfigError
from schemas.campaigns import Campaign
from streams.yaml_lines import Document


def campaigns_of(declared: object, *, folder: Path) -> list[Campaign]:
    """Read what stands under `bidding: campaigns:`.

    Parameters
    ----------
    declared
        A mapping of name to campaign, or the name of a file with one; None: there are none.
    folder
        Where the file is looked for.

    Raises
    ------
    ConfigError
        With the path of the wrong value below `campaigns`.
    """
    if declared is None:
        return []
    if isinstance(declared, str):
        return read_campaigns(folder / declared)
    if not isinstance(declared, Mapping):
        raise ConfigError((), "Expected a mapping of name to campaign, or the name of a file with one")
    return [_campaign(str(name), body) for name, body in declared.items()]


def read_campaigns(path: Path) -> list[Campaign]:
    """Read a file of campaigns; raises ConfigError with file and line."""
    try:
        document = Document(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError((), f"{path}: cannot be read: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError((), f"{path}: {error}") from None
    found = []
    for name, body in document.value.items():
        try:
            found.append(_campaign(str(name), body))
        except ConfigError as error:
            raise ConfigError((), f"{path}:{document.line(error.path)}: {error}") from None
    return found


def _campaign(name: str, body: object) -> Campaign:
    if not isinstance(body, Mapping):
        raise ConfigError((name,), "Expected a mapping, such as `{budget_per_day: 100, value_per_click: 0.5}`")
    try:
        return msgspec.convert({"campaign": name, **body}, Campaign)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise ConfigError((name, *filter(None, place.strip("`").replace("[...]", "").split("."))), message) from None
