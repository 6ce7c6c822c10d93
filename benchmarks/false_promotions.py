"""How often is a challenger promoted that is no better, if one looks after every label? And how soon one that is?

    python benchmarks/false_promotions.py [--streams 1000] [--triggers 5000]

Champion and challenger each miss the truth by noise of the same size, in log odds. Prints, for each kind of
stream, the share of streams with a promotion: by the contest, and by the usual test (a one-sided z-test of the mean
difference at 5 %), looked at as often.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from online_models.contest import Contest, Promoting, compared
from schemas.examples import Example

_APART_MS = 10_000
# Before this many labels nobody would believe a z-test.
_Z_FROM = 100
_Z = 1.6449

Floats = NDArray[np.float64]


class Kind(NamedTuple):
    """A kind of stream: base rate, triggers in a row of one visitor, the challenger's noise, how much longer it is."""

    name: str
    rate: float
    in_a_row: int
    challenger_noise: float
    longer: int = 1


NOISE = 0.7
KINDS = [
    Kind("even, base rate 30 %", 0.3, 1, NOISE),
    Kind("visitors of 10 triggers, 30 %", 0.3, 10, NOISE),
    Kind("visitors of 10 triggers, 2 %", 0.02, 10, NOISE),
    Kind("visitors of 10 triggers, 0.2 %", 0.002, 10, NOISE),
    Kind("a better challenger, 30 %", 0.3, 1, 0.3),
    Kind("a better challenger, 2 %, 4 times as long", 0.02, 10, 0.3, longer=4),
]


def stream(kind: Kind, triggers: int, random: np.random.Generator) -> Iterator[tuple[str, bool, float, float]]:
    """Yield (visitor, label, what the champion said, what the challenger said)."""
    visitors = triggers // kind.in_a_row
    truth = np.repeat(random.normal(math.log(kind.rate / (1 - kind.rate)), 1.0, visitors), kind.in_a_row)
    champion = truth + np.repeat(random.normal(0, NOISE, visitors), kind.in_a_row)
    challenger = truth + np.repeat(random.normal(0, kind.challenger_noise, visitors), kind.in_a_row)
    labels = random.random(len(truth)) < _p(truth)
    names = [f"u{number // kind.in_a_row}" for number in range(len(truth))]
    yield from zip(names, labels.tolist(), _p(champion).tolist(), _p(challenger).tolist(), strict=True)


def _p(logit: Floats) -> Floats:
    odds: Floats = np.exp(logit)
    return odds / (1 + odds)


def promoted_at(rows: Iterator[tuple[str, bool, float, float]]) -> tuple[int | None, int | None]:
    """Return after how many labels the contest and the z-test would promote; None: never."""
    contest = Contest("click", {"": "a", "b": "b"}, Promoting(automatic=True, after=0), closes_after_ms=0)
    by_contest = by_z = None
    total = squares = 0.0
    for seen, (visitor, label, champion, challenger) in enumerate(rows, start=1):
        if by_contest is None:
            contest.update(_example(seen, visitor, label, champion, challenger))
            if contest.decide(seen) is not None:
                by_contest = seen
        d, _ = compared(label, champion, challenger)
        total += d
        squares += d * d
        if by_z is None and seen >= _Z_FROM:
            mean = total / seen
            variance = squares / seen - mean * mean
            if variance > 0 and mean / math.sqrt(variance / seen) > _Z:
                by_z = seen
        if by_contest and by_z:
            break
    return by_contest, by_z


def _example(seen: int, visitor: str, label: bool, champion: float, challenger: float) -> Example:
    ts = _APART_MS * seen
    return Example(
        objective="click",
        score_id="",
        ts=ts,
        label=label,
        features={},
        score=champion,
        model_version=1,
        topic="events",
        partition=0,
        offset=seen,
        seq=0,
        released_ts=ts,
        user_id=visitor,
        shadows={"b": (challenger, 1)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--triggers", type=int, default=5000)
    options = parser.parse_args()
    print(f"{options.streams} streams of {options.triggers} labels, a look after every label\n")
    print("| stream | promoted by the contest | median label | by a z-test at 5 % |")
    print("|---|---|---|---|")
    for kind in KINDS:
        random = np.random.default_rng(11)
        found = [promoted_at(stream(kind, options.triggers * kind.longer, random)) for _ in range(options.streams)]
        contests = [one for one, _ in found if one is not None]
        z_tests = [one for _, one in found if one is not None]
        median = f"{np.median(contests):,.0f}" if contests else "-"
        print(
            f"| {kind.name} | {len(contests) / options.streams:.1%} | {median} | {len(z_tests) / options.streams:.1%} |"
        )


if __name__ == "__main__":
    main()
