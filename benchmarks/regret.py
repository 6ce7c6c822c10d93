"""What exploring costs and earns: rank requests of a simulated site, answered by each policy, and the clicks they got.

    python -m benchmarks.regret [--requests 20000] [--seeds 3]

Everybody likes two of eight categories, and some items are better than others; the engine knows neither. Ten of forty
items are up for each request, three are shown, lower places are looked at less. The engine learns from its own answers
alone. Beside it stands what knows the truth: the best fixed order, the same for everybody, and the best personal one.
Regret is the clicks that the best fixed order got more; below zero, the engine is ahead of every fixed order.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from online_models.records import DecodedBatch, decode_batch
from online_models.scoring import ScoringCore
from schemas.codec import decode_example, encode_json
from schemas.events import Candidate, Click, EventBase, RankRequest
from streams.learner import new_cores, new_replicas
from streams.settings import Settings, parse_settings

SHOWN, UP, ITEMS, CATEGORIES, VISITORS = 3, 10, 40, 8, 400
LOOKED_AT = (1.0, 0.6, 0.4)
START_MS, STEP_MS = 1_767_225_600_000, 500
LEARN_EVERY = 50
POLICIES: dict[str, dict[str, Any]] = {
    "uniform": {"kind": "uniform"},
    "greedy": {"kind": "greedy"},
    "epsilon_greedy 0.05": {"kind": "epsilon_greedy", "epsilon": 0.05},
    "epsilon_greedy 0.2": {"kind": "epsilon_greedy", "epsilon": 0.2},
    "softmax 0.3": {"kind": "softmax", "temperature": 0.3},
    "softmax 1": {"kind": "softmax", "temperature": 1.0},
}
CONFIG = """\
features:
  item:      {{field: item_id}}
  position:  {{field: position, numeric: false}}
  category:  {{field: category}}
  taste:     {{affinity: category, half_life: 30d, weights: {{click: 1}}, bins: [0.05, 0.15, 0.3, 0.5, 0.7]}}
  favourite: {{favourite: category, half_life: 30d, weights: {{click: 1}}}}
  favourite_x_category: {{cross: [favourite, category]}}
objectives:
  click:
    {{trigger: impression, outcome: click, match: item, window: 5s, grace: 0, prior: 0.1,
     model: {{name: ftrl, alpha: 0.1}}}}
rankings:
  home: {policy}
"""


class Asked(NamedTuple):
    """A request, and how likely the visitor is to click each candidate at the first place."""

    visitor: str
    candidates: list[Candidate]
    truth: dict[str, float]


def a_site(seed: int, count: int) -> list[Asked]:
    """Return the requests of a site, the same for every policy."""
    rng = random.Random(seed)
    items = [(f"item-{number:02}", f"category-{number % CATEGORIES}", rng.betavariate(2, 5)) for number in range(ITEMS)]
    likes = [set(rng.sample(range(CATEGORIES), 2)) for _ in range(VISITORS)]
    asked = []
    for _ in range(count):
        visitor = rng.randrange(VISITORS)
        up = rng.sample(items, UP)
        truth = {
            item: 0.5 * quality * (1.0 if int(category[-1]) in likes[visitor] else 0.25)
            for item, category, quality in up
        }
        candidates = [Candidate(item_id=item, category=category) for item, category, _ in up]
        asked.append(Asked(f"visitor-{visitor}", candidates, truth))
    return asked


class Engine:
    """Scoring and learning in one process, without broker and store."""

    def __init__(self, settings: Settings) -> None:
        self._replicas = new_replicas(settings)
        (self._learner,) = new_cores(settings.objectives, settings)
        self._core = ScoringCore(
            topic="events",
            partition=0,
            features=settings.features,
            objectives=settings.objectives,
            rankings=settings.rankings,
            replicas=self._replicas,
        )
        self._users: dict[str, Any] = {}
        self._offset = 0
        self._learned = 0

    def take(self, event: EventBase) -> list[str]:
        """Process an event; return the items to show, if it asked for them."""
        batch = _batch(self._offset, event)
        self._offset += 1
        result = self._core.step(batch, self._users)
        for example in result.examples:
            for publication in self._learner.step([(self._learned, decode_example(encode_json(example)))]):
                self._publish(publication.records)
            self._learned += 1
        return [one.item_id for score in result.scores for one in score.ranked]

    def learn(self) -> None:
        """Let the scorer have what was learned so far."""
        publication = self._learner.publish_pending()
        if publication is not None:
            self._publish(publication.records)

    def _publish(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        for _, value in records:
            self._replicas.apply(value)


class _Record(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def _batch(offset: int, event: EventBase) -> DecodedBatch:
    return decode_batch([_Record(offset, event.ts, None, encode_json(event))], topic="events", partition=0)  # type: ignore[arg-type]


def clicks_of(settings: Settings, asked: Sequence[Asked], seed: int) -> list[int]:
    """Return the clicks that the engine's answers got, request by request."""
    engine, chance, clicks = Engine(settings), random.Random(seed), []
    for number, one in enumerate(asked):
        ts = START_MS + number * STEP_MS
        shown = engine.take(
            RankRequest(event_id=f"ask-{number}", user_id=one.visitor, ts=ts, candidates=list(one.candidates))
        )
        taken = [
            item for item, looked in zip(shown, LOOKED_AT, strict=True) if chance.random() < looked * one.truth[item]
        ]
        categories = {candidate.item_id: candidate.category for candidate in one.candidates}
        for item in taken:
            engine.take(
                Click(event_id=f"{number}-{item}", user_id=one.visitor, ts=ts, item_id=item, category=categories[item])
            )
        clicks.append(len(taken))
        if number % LEARN_EVERY == 0:
            engine.learn()
    return clicks


def expected(asked: Sequence[Asked], *, personal: bool) -> float:
    """Return the expected clicks of a site that knows the truth: of everybody together, or of each visitor."""
    seen: dict[str, list[float]] = {}
    for one in asked:
        for item, likely in one.truth.items():
            seen.setdefault(item, []).append(likely)
    popular = {item: statistics.mean(truths) for item, truths in seen.items()}
    total = 0.0
    for one in asked:
        order = sorted(one.truth, key=lambda item: -(one.truth if personal else popular)[item])
        total += sum(looked * one.truth[item] for item, looked in zip(order, LOOKED_AT, strict=False))
    return total


def main() -> None:
    """Run every policy on the same sites, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    sites = [a_site(seed, given.requests) for seed in range(given.seeds)]
    fixed = [expected(asked, personal=False) for asked in sites]
    half = given.requests // 2
    print(f"{'clicks for each 100 requests':24}{'all':>8}{'last half':>11}{'regret to the best fixed order':>34}")
    for name, policy in POLICIES.items():
        settings = parse_settings(CONFIG.format(policy={"objective": "click", "shown": SHOWN, **policy}), {})
        runs = [clicks_of(settings, asked, seed) for seed, asked in enumerate(sites)]
        regrets = [best - sum(clicks) for best, clicks in zip(fixed, runs, strict=True)]
        print(
            f"{name:24}{100 * statistics.median(map(statistics.mean, runs)):12.1f}"
            f"{100 * statistics.median(statistics.mean(clicks[half:]) for clicks in runs):11.1f}"
            f"{statistics.median(regrets):18,.0f}  ({min(regrets):,.0f} to {max(regrets):,.0f})",
            flush=True,
        )
    for name, personal in (("best fixed order", False), ("best personal order", True)):
        whole = [expected(asked, personal=personal) / len(asked) for asked in sites]
        print(f"{name:24}{100 * statistics.median(whole):12.1f}")


if __name__ == "__main__":
    main()
