"""What `streamscore check` minds of a configuration: what is allowed, and seldom meant."""

from __future__ import annotations

from collections.abc import Iterator

from online_models.attribution import MAX_OPEN_PER_USER
from online_models.estimators import sums_up
from online_models.estimators.naive_bayes import NaiveBayes
from schemas.events import Impression
from streams.sections import UnusableFile
from streams.settings import Settings

# With `labels: immediate` a model says p / (1 + p) of what has the rate p, which leaves little room below 0.5 here.
_COMMON = 0.3


def risks(settings: Settings) -> Iterator[str]:
    """Yield what is allowed, and seldom meant."""
    yield from _without_bound(settings)
    yield from _crowded(settings)
    yield from _forgotten(settings)
    yield from _extreme(settings)
    yield from _without_certificates(settings)


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


def _extreme(settings: Settings) -> Iterator[str]:
    """Yield fake negatives of outcomes that are common, or under a model that goes to extremes."""
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


def _without_certificates(settings: Settings) -> Iterator[str]:
    """Yield files that a connection will need and that are not on this machine, where perhaps none is made."""
    for look in (settings.kafka.ssl_context, settings.redis.look_at_certificates):
        try:
            look()
        except UnusableFile as error:
            yield f"{error}. Nothing that connects can run here"
