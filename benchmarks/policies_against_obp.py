"""Our off-policy estimates beside those of the Open Bandit Pipeline (obp), on the Open Bandit Dataset.

    python benchmarks/policies_against_obp.py DATA_FOLDER OBP_PYTHON

DATA_FOLDER holds obd_random_men_10k.csv.gz and obd_bts_men_10k.csv.gz, 10,000 rows of the dataset each.
OBP_PYTHON is the Python of an environment that has obp. The last release, 0.5.7, is of 2022 and wants
libraries of that time, so take Python 3.9:

    python3.9 -m venv obp-env
    obp-env/bin/pip install obp==0.5.7 numpy==1.23.5 pandas==1.5.2 scikit-learn==1.1.3 scipy==1.9.3 "matplotlib<3.8"

Each log is asked what three policies would have earned: every item as likely as another, what the *other*
log's policy showed (its shares of the items at each position), and the best item of a crude model. The
values of the two libraries must agree to 1e-9; status 1 if they do not. Ends with what the other log
really earned.

The model is the smoothed rate of each item so far, position by position, so it knows nothing of a row's
own click, nor of later ones.
"""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from online_models.policies import ESTIMATORS, OffPolicy
from schemas.report import Estimate

ITEMS, POSITIONS = 34, 3
SMOOTHING = 20.0
NEAR = 1e-9
LOGS = ("random", "bts")

Floats = NDArray[np.float64]


@dataclass
class Log:
    """A log of decisions; one row each."""

    action: NDArray[np.int64]
    position: NDArray[np.int64]
    reward: Floats
    propensity: Floats
    model: Floats  # (rows, items): what was expected of each item at that moment

    def shares(self) -> Floats:
        """Return how often each item was shown at each position: (positions, items), rows adding up to 1."""
        counts = np.zeros((POSITIONS, ITEMS))
        np.add.at(counts, (self.position, self.action), 1.0)
        return counts / counts.sum(axis=1, keepdims=True)


def read(path: Path) -> Log:
    """Read a log in the order of time."""
    with gzip.open(path, "rt", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["timestamp"])
    action = np.array([int(row["item_id"]) for row in rows])
    position = np.array([int(row["position"]) - 1 for row in rows])
    reward = np.array([float(row["click"]) for row in rows])
    propensity = np.array([float(row["propensity_score"]) for row in rows])
    return Log(action, position, reward, propensity, rates_so_far(action, position, reward))


def rates_so_far(action: NDArray[np.int64], position: NDArray[np.int64], reward: Floats) -> Floats:
    """Return, row by row, each item's smoothed rate at the row's position among the rows before it."""
    shown, clicked = np.zeros((POSITIONS, ITEMS)), np.zeros((POSITIONS, ITEMS))
    found = np.empty((len(action), ITEMS))
    for i, (a, p) in enumerate(zip(action, position, strict=True)):
        base = (clicked.sum() + 1.0) / (shown.sum() + 2.0)
        found[i] = (clicked[p] + SMOOTHING * base) / (shown[p] + SMOOTHING)
        shown[p, a] += 1.0
        clicked[p, a] += reward[i]
    return found


def policies(log: Log, other: Log) -> Iterator[tuple[str, Floats]]:
    """Yield name and probabilities (rows, items) of the policies that are asked about."""
    n = len(log.action)
    yield "even", np.full((n, ITEMS), 1.0 / ITEMS)
    yield "the other log's", other.shares()[log.position]
    best = log.model == log.model.max(axis=1, keepdims=True)
    yield "best so far", best / best.sum(axis=1, keepdims=True)


def ours(log: Log, target: Floats) -> dict[str, Estimate]:
    """Return our estimates."""
    row = np.arange(len(log.action))
    policy = OffPolicy()
    policy.update_many(
        propensity=log.propensity,
        target=target[row, log.action],
        reward=log.reward,
        q=log.model[row, log.action],
        value=(target * log.model).sum(axis=1),
    )
    return policy.estimates()


def theirs(log: Log, target: Floats, python: str) -> dict[str, float]:
    """Return obp's estimates, computed in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, target=target, **asdict(log))
        script = Path(__file__).with_name("obp_estimates.py")
        done = subprocess.run([python, str(script), str(path)], capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"obp failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    folder, python = Path(sys.argv[1]), sys.argv[2]
    logs = {name: read(folder / f"obd_{name}_men_10k.csv.gz") for name in LOGS}
    worst = 0.0
    for name, other in zip(LOGS, reversed(LOGS), strict=True):
        log = logs[name]
        print(f"\n{name}: {int(log.reward.sum())} clicks of {len(log.reward)} = {log.reward.mean():.5f}")
        for policy, target in policies(log, logs[other]):
            found, reference = ours(log, target), theirs(log, target, python)
            for estimator in ESTIMATORS:
                one = found[estimator]
                difference = abs((one.value or 0.0) - reference[estimator])
                worst = max(worst, difference)
                print(
                    f"  {policy:16} {estimator:6} {one.value:9.5f}  obp {reference[estimator]:9.5f}  "
                    f"differ by {difference:.1e}   {one.low:8.5f} to {one.high:7.5f}   "
                    f"worth {one.effective_sample_size:5.0f}, {one.effective_positives:4.1f} clicks {one.warning or ''}"
                )
    even = logs["random"].reward
    print(f"\nWhat was really earned: random {even.mean():.5f}, bts {logs['bts'].reward.mean():.5f}")
    print(f"Largest difference between the libraries: {worst:.1e}")
    return int(worst > NEAR)


if __name__ == "__main__":
    sys.exit(main())
