"""Rates: how often one thing follows another, pulled towards a prior while there is little to go by."""

from __future__ import annotations

from typing import Any

from online_models.features.counts import counter, read_decayed
from online_models.features.options import Options
from online_models.features.plan import Read, Reading, Slots


def rate(options: Options) -> Reading:
    """``{rate: TYPES, over: TYPES, half_life | window: …, prior: {rate: p, strength: s}}``.

    The value is (k + s * p) / (n + s) with k events of `rate` and n of `over`. It is above 1 where k
    exceeds n; `clip` it if that is noise.
    """
    hits, trials = options.event_types("rate"), options.event_types("over")
    prior, strength = _prior(options)
    if options.has("half_life") and options.has("window"):
        raise options.error("Expected a half_life or a window, not both", "window")
    read_hits, read_trials = _counter(options, hits), _counter(options, trials)
    prior_hits = strength * prior

    def read(slots: Slots, event: Any, now: int) -> float:
        k: float = read_hits(slots, event, now)
        n: float = read_trials(slots, event, now)
        return (k + prior_hits) / (n + strength)

    return Reading("number", read, always=True, of_item=False)


def _counter(options: Options, types: tuple[str, ...]) -> Read:
    if options.has("half_life"):
        return read_decayed(options, types, options.half_life())
    return counter(options, types)


def _prior(options: Options) -> tuple[float, float]:
    prior, strength = 0.1, 10.0
    if options.has("prior"):
        declared = options.mapping("prior")
        for key in declared:
            if key not in ("rate", "strength"):
                raise options.error("Unknown key; expected one of: rate, strength", "prior", str(key))
        prior = options.number_in(declared.get("rate", prior), "prior", "rate", low=0.0)
        strength = options.number_in(declared.get("strength", strength), "prior", "strength")
        if prior > 1.0:
            raise options.error(f"Expected a rate from 0 to 1, got {prior:g}", "prior", "rate")
        if not 1e-3 <= strength <= 1e9:
            raise options.error(f"Expected a strength from 0.001 to 1e9, got {strength:g}", "prior", "strength")
    options.canonical["prior"] = [prior, strength]
    return prior, strength


FAMILIES = {"rate": rate}
