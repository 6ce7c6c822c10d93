"""How often the intervals of off-policy estimates hold a known truth, over twelve simulated worlds.

    python benchmarks/policies_coverage.py             600 runs of each, some 10 s
    python benchmarks/policies_coverage.py 40          40 worlds drawn at random instead, some 20 s

How much one more event weighs (see online_models/policies/intervals.py) was chosen by the twelve; those
drawn at random had no part in it.

Each world has 20 contexts, 10 actions, rewards of a given rate, a logging and a target policy that are
softmaxes of independent normal numbers times a sharpness, and a model that is wrong by a random factor.
Beside our interval stands what value ± 1.96 standard errors would have held.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from online_models.policies import OffPolicy

SHAPE = (20, 10)
RUNS = 600
JUDGED = ("ips", "snips", "dr")


class Setting(NamedTuple):
    """A world: number of decisions, rate of rewards, how unlike they, the policies and the model are."""

    n: int
    rate: float
    spread: float
    sharpness: float
    model_error: float


SETTINGS = [
    Setting(5_000, 0.01, 0.5, 0.3, 0.3),
    Setting(5_000, 0.01, 1.0, 1.0, 0.5),
    Setting(5_000, 0.01, 1.0, 1.5, 0.5),
    Setting(2_000, 0.05, 1.0, 1.5, 0.5),
    Setting(2_000, 0.3, 1.0, 1.5, 0.5),
    Setting(2_000, 0.3, 1.0, 0.3, 0.0),
    Setting(2_000, 0.8, 1.0, 1.0, 0.1),
    Setting(1_000, 0.01, 0.5, 0.3, 0.3),
    Setting(500, 0.02, 0.5, 2.0, 0.3),
    Setting(20_000, 0.01, 0.5, 2.0, 0.3),
    Setting(2_000, 0.02, 0.5, 0.5, 2.0),
    Setting(2_000, 0.95, 0.5, 1.0, 0.02),
]


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each row's softmax."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(rng: np.random.Generator) -> Setting:
    """Draw a world: 500 to 8,000 decisions, rewards of 0.4 to 40 %, policies from alike to far apart."""
    n, rate = np.exp(rng.uniform(np.log([500, 0.004]), np.log([8_000, 0.4])))
    return Setting(int(n), float(rate), 0.7, float(rng.uniform(0.3, 1.8)), 0.5)


def coverage(setting: Setting, *, seed: int, runs: int) -> tuple[str, list[float]]:
    """Return a line of the table, and the shares of it."""
    rng = np.random.default_rng(seed)
    n, rate, spread, sharpness, model_error = setting
    reward = 1.0 / (1.0 + np.exp(-np.log(rate / (1.0 - rate)) - spread * rng.normal(size=SHAPE)))
    logging = softmax(sharpness * rng.normal(size=SHAPE))
    target = softmax(sharpness * rng.normal(size=SHAPE))
    model = np.clip(reward * np.exp(model_error * rng.normal(size=SHAPE)), 0.0, 1.0)
    truth = float((target * reward).sum(axis=1).mean())
    value, cumulated = (target * model).sum(axis=1), logging.cumsum(axis=1)
    held, plain = dict.fromkeys(JUDGED, 0), dict.fromkeys(JUDGED, 0)
    sizes, positives = [], []
    for _ in range(runs):
        x = rng.integers(SHAPE[0], size=n)
        action = (rng.random(n)[:, None] > cumulated[x]).sum(axis=1).clip(max=SHAPE[1] - 1)
        policy = OffPolicy()
        policy.update_many(
            propensity=logging[x, action],
            target=target[x, action],
            reward=(rng.random(n) < reward[x, action]).astype(float),
            q=model[x, action],
            value=value[x],
        )
        estimates = policy.estimates()
        for name in JUDGED:
            one = estimates[name]
            if one.value is None or one.low is None or one.high is None or one.standard_error is None:
                continue
            held[name] += one.low <= truth <= one.high
            plain[name] += abs(one.value - truth) <= 1.96 * one.standard_error
        sizes.append(estimates["ips"].effective_sample_size)
        positives.append(estimates["ips"].effective_positives)
    shares = "".join(f"   {100 * held[name] / runs:5.1f} ({100 * plain[name] / runs:5.1f})" for name in JUDGED)
    line = f"{100 * rate:7.1f} {n:9,} {np.mean(sizes):9,.0f} {np.mean(positives):9.1f}{shares}"
    return line, [held[name] / runs for name in JUDGED]


def main() -> None:
    rng = np.random.default_rng(2026)
    settings = [drawn(rng) for _ in range(int(sys.argv[1]))] if len(sys.argv) > 1 else SETTINGS
    print("rewards   decisions   worth   positives   held of 100: ours (± 1.96 s.e.) of ips, snips, dr")
    found = []
    for seed, setting in enumerate(settings, 1):
        line, shares = coverage(setting, seed=seed, runs=RUNS)
        print(line, flush=True)
        found.append(shares)
    least, mean = np.min(found, axis=0), np.mean(found, axis=0)
    for number, name in enumerate(JUDGED):
        print(f"{name}: {100 * least[number]:.1f} of 100 at least, {100 * mean[number]:.1f} on average")


if __name__ == "__main__":
    main()
