"""What exploring costs and earns: rank requests of a simulated site, answered by each policy, and the clicks they got.

    python -m benchmarks.regret [--requests 20000] [--seeds 3]

Everybody likes two of eight categories, and some items are better than others; the engine knows neither. Three items
are shown, lower places are looked at less. On the first site there are forty items, of which ten at random are up for
each request. On the second all forty are up, and every 200 requests one that was never there takes the place of the
oldest. The engine learns from its own answers alone, and so do two of River's bandits. Beside them stands what knows
the truth: the best fixed order, the same for everybody, and the best personal one. Regret is the clicks that the best
fixed order got more; below zero, the engine is ahead of every fixed order.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from benchmarks.river_bandits import RIVER
from online_models.records import DecodedBatch, decode_batch
from online_models.scoring import ScoringCore
from schemas.codec import decode_example, encode_json
from schemas.events import Candidate, Click, EventBase, RankRequest
from streams.new_models import new_cores, new_replicas
from streams.settings import Settings, parse_settings

SHOWN, UP, ITEMS, CATEGORIES, VISITORS = 3, 10, 40, 8, 400
LOOKED_AT = (1.0, 0.6, 0.4)
START_MS, STEP_MS = 1_767_225_600_000, 500
LEARN_EVERY = 50
TOO_SLOW = "river LinUCBDisjoint"  # a regression for each of forty candidates, three times a request
SITES: dict[str, dict[str, int]] = {
    "ten of forty items up": {"up": UP},
    "forty items up, a new one every 200 requests": {"up": ITEMS, "new_every": 200},
}
POLICIES: dict[str, dict[str, Any]] = {
    "uniform": {"kind": "uniform"},
    "greedy": {"kind": "greedy"},
    "epsilon_greedy 0.05": {"kind": "epsilon_greedy", "epsilon": 0.05},
    "epsilon_greedy 0.2": {"kind": "epsilon_greedy", "epsilon": 0.2},
    "softmax 0.3": {"kind": "softmax", "temperature": 0.3},
    "softmax 1": {"kind": "softmax", "temperature": 1.0},
    "thompson 0.5": {"kind": "thompson", "alpha": 0.5},
    "thompson 1": {"kind": "thompson", "alpha": 1.0},
    "lin_ucb 0.5": {"kind": "lin_ucb", "alpha": 0.5},
    "lin_ucb 1": {"kind": "lin_ucb", "alpha": 1.0},
    "lin_ucb 2": {"kind": "lin_ucb", "alpha": 2.0},
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
    """A request, its items with their categories, and how likely the visitor is to click each at the first place."""

    visitor: str
    categories: dict[str, str]
    truth: dict[str, float]


def a_site(seed: int, count: int, *, up: int = UP, new_every: int = 0) -> list[Asked]:
    """Return the requests of a site, the same for every policy.

    Parameters
    ----------
    up
        Candidates of a request.
    new_every
        After so many requests an item that was never there takes the place of the oldest; 0: never.
    """
    rng = random.Random(seed)
    items = [_an_item(number, rng) for number in range(ITEMS)]
    likes = [set(rng.sample(range(CATEGORIES), 2)) for _ in range(VISITORS)]
    asked = []
    for number in range(count):
        visitor = rng.randrange(VISITORS)
        if new_every and number and number % new_every == 0:
            items = [*items[1:], _an_item(ITEMS - 1 + number // new_every, rng)]
        up_now = rng.sample(items, up)
        truth = {
            item: 0.5 * quality * (1.0 if int(category[-1]) in likes[visitor] else 0.25)
            for item, category, quality in up_now
        }
        asked.append(Asked(f"visitor-{visitor}", {item: category for item, category, _ in up_now}, truth))
    return asked


def _an_item(number: int, rng: random.Random) -> tuple[str, str, float]:
    return f"item-{number:02}", f"category-{number % CATEGORIES}", rng.betavariate(2, 5)


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


class Answers(Protocol):
    """Chooses what a site shows, and is told what was clicked."""

    def show(self, number: int, visitor: str, candidates: Sequence[tuple[str, str]], places: int) -> list[str]: ...
    def saw(
        self, number: int, visitor: str, categories: dict[str, str], shown: Sequence[str], taken: set[str]
    ) -> None: ...


class OurAnswers:
    """Answers of our engine, whose scorer gets the model every so many requests."""

    def __init__(self, policy: dict[str, Any]) -> None:
        declared = {"objective": "click", "shown": SHOWN, **policy}
        self._engine = Engine(parse_settings(CONFIG.format(policy=declared), {}))

    def show(self, number: int, visitor: str, candidates: Sequence[tuple[str, str]], places: int) -> list[str]:
        """Ask for a ranking."""
        asked: list[str | Candidate] = [Candidate(item_id=item, category=category) for item, category in candidates]
        return self._engine.take(
            RankRequest(event_id=f"ask-{number}", user_id=visitor, ts=_ts(number), candidates=asked)
        )

    def saw(self, number: int, visitor: str, categories: dict[str, str], shown: Sequence[str], taken: set[str]) -> None:
        """Send the clicks."""
        for item in shown:
            if item in taken:
                fields = {"user_id": visitor, "ts": _ts(number), "item_id": item, "category": categories[item]}
                self._engine.take(Click(event_id=f"{number}-{item}", **fields))
        if number % LEARN_EVERY == 0:
            self._engine.learn()


def _ts(number: int) -> int:
    return START_MS + number * STEP_MS


def _ours(policy: dict[str, Any]) -> Callable[[int], Answers]:
    return lambda seed: OurAnswers(policy)  # its chance is seeded by the requests


OURS = {name: _ours(policy) for name, policy in POLICIES.items()}


def clicks_of(answers: Answers, asked: Sequence[Asked], seed: int) -> list[int]:
    """Return the clicks that the answers got, request by request."""
    chance, clicks = random.Random(seed), []
    for number, one in enumerate(asked):
        shown = answers.show(number, one.visitor, list(one.categories.items()), SHOWN)
        taken = {
            item for item, looked in zip(shown, LOOKED_AT, strict=True) if chance.random() < looked * one.truth[item]
        }
        answers.saw(number, one.visitor, one.categories, shown, taken)
        clicks.append(len(taken))
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


def compare(sites: Sequence[Sequence[Asked]]) -> None:
    """Run every policy on the same sites, and print medians."""
    fixed = [expected(asked, personal=False) for asked in sites]
    half = len(sites[0]) // 2
    for name, new in {**OURS, **RIVER}.items():
        if name == TOO_SLOW and len(sites[0][0].categories) > UP:
            continue
        runs = [clicks_of(new(seed), asked, seed) for seed, asked in enumerate(sites)]
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


def main() -> None:
    """Compare the policies on the two kinds of site."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for name, site in SITES.items():
        print(name)
        print(f"{'clicks for each 100 requests':24}{'all':>8}{'last half':>11}{'regret to the best fixed order':>34}")
        compare([a_site(seed, given.requests, **site) for seed in range(given.seeds)])
        print()


if __name__ == "__main__":
    main()
