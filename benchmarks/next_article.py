"""Which article is clicked next: the engine's ranking on a real news site, beside plain popularity.

    make bench-next-article DATA=globo_clicks_first300k.csv.gz

For each click but the first of a session, the engine ranks the article among itself and nine others, drawn (seed 7)
from the last 5,000 clicks, none of them seen in the session; requests whose article is not among those clicks are left
out. Predict, then learn: the request comes before its click, and what the click teaches reaches the scorer a second of
event time later, by the ways it has live: the places of the answer are its examples, the click tells the crowd counts.

Ties go to neither side: the engine draws, popularity counts the mean. The file has columns user_id, sid (session),
art (article), ts_ms, region and ref (referrer), in the order of time. The gap to the click before is not used: in this
data it gives the last click of a session away.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from online_models.closed_loop import Arrival, ClosedLoop, Users, Watchers, learner_pair
from online_models.features.durations import parse_duration_ms
from online_models.scoring import ScoringCore
from schemas.codec import decode_event, encode_json
from schemas.events import Click, EventBase, RankRequest
from schemas.user_state import PartitionMeta
from streams.output import partition_for_key
from streams.settings import Settings, load_settings

WINDOW, OTHERS, SEED = 5_000, 9, 7
PARTITIONS = 4
AT_ONCE = 2_000
HOUR_MS = 3_600_000
CONFIG = Path(__file__).with_suffix(".yaml")
TARGETS = {"hr_at_1": 0.34, "mrr": 0.535}


class Asked(NamedTuple):
    """A request, and what came of it.

    Attributes
    ----------
    hour
        Since the first click of the file.
    first_time
        In the visitor's first session of the file.
    popular
        Share of first places and mean reciprocal rank of the order by clicks among the last 5,000.
    """

    article: str
    hour: int
    first_time: bool
    popular: tuple[float, float]


class Site:
    """The clicks of a file as events, a request before each click that is asked about."""

    def __init__(self, path: Path, *, skip: int, limit: int) -> None:
        self._path = path
        self._skip = skip
        self._limit = limit
        self.asked: dict[str, Asked] = {}

    def events(self) -> Iterator[EventBase]:
        """Yield the events in order; `asked` is filled on the way, by event id."""
        rng = random.Random(SEED)
        window: deque[str] = deque()
        clicks: Counter[str] = Counter()
        seen: dict[str, list[str]] = {}
        first_session: dict[str, str] = {}
        began_ms = None
        for number, row in enumerate(self._rows()):
            ts, article, session, user = int(row["ts_ms"]), row["art"], row["sid"], row["user_id"]
            began_ms = ts if began_ms is None else began_ms
            before = seen.setdefault(session, [])
            first = first_session.setdefault(user, session) == session
            visitor = {
                "user_id": user,
                "session_id": session,
                "ts": ts,
                "region": row["region"],
                "properties": {"referrer": row["ref"]},
            }
            if before and clicks[article]:
                others = drawn(rng, window, {article, *before})
                ask = f"ask-{number}"
                popular = rank_by_count(clicks[article], [clicks[other] for other in others])
                self.asked[ask] = Asked(article, (ts - began_ms) // HOUR_MS, first, popular)
                candidates = sorted([article, *others])  # where it stands in the list must tell nothing
                yield RankRequest(event_id=ask, candidates=list(candidates), **visitor)
            yield Click(event_id=f"click-{number}", item_id=article, **visitor)
            before.append(article)
            window.append(article)
            clicks[article] += 1
            if len(window) > WINDOW:
                gone = window.popleft()
                clicks[gone] -= 1

    def _rows(self) -> Iterator[Mapping[str, str]]:
        opened = gzip.open if self._path.suffix == ".gz" else open
        with opened(self._path, "rt", encoding="utf-8", newline="") as file:
            yield from islice(csv.DictReader(file), self._skip, self._skip + self._limit)


def drawn(rng: random.Random, window: deque[str], excluded: set[str]) -> list[str]:
    """Draw articles without replacement from clicks, so that those clicked more often are drawn more often."""
    found: dict[str, None] = {}
    while len(found) < OTHERS:
        one = window[rng.randrange(len(window))]
        if one not in excluded:
            found[one] = None
    return list(found)


def rank_by_count(own: int, others: Iterable[int]) -> tuple[float, float]:
    """Return (chance of the first place, mean reciprocal rank) of one count among others, means over ties."""
    counts = list(others)
    above, tied = sum(one > own for one in counts), counts.count(own)
    ranks = range(above + 1, above + tied + 2)
    return (0.0 if above else 1 / (tied + 1)), sum(1 / rank for rank in ranks) / len(ranks)


class Engine:
    """The cores of several partitions and their learners, on event time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pairs = {
            one.name: learner_pair(
                one.name,
                lineage=settings.lineage(one),
                model=settings.new_model(one),
                prior=one.prior,
                publish_examples=settings.learning.publish_examples,
                judging=False,
            )
            for one in settings.variants
        }
        self._loop = ClosedLoop(
            new_core=self._new_core,
            learners=self._pairs,
            watchers=Watchers({}),
            publish_ms=parse_duration_ms(settings.learning.publish_interval),
        )
        self._users: dict[int, Users] = {partition: {} for partition in range(PARTITIONS)}
        self._offsets = [0] * PARTITIONS

    def _new_core(self, partition: int, meta: PartitionMeta | None, timers: Mapping[str, int] | None) -> ScoringCore:
        return ScoringCore(
            topic="events",
            partition=partition,
            features=self._settings.features,
            objectives=self._settings.objectives,
            rankings=self._settings.rankings,
            replicas={name: pair.replica for name, pair in self._pairs.items()},
            meta=meta,
            timers=timers,
            n_reasons=0,
        )

    def take(self, events: Iterable[EventBase]) -> dict[str, list[str]]:
        """Process events; return, by event id, the items in the order of the answer."""
        self._loop.run([self._arrival(event) for event in events], self._users)
        return {score.event_id: [one.item_id for one in score.ranked] for score in self._loop.scores if score.ranked}

    def _arrival(self, event: EventBase) -> Arrival:
        partition = partition_for_key(event.user_id.encode(), PARTITIONS)
        offset = self._offsets[partition]
        self._offsets[partition] += 1
        ts: int = event.ts  # type: ignore[assignment]  # every event here has one
        return partition, offset, ts, decode_event(encode_json(event), record_ts_ms=ts)

    def sizes(self) -> dict[str, int]:
        """Return how many weights, or counters, each learner holds."""
        return {name: len(pair.replica.weights) for name, pair in self._pairs.items()}  # type: ignore[attr-defined]


class Tally:
    """Hits at the first place and reciprocal ranks."""

    def __init__(self) -> None:
        self.groups = 0
        self._hits = 0.0
        self._reciprocal = 0.0

    def add(self, hit: float, reciprocal: float) -> None:
        """Count a request."""
        self.groups += 1
        self._hits += hit
        self._reciprocal += reciprocal

    def figures(self) -> dict[str, float | int]:
        """Return what there is to say."""
        n = max(self.groups, 1)
        return {"groups": self.groups, "hr_at_1": round(self._hits / n, 4), "mrr": round(self._reciprocal / n, 4)}


class Tallies:
    """The figures of one order of the candidates."""

    def __init__(self) -> None:
        self.all, self.first_time, self.later = Tally(), Tally(), Tally()
        self.by_hour: dict[int, Tally] = {}

    def add(self, asked: Asked, hit: float, reciprocal: float) -> None:
        """Count a request."""
        hour = self.by_hour.setdefault(asked.hour, Tally())
        for tally in (self.all, hour, self.first_time if asked.first_time else self.later):
            tally.add(hit, reciprocal)


def measure(path: Path, *, skip: int = 0, limit: int) -> dict[str, object]:
    """Rank every request of a file; return the figures."""
    settings = load_settings(CONFIG, {})
    site, engine = Site(path, skip=skip, limit=limit), Engine(settings)
    ours, popular = Tallies(), Tallies()
    for some in in_chunks(site.events()):
        for event_id, order in engine.take(some).items():
            asked = site.asked.pop(event_id)
            place = order.index(asked.article) + 1
            ours.add(asked, float(place == 1), 1 / place)
            popular.add(asked, *asked.popular)
    assert not site.asked, f"{len(site.asked)} requests got no answer"
    return {
        **ours.all.figures(),
        "popularity": popular.all.figures(),
        "by_hour": [
            {"hour": hour, **tally.figures(), "popularity": popular.by_hour[hour].figures()}
            for hour, tally in sorted(ours.by_hour.items())
        ],
        "first_time": {**ours.first_time.figures(), "popularity": popular.first_time.figures()},
        "later": {**ours.later.figures(), "popularity": popular.later.figures()},
        "held": engine.sizes(),
        "targets": TARGETS,
    }


def in_chunks(events: Iterable[EventBase]) -> Iterator[list[EventBase]]:
    """Cut a stream."""
    chunk: list[EventBase] = []
    for event in events:
        chunk.append(event)
        if len(chunk) == AT_ONCE:
            yield chunk
            chunk = []
    yield chunk


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="csv or csv.gz")
    parser.add_argument("--skip", type=int, default=0, help="so many clicks at the beginning")
    parser.add_argument("--clicks", type=int, default=300_000, help="so many clicks from there on")
    parser.add_argument("--out", type=Path, default=Path("build/next_article.json"))
    given = parser.parse_args()
    if not given.data.is_file():
        sys.exit(
            f"{given.data}: no such file. Name the clicks of the news site with: make bench-next-article DATA=FILE"
        )
    found = measure(given.data, skip=given.skip, limit=given.clicks)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, tally in (("all", found), ("first_time", found["first_time"]), ("later", found["later"])):
        assert isinstance(tally, dict)
        rule = tally["popularity"]
        print(
            f"{name:12}{tally['groups']:>9,} requests   HR@1 {tally['hr_at_1']:.3f} (popularity {rule['hr_at_1']:.3f})"
            f"   MRR {tally['mrr']:.3f} ({rule['mrr']:.3f})"
        )
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
