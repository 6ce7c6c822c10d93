"""`streamscore worker` and `streamscore check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from online_models.bidding.pacing import DEFAULT_KIND
from online_models.estimators import sums_up
from online_models.estimators.naive_bayes import NaiveBayes
from streams.cli.options import ConfigOption, config_path, settings_of
from streams.settings import Settings

# With `labels: immediate` a model says p / (1 + p) of what has the rate p, which leaves little room below 0.5 here.
_COMMON = 0.3


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
    """Yield what is allowed, and seldom meant.

    Numbers without a bound under a model that sums them up; fake negatives of outcomes that are common, or under a
    model that goes to extremes.
    """
    for variant in (one for objective in settings.objectives for one in objective.variants.values()):
        extreme = variant.model["name"] == NaiveBayes.name
        if variant.labels == "immediate" and (extreme or variant.prior > _COMMON):
            why = "a model that goes to extremes" if extreme else f"a `prior` of {variant.prior:g}"
            yield (
                f"{variant.name} ({variant.model['name']}) has `labels: immediate`, which is for rare outcomes, "
                f"and {why}. "
                "Where its model says 0.5 or more, the score is 0.999999: "
                + ("take another model" if extreme else "give the rate as `prior` if it is lower")
                + ", or `labels: at_window_end`"
            )
        jumping = settings.features.jumping(variant.feature_names(settings.features.names))
        if jumping and sums_up(variant.model):
            yield (
                f"{variant.name} ({variant.model['name']}) sees {', '.join(jumping)} as they come. One value that is "
                "far too large spoils a weight for good: declare `clip`, `bins` or `transform: log1p`"
            )


def check_argument(
    config: Annotated[
        str, typer.Argument(help="The configuration: a file or the name of a shipped one.")
    ] = "scoring.yaml",
) -> None:
    """Say what is wrong with a configuration, by line. Needs no broker and no store."""
    check(config)
