"""How well calibrated probabilities are while the world moves; see docs/models.md.

``python -m benchmarks.calibration [--examples N] [--half-life N]`` runs simulated streams of triggers through a
learner and its replica: each trigger gets a raw and a calibrated score, its label is learned 5,000 triggers later, a
version is published every 1,000 labels. Base rates of 0.1 %, 0.5 % and 2 %; four drifts: the base rate jumps at half
of the stream (to twice what it was) or swings (by 60 %, two times), the effects of one of three features are drawn anew
at half of the stream, or those of all turn into others. ``--data FILE`` (repeatable) runs logged impressions, csv or
csv.gz with a column `click`, in the order of the file: where there is a column `pctr`, that is the raw score; else a
model learns from all other columns but `split`, `orig_row` and the price.

Printed of each way to score, over all triggers but the first fifth:

- ECE, the expected calibration error: triggers sorted by score are cut into 15 bins of equal number, the mean
  score of each is compared with its share of positives, and the absolute differences are averaged.
- ECE of windows: the same within each tenth of the stream, against true probabilities, as few positives fall into one;
  the mean and the worst. Logs have no truth; there it is against labels.
- AUC, and log loss in per mille of that of the running rate's (less is better).

`truth` scores with the true probability: what it has is the noise of the labels. `running rate` always says the share
of positives that have come, fading by half in as many triggers as hold `half_life` positives on average.

``--by-said`` calibrates by what was said at the triggers, as is done where labels are immediate.

``--slices`` shows what slices are for: the model does not see the site, and each site has a rate of its own. Printed is
how far the mean score of a site is from its true rate, on average over sites. ``--cost`` prints what calibration costs.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from online_models.calibration import Calibrating, Calibrator, Kind, calibrated
from online_models.distribution import make_distributor
from online_models.estimators import SparseFTRL
from online_models.learning import LearningCore
from online_models.replica import LinearReplica, ReplicaSet
from schemas.codec import encode_json
from schemas.examples import Example

RATES = (0.001, 0.005, 0.02)
ADS, SITES, HOURS = 20, 15, 8
DELAY, PUBLISHED_EVERY = 5_000, 1_000
BINS, WINDOWS, WARM_UP = 15, 10, 0.2
KINDS: tuple[Kind, ...] = ("platt", "isotonic")
STEPS = 100
SEED = 7

Array = Any


class Trigger(NamedTuple):
    """A trigger, and what will become of it; truth: NaN in logs. `said`: by a model that is not ours."""

    x: dict[str, float]
    label: bool
    truth: float
    slice: str | None = None
    said: float | None = None


# ------------------------------------------------------------------- streams


class World:
    """Effects of ad, site and hour on the logit, as they move with time (0 to 1)."""

    def __init__(self, drift: str, rate: float, seed: int) -> None:
        self.drift, self.rate = drift, rate
        rng = np.random.default_rng(seed)
        self.first = [rng.normal(0, 0.7, n) for n in (ADS, SITES, HOURS)]
        self.second = [rng.normal(0, 0.7, n) for n in (ADS, SITES, HOURS)]

    def base_rate(self, at: float) -> float:
        if self.drift == "rate jumps":
            return self.rate * (2 / 3 if at < 0.5 else 4 / 3)
        if self.drift == "rate swings":
            return self.rate * (1 + 0.6 * math.sin(4 * math.pi * at))
        return self.rate

    def effects(self, at: float) -> list[Array]:
        if self.drift == "effects jump" and at >= 0.5:
            return [self.second[0], *self.first[1:]]
        if self.drift == "effects turn":
            turned = math.pi / 2 * at
            return [math.cos(turned) * a + math.sin(turned) * b for a, b in zip(self.first, self.second, strict=True)]
        return self.first

    def probabilities(self, at: float) -> Array:
        """Return the probability of each (ad, site, hour); their mean is the base rate."""
        ad, site, hour = self.effects(at)
        logits = ad[:, None, None] + site[None, :, None] + hour[None, None, :]
        rate, low, high = self.base_rate(at), -30.0, 10.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if (1 / (1 + np.exp(-logits - middle))).mean() < rate else (low, middle)
        return 1 / (1 + np.exp(-logits - low))


DRIFTS = ("rate jumps", "rate swings", "effects jump", "effects turn")


def simulated(drift: str, rate: float, count: int, *, blind: bool = False, seed: int = SEED) -> Iterator[Trigger]:
    """Yield triggers; `blind`: the model does not see the site."""
    world, rng = World(drift, rate, seed), random.Random(seed)
    for step in range(STEPS):
        truth = world.probabilities((step + 0.5) / STEPS).tolist()
        for _ in range(count // STEPS):
            ad, site, hour = int(rng.random() * ADS), int(rng.random() * SITES), int(rng.random() * HOURS)
            p = truth[ad][site][hour]
            x = {f"ad={ad}": 1.0, f"hour={hour}": 1.0}
            if not blind:
                x[f"site={site}"] = 1.0
            yield Trigger(x, rng.random() < p, p, f"s{site}")


LEFT_OUT = ("click", "split", "orig_row", "win_price", "pctr")


def logged(path: Path) -> Iterator[Trigger]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for row in csv.DictReader(file):
            x = {f"{name}={value}": 1.0 for name, value in row.items() if name not in LEFT_OUT}
            said = float(row["pctr"]) if "pctr" in row else None
            yield Trigger(x, row["click"] == "1", math.nan, None, said)


# ------------------------------------------------------------------- engine


class Engine:
    """A learner, and a replica that reads what it publishes; `said`: calibrated by what was said at the trigger."""

    def __init__(self, rate: float, declared: Calibrating, *, said: bool = False) -> None:
        model = SparseFTRL(intercept_init=math.log(rate / (1 - rate)))
        calibrator = Calibrator(declared, by_said=said)
        self.learner = LearningCore(
            "click",
            lineage="1",
            estimator=model,
            distributor=make_distributor("click", lineage="1", estimator=model, calibrator=calibrator),
            publish_examples=PUBLISHED_EVERY,
            judging=False,
            calibrator=calibrator,
        )
        self.replica = LinearReplica(lineage="1", name=model.name, prior=rate)
        self._replicas = ReplicaSet({"click": self.replica})

    def score(self, one: Trigger) -> tuple[float, float]:
        """Return (calibrated, raw)."""
        raw = self.replica.score_one(one.x, 0)[0] if one.said is None else one.said
        known = self.replica.calibration
        return (raw if known is None else calibrated(known, raw, one.slice)), raw

    def learn(self, number: int, one: Trigger, score: float, raw: float) -> None:
        example = Example(
            objective="click",
            score_id=f"events-0-{number}:click",
            ts=number,
            label=one.label,
            features=one.x,
            score=score,
            model_version=self.replica.version or (one.said is not None),
            topic="events",
            partition=0,
            offset=number,
            seq=0,
            released_ts=number,
            raw=raw,
            slice=one.slice,
        )
        for publication in self.learner.step([(number, example)]):
            for _, value in publication.records:
                self._replicas.apply(value)


def run(
    triggers: Iterable[Trigger], rate: float, ways: dict[str, Calibrating], half_life: int, *, said: bool = False
) -> dict[str, Array]:
    """Return the scores of each way, labels and truths among them."""
    engines = {name: Engine(rate, declared, said=said) for name, declared in ways.items()}
    found: dict[str, list[float]] = {name: [] for name in ("label", "truth", "running rate", "raw", *ways)}
    slices = []
    waiting: deque[tuple[Trigger, dict[str, tuple[float, float]]]] = deque()
    came, seen, keep = rate * 1000, 1000.0, 0.5 ** (rate / half_life)
    for number, one in enumerate(triggers):
        scores = {name: engine.score(one) for name, engine in engines.items()}
        for name, (score, _) in scores.items():
            found[name].append(score)
        found["raw"].append(next(iter(scores.values()))[1])
        found["label"].append(one.label)
        found["truth"].append(one.truth)
        found["running rate"].append(came / seen)
        slices.append(one.slice)
        waiting.append((one, scores))
        if len(waiting) > DELAY:
            past, given = waiting.popleft()
            for name, engine in engines.items():
                engine.learn(number - DELAY, past, *given[name])
            came, seen = came * keep + past.label, seen * keep + 1.0
    result = {name: np.array(values, dtype=float) for name, values in found.items()}
    result["slices"] = np.array(slices)
    return result


# ------------------------------------------------------------------- figures


def ece(scores: Array, against: Array, bins: int = BINS) -> float:
    """Return the expected calibration error, of bins of equal number.

    >>> round(ece(np.array([0.1, 0.1, 0.5, 0.5]), np.array([0, 0, 1, 0]), bins=2), 3)
    0.05
    """
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, bins)
    return float(sum(len(part) * abs(scores[part].mean() - against[part].mean()) for part in parts) / len(order))


def auc(scores: Array, labels: Array) -> float:
    """Return the area under the ROC curve; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    positives = labels.sum()
    negatives = len(labels) - positives
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(scores: Array, labels: Array) -> float:
    p = np.clip(scores, 1e-12, 1 - 1e-12)
    return float(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())


def figures(found: dict[str, Array]) -> dict[str, dict[str, float]]:
    """Return the figures of each way to score, of what came after the warm-up."""
    count = len(found["label"])
    after = slice(int(WARM_UP * count), None)
    labels, truth = found["label"][after], found["truth"][after]
    simulated_ = not np.isnan(truth).any()
    base = log_loss(found["running rate"][after], labels)
    rows = {}
    for name, scores in found.items():
        if name in ("label", "slices") or (name == "truth" and not simulated_):
            continue
        scores = scores[after]
        windows = np.array_split(np.arange(len(labels)), WINDOWS)
        by_window = [ece(scores[one], truth[one] if simulated_ else labels[one]) for one in windows]
        rows[name] = {
            "ece": ece(scores, labels),
            "mean": float(np.mean(by_window)),
            "worst": max(by_window),
            "auc": auc(scores, labels),
            "loss": 1000 * log_loss(scores, labels) / base,
        }
    return rows


HEAD = "| | | ECE | of windows, mean | worst | AUC | log loss |\n|---|---|---|---|---|---|---|"


def print_rows(title: str, rows: dict[str, dict[str, float]]) -> None:
    for name, row in rows.items():
        print(
            f"| {title} | {name} | {row['ece']:.5f} | {row['mean']:.5f} | {row['worst']:.5f} "
            f"| {row['auc']:.4f} | {row['loss']:.1f} |",
            flush=True,
        )


def by_slice(found: dict[str, Array]) -> dict[str, float]:
    """Return, of each way to score, the mean over slices of how far their mean score is from the truth."""
    after = slice(int(WARM_UP * len(found["label"])), None)
    names, truth = found["slices"][after], found["truth"][after]

    def error(scores: Array) -> float:
        each = [abs(scores[names == one].mean() - truth[names == one].mean()) for one in np.unique(names)]
        return float(np.mean(each))

    return {name: error(scores[after]) for name, scores in found.items() if name not in ("label", "slices")}


def print_cost() -> None:
    rng = random.Random(SEED)
    drawn = [
        (rng.expovariate(50.0) % 1.0, rng.random() < 0.02, f"s{int(128 * rng.random() ** 2)}") for _ in range(50_000)
    ]
    print("| | learn a label | fit the curves | on the wire | calibrate a score |\n|---|---|---|---|---|")
    for kind in KINDS:
        for by in (None, "site"):
            calibrator = Calibrator(Calibrating(kind=kind, by=by, half_life=1_000))
            learning = seconds(lambda it=calibrator: [it.learn_one(*one) for one in drawn]) / len(drawn)
            calibration = calibrator.calibration()
            fitting = seconds(calibrator.calibration)
            applying = seconds(lambda it=calibration: [calibrated(it, p, value) for p, _, value in drawn]) / len(drawn)
            name = f"{kind}, {len(calibration.slices)} slices" if by else kind
            print(
                f"| {name} | {1e6 * learning:.1f} µs | {1e3 * fitting:.1f} ms "
                f"| {len(encode_json(calibration)) / 1000:.1f} kB | {1e6 * applying:.1f} µs |"
            )
    model = SparseFTRL()
    x = {f"feature{number}=value": 1.0 for number in range(20)}
    model.learn_one(x, True)
    asking = seconds(lambda: [model.predict_proba_one(x) for _ in drawn]) / len(drawn)
    print(f"\nAsking a linear model with 20 features what it says: {1e6 * asking:.1f} µs.")


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=250_000)
    parser.add_argument("--half-life", type=int, default=Calibrating(kind="platt").half_life)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--by-said", action="store_true")
    parser.add_argument("--slices", action="store_true")
    parser.add_argument("--data", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    if options.cost:
        print_cost()
        return
    half_life = options.half_life
    ways = {kind: Calibrating(kind=kind, half_life=half_life) for kind in KINDS}
    if options.data:
        print(HEAD)
        for path in options.data:
            triggers = list(logged(path))
            rate = sum(one.label for one in triggers[:10_000]) / 10_000 or 0.001
            found = run(triggers, rate, ways, half_life, said=triggers[0].said is not None)
            print_rows(path.name.removesuffix(".csv.gz"), figures(found))
        return
    if options.slices:
        ways = {
            "platt": Calibrating(kind="platt", half_life=half_life),
            "platt by site": Calibrating(kind="platt", by="site", half_life=half_life),
            "isotonic by site": Calibrating(kind="isotonic", by="site", half_life=half_life),
        }
        print("| base rate | drift | " + " | ".join(("running rate", "raw", *ways)) + " |")
        print("|---" * (4 + len(ways)) + "|")
        for rate in RATES:
            for drift in ("rate jumps",):
                triggers = simulated(drift, rate, options.examples, blind=True, seed=options.seed)
                found = by_slice(run(triggers, rate, ways, half_life, said=options.by_said))
                cells = " | ".join(f"{found[name]:.5f}" for name in ("running rate", "raw", *ways))
                print(f"| {100 * rate:g} % | {drift} | {cells} |", flush=True)
        return
    print(HEAD)
    for rate in RATES:
        for drift in DRIFTS:
            triggers = simulated(drift, rate, options.examples, seed=options.seed)
            found = run(triggers, rate, ways, half_life, said=options.by_said)
            print_rows(f"{100 * rate:g} %, {drift}", figures(found))


if __name__ == "__main__":
    main()
