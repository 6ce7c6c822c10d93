"""`streamscore worker` and `streamscore check`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from online_models.bidding.pacing import DEFAULT_KIND
from streams.cli.minding import risks
from streams.cli.options import ConfigOption, config_path, settings_of


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
    for line in risks(settings):
        print(f"  mind:       {line}")


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
