"""Win prices: what the highest competing bid of an auction is, learned from auctions won and lost.

One learner counts, slice by slice, what auctions told of the competing price (`WinPrices`); its counts reach bidders as
named weights, as those of a model do, and bidders make curves of them (`landscape`, `price_curve`). Every auction
counts in its slice and in the whole, whose key is "". A bid inside a bin counts in part at either edge of the bin, as
far as it is from the other one.

Forgetting is by event time. Weights grow with the time of the event in place of fading with age (forward decay:
Cormode, Shkapenyuk, Srivastava, Xu, ICDE 2009), so an auction changes a few numbers and not all, and a late one counts
what it would have counted in time. From time to time all numbers are divided by a power of two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from math import ldexp

from msgspec import Struct

from online_models.bidding.price_curve import PRIOR_STRENGTH, PriceRules, hazards, likely_below, spread
from online_models.bidding.price_heaps import PriceHeaps

WHOLE = ""
GONE = 0.0
FORMAT = 1
# Names of numbers: the slice's key, one of these, and of those in the second line the number of the bin.
COUNT, NOW = "#n", "#now"
PRICES, BEYOND, HEAP, HEAPED = "#p", "#b", "#h", "#s"
# Left-censored prices are spread once in so many auctions of a slice, and before at powers of two: it costs as much as
# ten auctions, and what it moves is little by then.
_SPREAD_EVERY = 16
# So many half-lives without dividing: weights stay far from what a float can hold.
_LONGEST = 32
# Slices of which less is left than a billionth of an auction are forgotten when all numbers are divided.
_NOTHING = 1e-9
# So much of a full table goes at once: sorting costs as much for one slice as for many.
_FORGOTTEN_SHARE = 10


class _Slice(Struct, array_like=True):
    """Weights of what auctions told, for each bin.

    Attributes
    ----------
    exact
        Prices that were told.
    left
        Prices of which only that is known that they lie below the upper edge of the bin.
    beyond
        Those of which only that is known that they lie above it.
    prices
        `exact`, and `left` spread over the bins as the curve said when it was spread last.
    total, count
        Weight of all auctions, and their number.
    """

    exact: list[float]
    left: list[float]
    beyond: list[float]
    prices: list[float]
    total: float = 0.0
    count: int = 0
    censored: bool = False

    def copy(self) -> _Slice:
        exact, left, beyond, prices = map(list, (self.exact, self.left, self.beyond, self.prices))
        return _Slice(exact, left, beyond, prices, self.total, self.count, self.censored)

    def divide(self, shift: int) -> None:
        for one in (self.exact, self.left, self.beyond, self.prices):
            one[:] = [ldexp(weight, -shift) for weight in one]
        self.total = ldexp(self.total, -shift)


class Saved(Struct, array_like=True):
    """Everything a `WinPrices` knows."""

    format: int
    landmark_ms: int | None
    latest_ms: int
    slices: dict[str, _Slice]
    heaps: PriceHeaps


class WinPrices:
    """Learns competing prices, one auction at a time.

    Parameters
    ----------
    rules
        The same as those of the readers.

    Examples
    --------
    >>> learner = WinPrices(PriceRules(lowest=1.0, highest=4.0, bins=3))
    >>> learner.learn("site", bid=3.0, won=True, price=2.0, at_ms=0)
    >>> learner.learn("site", bid=3.0, won=False, price=None, at_ms=0)
    >>> {name: weight for name, weight in learner.weights.items() if name.startswith("site")}
    {'site#n': 2.0, 'site#p1': 1.0, 'site#b1': 0.5, 'site#b2': 0.5}
    """

    def __init__(self, rules: PriceRules | None = None) -> None:
        self._rules = rules or PriceRules()
        self._edges = self._rules.edges()
        self._prior = self._rules.prior_hazards()
        self._begin(None, 0, {}, PriceHeaps.of(self._rules.bins))

    def _begin(self, landmark_ms: int | None, latest_ms: int, slices: dict[str, _Slice], heaps: PriceHeaps) -> None:
        self._landmark_ms = landmark_ms
        self._latest_ms = latest_ms
        self._slices = slices
        self._heaps = heaps
        self._whole = slices.setdefault(WHOLE, self._empty())
        self._weights: dict[str, float] = {}
        self._stale: dict[str, None] = dict.fromkeys(slices)  # slices whose weights are to be written again
        self._changed: dict[str, None] | None = None  # until somebody asks

    def _empty(self) -> _Slice:
        bins = self._rules.bins
        return _Slice([0.0] * bins, [0.0] * bins, [0.0] * bins, [0.0] * bins)

    def learn(self, key: str, *, bid: float, won: bool, price: float | None, at_ms: int) -> None:
        """Learn what an auction tells of its competing price.

        Parameters
        ----------
        key
            The slice; "" counts in the whole only.
        bid
            Our bid, finite. If the auction was won at a floor, with nobody else known, the floor: the competing price
            was at most that.
        won
            True: the price is at most the bid. False: it is at least the bid.
        price
            The competing price where it is told: what a won second-price auction cost, the bid that would just have
            won, the price at which others won. None: only the bid tells something.
        at_ms
            Event time.
        """
        weight = self._weight(at_ms)
        known = bid if price is None else price
        k = bisect_left(self._edges, known) - 1  # the bin; of what lies above all bins, their number
        if price is not None and 0 <= k < self._rules.bins:
            self._heaps.add(k, price, weight)
        self._add(WHOLE, self._whole, k, known, weight, told=price is not None, won=won)
        if key:
            one = self._slices.get(key)
            if one is None:
                one = self._take_on(key)
            self._add(key, one, k, known, weight, told=price is not None, won=won)

    def _add(self, key: str, one: _Slice, k: int, known: float, weight: float, *, told: bool, won: bool) -> None:
        one.total += weight
        one.count += 1
        self._stale[key] = None
        if k >= self._rules.bins:
            if told or not won:
                one.beyond[-1] += weight
            return  # a won bid above all bins tells nothing
        if told:
            k = max(k, 0)
            one.exact[k] += weight
            one.prices[k] += weight
        elif won:
            upper = self._part(k, known) * weight
            k = max(k, 0)
            one.left[k] += upper if k else weight
            if k:
                one.left[k - 1] += weight - upper
            one.censored = True
        elif k >= 0:
            upper = self._part(k, known) * weight
            one.beyond[k] += upper
            if k:
                one.beyond[k - 1] += weight - upper
        if one.censored and (one.count % _SPREAD_EVERY == 0 or one.count & (one.count - 1) == 0):
            self._spread(one)

    def _part(self, k: int, known: float) -> float:
        """Return how far up a bin something lies, from 0 to 1."""
        if k < 0:
            return 0.0
        low = self._edges[k]
        return (known - low) / (self._edges[k + 1] - low)

    def _spread(self, one: _Slice) -> None:
        """Spread left-censored prices by the curve that a bidder has of the slice."""
        now = self._weight(self._latest_ms)
        found = hazards(self._whole.prices, self._whole.beyond, self._prior, PRIOR_STRENGTH * now)
        if one is not self._whole:
            found = hazards(one.prices, one.beyond, found, self._rules.strength * now)
        one.prices[:] = one.exact
        spread(one.left, likely_below(found), one.prices)

    def _weight(self, at_ms: int) -> float:
        """Return what an auction of that time weighs; 1 at the landmark, twice as much a half-life later."""
        if self._landmark_ms is None:
            self._landmark_ms = self._latest_ms = at_ms
        half_life = self._rules.half_life_ms
        if at_ms > self._latest_ms:
            self._latest_ms = at_ms
            shift = (at_ms - self._landmark_ms) // half_life
            if shift > _LONGEST:
                self._divide(shift)
        return float(2.0 ** ((at_ms - self._landmark_ms) / half_life))

    def _divide(self, shift: int) -> None:
        """Divide all weights by a power of two, and forget slices of which nothing is left."""
        assert self._landmark_ms is not None
        self._landmark_ms += shift * self._rules.half_life_ms
        self._heaps.divide(shift)
        for key, one in list(self._slices.items()):
            one.divide(shift)
            if one.total < _NOTHING and key:
                self._forget(key)
        self._stale = dict.fromkeys(self._slices)

    def _take_on(self, key: str) -> _Slice:
        if len(self._slices) > self._rules.most_slices:
            known = sorted((other for other in self._slices if other), key=lambda other: self._slices[other].total)
            for other in known[: 1 + self._rules.most_slices // _FORGOTTEN_SHARE]:
                self._forget(other)
        one = self._slices[key] = self._empty()
        return one

    def _forget(self, key: str) -> None:
        del self._slices[key]
        self._stale.pop(key, None)
        for name in _names(key, self._rules.bins):
            if self._weights.pop(name, GONE) != GONE and self._changed is not None:
                self._changed[name] = None

    @property
    def weights(self) -> dict[str, float]:
        """All numbers that are not 0, by name; whoever reads them changes nothing in them."""
        for key in self._stale:
            for name, weight in self._numbers(key):
                if weight != self._weights.get(name, GONE):
                    if weight == GONE:
                        del self._weights[name]
                    else:
                        self._weights[name] = weight
                    if self._changed is not None:
                        self._changed[name] = None
        self._stale = {}
        return self._weights

    def _numbers(self, key: str) -> Iterator[tuple[str, float]]:
        one = self._slices[key]
        yield key + COUNT, float(one.count)
        if key == WHOLE and one.count:
            now = self._weight(self._latest_ms)
            yield key + NOW, now
            for k, price in enumerate(self._heaps.prices):
                share = self._heaps.share(k, now)
                yield f"{key}{HEAP}{k}", price if share else GONE
                yield f"{key}{HEAPED}{k}", share
        for kind, numbers in ((PRICES, one.prices), (BEYOND, one.beyond)):
            for k, weight in enumerate(numbers):
                yield f"{key}{kind}{k}", weight

    def take_changed(self) -> list[str]:
        """Return the names of numbers that changed or were forgotten since the last call.

        The first call returns none: whoever asks takes all there is, and then what changes.
        """
        _ = self.weights
        changed = list(self._changed or ())
        self._changed = {}
        return changed

    def weights_of(self, names: Iterable[str]) -> dict[str, float]:
        """Return numbers by name; those that are forgotten are `GONE`."""
        weights = self.weights
        return {name: weights.get(name, GONE) for name in names}

    def __len__(self) -> int:
        return len(self.weights)

    def state(self) -> Saved:
        """Return a copy of everything that was learned."""
        slices = {key: one.copy() for key, one in self._slices.items()}
        return Saved(FORMAT, self._landmark_ms, self._latest_ms, slices, self._heaps.copy())

    def restore(self, saved: Saved) -> None:
        """Take up what `state` gave; raises ValueError if it is of another format or other bins."""
        if saved.format != FORMAT:
            raise ValueError(f"win prices: expected format {FORMAT}, got {saved.format}")
        for one in saved.slices.values():
            if {len(one.exact), len(one.left), len(one.beyond), len(one.prices)} != {self._rules.bins}:
                raise ValueError(f"win prices: expected {self._rules.bins} bins")
        slices = {key: one.copy() for key, one in saved.slices.items()}
        self._begin(saved.landmark_ms, saved.latest_ms, slices, saved.heaps.copy())


def _names(key: str, bins: int) -> Iterator[str]:
    yield key + COUNT
    for kind in (PRICES, BEYOND):
        for k in range(bins):
            yield f"{key}{kind}{k}"
