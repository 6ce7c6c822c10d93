"""The simulated shop as a whole: many visits at once, merged into one stream in event-time order.

Everything is made up, and says so: each event carries ``properties.source = "simulated"``. The same
seed and sizes give the same events, byte for byte. Nobody's data is in it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from random import Random

from schemas.events import EventBase
from streams.simulate.catalogue import DAY_MS, Catalogue
from streams.simulate.sessions import Step, Visit
from streams.simulate.visitors import Visitor

# 2025-01-06T00:00:00Z, a Monday; any past day does.
DEFAULT_START_MS = 1_736_121_600_000
# Mean of 20,000 visits; tests hold it to 10 %.
EVENTS_PER_VISIT = 39.5


class Shop:
    """A web shop with visitors, items and a seed.

    Parameters
    ----------
    seed
        Same seed, same events.
    visitors
        People who come again and again, each with their own taste, device, place and habits.
    items
        Articles, spread over twelve categories; at least 12.
    start_ms
        Event time of the beginning, epoch ms. Workers refuse events from the future, so start far
        enough in the past when time is to run fast.

    Examples
    --------
    >>> shop = Shop(seed=7, visitors=50)
    >>> first = next(iter(shop.events()))
    >>> first.properties["source"]
    'simulated'
    """

    def __init__(
        self, *, seed: int = 1, visitors: int = 5_000, items: int = 300, start_ms: int = DEFAULT_START_MS
    ) -> None:
        if visitors < 1 or items < 12:
            raise ValueError("Expected at least 1 visitor and 12 items")
        self.seed = seed
        self.visitors = visitors
        self.items = items
        self.start_ms = start_ms

    def events(self, rate_per_s: float | None = None, *, until_ms: int | None = None) -> Iterator[EventBase]:
        """Yield events in the order of their times; without end unless `until_ms` is given.

        Parameters
        ----------
        rate_per_s
            Mean events per second of event time over a day; by default what the visitors' own
            habits give (see `natural_rate_per_s`). Raises how often they come, not what they do.
        until_ms
            Stop before this event time.
        """
        for _, event, _ in self._steps(rate_per_s, until_ms):
            yield event

    def labelled(
        self, rate_per_s: float | None = None, *, until_ms: int | None = None
    ) -> Iterator[tuple[EventBase, float | None]]:
        """Yield the same events, impressions with the true probability that they are clicked."""
        for _, event, probability in self._steps(rate_per_s, until_ms):
            yield event, probability

    def natural_rate_per_s(self) -> float:
        """Return the mean events per second of event time that the visitors' habits give."""
        return sum(v.visits_per_day for v in self._people()) * EVENTS_PER_VISIT / (DAY_MS / 1000)

    def _people(self) -> list[Visitor]:
        return [Visitor(self.seed, number) for number in range(self.visitors)]

    def _steps(self, rate_per_s: float | None, until_ms: int | None) -> Iterator[Step]:
        people = self._people()
        natural = sum(v.visits_per_day for v in people) * EVENTS_PER_VISIT / (DAY_MS / 1000)
        pace = 1.0 if rate_per_s is None else rate_per_s / natural
        catalogue = Catalogue(self.items, Random(f"{self.seed}:catalogue"))
        # Each visitor stands in the heap once, so the visitor's number decides between equal times
        # and nothing behind it is ever compared.
        heap: list[tuple[int, int, Step | None, Iterator[Step]]] = [
            (visitor.next_visit(self.start_ms, pace), number, None, iter(())) for number, visitor in enumerate(people)
        ]
        heapq.heapify(heap)
        visits: dict[int, Visit] = {}
        while True:
            ts, number, step, steps = heap[0]
            if until_ms is not None and ts >= until_ms:
                return
            if step is None:
                catalogue.refresh(ts)
                visits[number] = visit = Visit(people[number], ts, catalogue)
                steps = visit.steps()
            else:
                yield step
            following = next(steps, None)
            if following is None:
                again = people[number].next_visit(visits.pop(number).ts, pace)
                heapq.heapreplace(heap, (again, number, None, iter(())))
            else:
                heapq.heapreplace(heap, (following[0], number, following, steps))
