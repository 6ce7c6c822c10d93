"""`streamscore worker` and `streamscore check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from online_models.attribution import MAX_OPEN_PER_USER
from online_models.bidding.pacing import DEFAULT_KIND
from online_models.estimators import sums_up
from schemas.events import Impression
from streams.cli.options import ConfigOption, config_path, settings_of
from streams.settings import Settings


def worker(config: ConfigOption = None) -> None:
    """Run a worker: score the events of its partitions, learn, and keep the state.

    Start as many as there are partitions of `events`; they share the work. Ends with status 0 on
    Ctrl-C or SIGTERM, and with 1 when it is stuck or finds a fault of its own, to be started again.
    """
    from streams.worker_process import run

    sys.exit(run(settings_of(config)))


def check(config: ConfigOption = None) -> None:
    """Say what is wrong with a configuration, by line. Needs no broker."""
    settings = settings_of(config)
    for candidate in settings.candidates:
        settings_of(config, candidate=candidate)
    names = ", ".join(f"{one.name} ({one.model['name']})" for one in settings.objectives)
    print(f"{config_path(config)}: fine")
    print(f"  objectives: {names}")
    print(f"  features:   {len(settings.features.names)}, layout {settings.features.hash}")
    if settings.bidding is not None:
        names = (
            ", ".join(one.campaign for one in settings.bidding.campaigns) or "none here, see `streamscore campaigns`"
        )
        pacers = ", ".join(f"{name} ({one.get('kind', DEFAULT_KIND)})" for name, one in settings.bidding.pacers.items())
        print(f"  campaigns:  {names}")
        print(f"  pacers:     {pacers}")
    for line in _risks(settings):
        print(f"  mind:       {line}")


def _risks(settings: Settings) -> Iterator[str]:
    """Yield what is allowed, and seldom meant."""
    yield from _without_bound(settings)
    yield from _crowded(settings)
    yield from _forgotten(settings)


def _without_bound(settings: Settings) -> Iterator[str]:
    """Yield numbers without a bound under what sums them up."""
    for variant in (one for objective in settings.objectives for one in objective.variants.values()):
        jumping = settings.features.jumping(variant.feature_names(settings.features.names))
        if jumping and sums_up(variant.model):
            yield (
                f"{variant.name} ({variant.model['name']}) sees {', '.join(jumping)} as they come. One value that is "
                "far too large spoils a weight for good: declare `clip`, `bins` or `transform: log1p`"
            )
    segments = settings.features.segments
    jumping = settings.features.jumping(segments.of) if segments is not None else []
    if jumping:
        yield (
            f"segments see {', '.join(jumping)} as they come. Values that are far too large move a segment and the "
            "scale of all: declare `clip`, `bins` or `transform: log1p`"
        )


def _crowded(settings: Settings) -> Iterator[str]:
    """Yield rankings of which a visitor's second request within a window opens more triggers than are kept."""
    judging = [one.name for one in settings.objectives if Impression.type in one.trigger]
    for ranking in settings.rankings:
        opened = ranking.shown * len(judging)
        if opened > MAX_OPEN_PER_USER // 2:
            yield (
                f"one request of {ranking.name} lets {opened} triggers wait (`shown: {ranking.shown}`, "
                f"each for {', '.join(judging)}), and {MAX_OPEN_PER_USER} of a visitor do at once. "
                "Those of earlier requests go unlabelled, then the last places: lower `shown`"
            )


def _forgotten(settings: Settings) -> Iterator[str]:
    """Yield windows for which no visitor is remembered long enough."""
    ttl_ms = settings.redis.state_ttl_ms
    windows = [(one.name, one.closes_after_ms) for one in settings.objectives]
    if long := [name for name, ms in (*windows, *settings.features.windows_ms.items()) if ms > ttl_ms]:
        yield (
            f"{', '.join(long)}: longer than `redis.state_ttl` ({settings.redis.state_ttl}). Who stays away for that "
            "time is forgotten, with counts and open triggers: declare a longer `state_ttl` or a shorter `window`"
        )


def check_argument(
    config: Annotated[
        str | None,
        typer.Argument(
            help="The configuration: a file, or the name of a shipped one. Default: scoring.yaml here, else the "
            "shipped `shop`.",
            envvar="STREAMSCORE_CONFIG",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say what is wrong with a configuration, by line. Needs no broker and no store."""
    check(config)
