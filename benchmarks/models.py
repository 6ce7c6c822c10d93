"""What a prediction, a learned example and a publication cost, model by model.

    python benchmarks/models.py               all of it, about a minute
    python benchmarks/models.py ftrl river    only some, by name

The stream is synthetic and seeded: 15 features an example, 12 of them one-hots with skewed choices
(some of thousands of values, like items), 3 of them numbers. Times are of the processor, the best of
five passes over the same examples, each with a fresh model; quality is progressive, on the first pass.
"""

from __future__ import annotations

import math
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from river import linear_model, optim

from online_models import plain_sums
from online_models.distribution import make_distributor
from online_models.estimators import SparseFTRL, build, sparse_ftrl
from online_models.evaluation import ProgressiveMetrics
from online_models.guard import refusal
from online_models.replica import LinearReplica, OpaqueReplica, ReplicaSet

KEY = b"only for this benchmark"
Example = tuple[dict[str, float], bool]

NOT_COMPILED = "ftrl, not compiled"
MODELS: dict[str, tuple[int, Callable[[], Any]]] = {
    "ftrl": (5_000, lambda: build({"name": "ftrl"})),
    NOT_COMPILED: (5_000, lambda: build({"name": "ftrl"})),
    "river FTRL": (5_000, lambda: linear_model.LogisticRegression(optim.FTRLProximal())),
    "logistic_regression": (5_000, lambda: build({"name": "logistic_regression"}, key=KEY)),
    "factorization_machine": (500, lambda: build({"name": "factorization_machine"}, key=KEY)),
    "neural_net": (5000, lambda: build({"name": "neural_net"})),
    "naive_bayes": (5000, lambda: build({"name": "naive_bayes"}, key=KEY)),
    "adaptive_tree": (2_000, lambda: build({"name": "adaptive_tree"}, key=KEY)),
    "adaptive_forest": (300, lambda: build({"name": "adaptive_forest"}, key=KEY)),
}


@contextmanager
def not_compiled() -> Iterator[None]:
    """Have FTRL run in Python."""
    names = ("Coordinate", "move", "sum_up")
    compiled = {name: getattr(sparse_ftrl, name) for name in names}
    vars(sparse_ftrl).update({name: getattr(plain_sums, name) for name in names})
    try:
        yield
    finally:
        vars(sparse_ftrl).update(compiled)


def clickstream(n: int, *, seed: int = 1) -> list[Example]:
    """Return n examples, a fifth of them positive; names are interned, as the feature layer does."""
    rng = random.Random(seed)
    values = [[f"f{i}={j}" for j in range(4000 if i % 4 == 0 else 25)] for i in range(12)]
    effects = {name: rng.gauss(0, 0.7) for names in values for name in names}
    stream = []
    for _ in range(n):
        x = {names[int(len(names) * rng.random() ** 3)]: 1.0 for names in values}
        logit = sum(effects[name] for name in x) / 1.5 - 1.6
        x |= {"depth": rng.random(), "recency": rng.random(), "rate": rng.random()}
        stream.append((x, rng.random() < 1 / (1 + math.exp(-logit))))
    return stream


def numbers_only(stream: list[Example]) -> list[Example]:
    """Return the examples without their one-hots."""
    return [({name: value for name, value in x.items() if "=" not in name}, y) for x, y in stream]


def best_of(passes: int, run: Callable[[], float]) -> float:
    """Return the shortest of some runs, in seconds."""
    return min(run() for _ in range(passes))


def seconds(action: Callable[[], object]) -> float:
    """Return the processor time that an action takes."""
    started = time.process_time()
    action()
    return time.process_time() - started


def measure_learning(name: str, n: int, make: Callable[[], Any]) -> None:
    """Print microseconds per prediction and per learned example, and progressive quality."""
    stream = clickstream(n)
    metrics, model = ProgressiveMetrics(), make()
    for x, y in stream:
        metrics.update(y, model.predict_proba_one(x)[True])
        model.learn_one(x, y)

    def learning() -> float:
        fresh = make()
        return seconds(lambda: [fresh.learn_one(x, y) for x, y in stream])

    predict = best_of(5, lambda: seconds(lambda: [model.predict_proba_one(x) for x, _ in stream])) / n * 1e6
    learn = best_of(5, learning) / n * 1e6
    print(
        f"{name:24}{n:>9}{predict:>12.1f}{learn:>12.1f}{predict + learn:>12.1f}"
        f"{metrics.auc or math.nan:>10.3f}{metrics.log_loss:>10.4f}{metrics.base_log_loss:>10.4f}",
        flush=True,
    )


def measure_guard() -> None:
    """Print what the guard costs."""
    stream = clickstream(20_000)
    cost = best_of(5, lambda: seconds(lambda: [refusal(x) for x, _ in stream])) / len(stream)
    print(f"guard: {cost * 1e6:.2f} us a vector")


def measure_weights(title: str, count: int = 200_000) -> None:
    """Print what a linear model of many weights takes in memory, in a checkpoint and on the wire."""
    names = [f"item={i}" for i in range(count)]
    tracemalloc.start()
    model = SparseFTRL()
    for name in names:
        model.learn_one({name: 1.0}, True)
    for name in names:
        model.learn_one({name: 1.0}, False)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    model.take_changed()
    blob = model.to_bytes()
    saving, loading = seconds(model.to_bytes), seconds(lambda: SparseFTRL().restore(blob))
    print(
        f"{title} with {count} weights: {size / count:.0f} bytes of memory a weight beside its name, checkpoint "
        f"{len(blob) / 1e6:.1f} MB, saved in {saving * 1e3:.0f} ms, restored in {loading * 1e3:.0f} ms"
    )


def measure_publishing(
    title: str, declared: Mapping[str, Any], examples: Callable[[int], list[Example]], publications: int
) -> None:
    """Print the cost of publications on both sides, after the first one."""
    every = 1000
    model = build(declared, key=KEY)
    stream = iter(examples(every * (publications + 1)))
    distributor = make_distributor("click", lineage="0", estimator=model)
    replica: Any = (
        LinearReplica(lineage="0", name=model.name, prior=0.5)
        if isinstance(model, SparseFTRL)
        else OpaqueReplica(lineage="0", spare=build(declared, key=KEY), prior=0.5)
    )
    replicas = ReplicaSet({"click": replica})
    publishing = following = bytes_sent = 0.0
    for publication in range(publications + 1):
        for _ in range(every):
            x, y = next(stream)
            model.learn_one(x, y)
        started = time.process_time()
        records = distributor.publish((publication + 1) * every)
        published = time.process_time()
        for _, value in records:
            replicas.apply(value)
        if publication:
            publishing += published - started
            following += time.process_time() - published
            bytes_sent += sum(len(value) for _, value in records)
    scored = examples(500)
    with_reasons = seconds(lambda: [replica.score_one(x, 3) for x, _ in scored]) / len(scored)
    without = seconds(lambda: [replica.score_one(x, 0) for x, _ in scored]) / len(scored)
    print(
        f"{title:24}{every:>8}{bytes_sent / publications / 1e3:>10.1f}{publishing / publications * 1e3:>12.2f}"
        f"{following / publications * 1e3:>12.2f}{without * 1e6:>12.1f}{with_reasons * 1e6:>14.1f}",
        flush=True,
    )


def main(wanted: list[str]) -> None:
    """Run the measurements whose name begins with one of `wanted`; all of them if that is empty."""

    def is_wanted(name: str) -> bool:
        return not wanted or any(name.startswith(one) for one in wanted)

    print(f"{'microseconds an example':24}{'examples':>9}{'predict':>12}{'learn':>12}{'both':>12}", end="")
    print(f"{'AUC':>10}{'log loss':>10}{'base':>10}")
    for name, (n, make) in MODELS.items():
        if is_wanted(name):
            with not_compiled() if name == NOT_COMPILED else nullcontext():
                measure_learning(name, n, make)
    measure_guard()
    measure_weights("ftrl")
    with not_compiled():
        measure_weights(NOT_COMPILED)
    print(f"\n{'a publication':24}{'examples':>8}{'kB':>10}{'publish ms':>12}{'follow ms':>12}", end="")
    print(f"{'score us':>12}{'+3 reasons us':>14}")
    measure: list[tuple[str, str, Callable[[int], list[Example]], int]] = [
        ("ftrl", "ftrl", clickstream, 20),
        ("logistic_regression", "logistic_regression", clickstream, 5),
        ("adaptive_tree", "adaptive_tree", clickstream, 3),
        ("adaptive_tree, 3 numbers", "adaptive_tree", lambda n: numbers_only(clickstream(n)), 3),
    ]
    for title, name, examples, publications in measure:
        if is_wanted(title):
            measure_publishing(title, {"name": name}, examples, publications)


if __name__ == "__main__":
    main(sys.argv[1:])
