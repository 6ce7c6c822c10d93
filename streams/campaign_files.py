"""Campaigns in files: a YAML mapping of name to campaign, as the configuration may hold it too.

Each campaign is read and checked by itself, so that one look shows all that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import fields

from online_models.errors import ConfigError
from schemas.campaigns import Campaign, Cap
from streams.yaml_lines import Document

# Raises ConfigError with the path of the wrong value within the campaign.
Check = Callable[[Campaign], object]


class Campaigns(NamedTuple):
    """What was read.

    Attributes
    ----------
    campaigns
        Those that are right.
    errors
        All that is wrong, each with the path of the value; of a file that is named, the message begins with its line.
    """

    campaigns: list[Campaign]
    errors: list[ConfigError]


def campaigns_of(declared: object, *, folder: Path, check: Check) -> Campaigns:
    """Read what stands under `bidding: campaigns:`.

    Parameters
    ----------
    declared
        A mapping of name to campaign, or the name of a file with one; None: there are none.
    folder
        Where the file is looked for.
    """
    if declared is None:
        return Campaigns([], [])
    if isinstance(declared, str):
        return read_campaigns(folder / declared, check)
    if not isinstance(declared, Mapping):
        error = ConfigError((), "Expected a mapping of name to campaign, or the name of a file with one")
        return Campaigns([], [error])
    return _checked(declared, check)


def read_campaigns(path: Path, check: Check) -> Campaigns:
    """Read a file of campaigns; each message of an error begins with file and line, and its path is empty."""
    try:
        document = Document(path.read_text(encoding="utf-8"), such_as="`shoes: {budget_per_day: 100, …}`")
    except OSError as error:
        return Campaigns([], [ConfigError((), f"{path}: cannot be read: {error.strerror}")])
    except UnicodeDecodeError:
        return Campaigns([], [ConfigError((), f"{path}: cannot be read: it is not UTF-8")])
    except ConfigError as error:
        return Campaigns([], [ConfigError((), f"{path}: {error}")])
    found = _checked(document.value, check)
    return found._replace(
        errors=[ConfigError((), f"{path}:{document.line(error.path)}: {error}") for error in found.errors]
    )


def _checked(declared: Mapping[Any, Any], check: Check) -> Campaigns:
    found = Campaigns([], [])
    for key, body in declared.items():
        try:
            campaign = _campaign(str(key), body)
            check(campaign)
        except ConfigError as error:
            found.errors.append(error.under(str(key)))
        else:
            found.campaigns.append(campaign)
    return found


def _campaign(name: str, body: object) -> Campaign:
    if not isinstance(body, Mapping):
        raise ConfigError((), "Expected a mapping, such as `{budget_per_day: 100, value_per_click: 0.5}`")
    if "campaign" in body:
        raise ConfigError(("campaign",), "Its name is the key above; leave this out")
    cap = body.get("cap")
    if isinstance(cap, Mapping) and isinstance(cap.get("window"), int | float):  # let the duration's own error say so
        body = {**body, "cap": {**cap, "window": str(cap["window"])}}
    try:
        campaign = msgspec.convert({"campaign": name, **body}, Campaign)
    except msgspec.ValidationError as error:
        raise _told(str(error)) from None
    for key, value in (campaign.properties or {}).items():
        if isinstance(value, float) and not isfinite(value):
            raise ConfigError(("properties", key), "Expected a finite number")
    return campaign


def _told(error: str) -> ConfigError:
    """Turn what msgspec says, such as ``Expected `float` > 0.0 - at `$.budget_per_day` ``, into a path and advice."""
    message, _, place = error.partition(" - at `")
    path = [one for one in re.findall(r"[^.\[\]`$]+", place.removeprefix("key` in ")) if one != "..."]
    if place.startswith("key` in "):
        return ConfigError(path, "Expected text as keys; put them in quotes")
    if path == ["campaign"]:  # the key above is the name
        return ConfigError((), "Expected a name of 1 to 128 characters")
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        kind = Cap if path == ["cap"] else Campaign
        keys = ", ".join(one.name for one in fields(kind) if one.name not in ("campaign", "schema_version"))
        return ConfigError((*path, unknown[1]), f"Unknown key; expected one of: {keys}")
    missing = re.search(r"missing required field `([^`]+)`", message)
    if missing:
        return ConfigError((*path, missing[1]), "Is missing")
    return ConfigError(path, _ADVICE.get(path[0] if len(path) == 1 else "") or _plain(message))


_DAY = "Expected a day such as 2026-11-26"
_ADVICE = {"auction": "Expected one of: first, second", "starts": _DAY, "ends": _DAY}

_WORDS = {"str": "text", "object": "a mapping", "float": "a number", "int": "a whole number", "bool": "true or false"}


def _plain(message: str) -> str:
    """Say it in the words of YAML.

    >>> _plain("Expected `str | null`, got `bool`"), _plain("Expected `object`, got `int`")
    ('Expected text, got `bool`; put it in quotes', 'Expected a mapping, got `int`')
    """
    message = message.replace(" | null`", "`")
    if message.startswith("Expected `str`, got `") and message.split("`")[-2] in ("bool", "int", "float"):
        return message.replace("`str`", "text") + "; put it in quotes"
    for kind, said in _WORDS.items():
        message = message.replace(f"Expected `{kind}`", f"Expected {said}")
    return message
