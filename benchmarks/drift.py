"""How many labels pass until the drift alarm rings, and how often does it ring for nothing?

    python -m benchmarks.drift [--labels 300000] [--steady 1000000] [--seeds 5]

Triggers differ in their log odds by a standard deviation of 1.2, and the model knows them; then it goes wrong. Prints,
for each base rate, the false alarms of steady streams, and the labels from the fault to the first alarm, seed by seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from online_models.drift import DriftDetector

Floats = NDArray[np.float64]

RATES = (0.3, 0.05, 0.01, 0.001)
FAULTS: dict[str, Callable[[Floats], Floats]] = {
    "says three times as much": lambda p: 3.0 * p,
    "says a third": lambda p: p / 3.0,
    "tells nobody apart": lambda p: np.full_like(p, p.mean()),
}


def losses(rate: float, count: int, seed: int, fault: Callable[[Floats], Floats] | None = None) -> list[float]:
    """Return the log losses of a model that knows the truth, or of what a fault makes of it."""
    rng = np.random.default_rng(seed)
    truth = 1.0 / (1.0 + np.exp(-(np.log(rate / (1.0 - rate)) - 0.5 + 1.2 * rng.normal(size=count))))
    came = rng.random(count) < truth
    said = truth if fault is None else np.clip(fault(truth), 1e-6, 1.0 - 1e-6)
    found: list[float] = (-np.log(np.where(came, said, 1.0 - said))).tolist()
    return found


def labels_until_found(rate: float, count: int, seed: int, fault: Callable[[Floats], Floats]) -> int | None:
    """Return the labels from the beginning of a fault to the alarm; None: there was none in `count`."""
    detector = DriftDetector()
    detector.update_many(losses(rate, count, 2 * seed))
    changes = detector.update_many(losses(rate, count, 2 * seed + 1, fault))
    return next((one.at - count for one in changes if one.worse), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=300_000, help="before a fault, and after it")
    parser.add_argument("--steady", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    for rate in RATES:
        streams = [DriftDetector().update_many(losses(rate, asked.steady, seed)) for seed in range(asked.seeds)]
        print(f"{rate:.1%}: false alarms in {asked.seeds} x {asked.steady:,} labels: {sum(map(len, streams))}")
        for name, fault in FAULTS.items():
            found = [labels_until_found(rate, asked.labels, seed, fault) for seed in range(asked.seeds)]
            told = ", ".join("none" if one is None else f"{one:,}" for one in found)
            print(f"    {name}: {told}", flush=True)


if __name__ == "__main__":
    main()
