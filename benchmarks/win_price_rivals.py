"""What the win-price model is measured beside: curves of three numbers, wins counted plainly, what was learned once.

All learn one auction at a time and say how likely a bid is to win; those that can, shade. `LogLogistic` is the curve of
Zhou et al. (KDD 2021, section 4) and of Wu, Yeh, Chen (KDD 2015) for censored prices, with a logistic error in place of
a normal one, because its tails cost no special function: ln(price) is logistic, and both numbers of a slice follow the
likelihood of each auction by natural gradients, from those of the whole.
"""

from __future__ import annotations

from bisect import bisect_left
from math import exp, log, log1p
from typing import Protocol

from online_models.bidding.landscape import Landscape
from online_models.bidding.price_curve import PriceRules
from online_models.bidding.win_price import WinPrices


class Rival(Protocol):
    """Learns competing prices and tells of them what it knew when it was published last."""

    def learn(self, key: str, *, bid: float, won: bool, price: float | None, at_ms: int) -> None: ...
    def publish(self) -> None: ...
    def win_rate(self, key: str, bid: float) -> float: ...
    def shade(self, key: str, value: float, *, low: float, high: float) -> float: ...


class Ours:
    """The learner, and a bidder who reads its numbers as of when they were published."""

    def __init__(self, rules: PriceRules | None = None) -> None:
        self._learner = WinPrices(rules)
        self._landscape = Landscape(self._learner.weights, rules)
        self.learn = self._learner.learn
        self.win_rate = self._landscape.win_rate
        self.shade = self._landscape.shade

    def publish(self) -> None:
        """Write the numbers into the mapping that the landscape reads."""
        _ = self._learner.weights


class ToldOnly(Ours):
    """The same, blind to auctions whose price was not told: as if the prices seen were all."""

    def __init__(self, rules: PriceRules | None = None) -> None:
        super().__init__(rules)
        learn = self._learner.learn

        def told(key: str, *, bid: float, won: bool, price: float | None, at_ms: int) -> None:
            if price is not None:
                learn(key, bid=bid, won=won, price=price, at_ms=at_ms)

        self.learn = told


class Once(Ours):
    """The same, which stops learning after so many auctions."""

    def __init__(self, auctions: int, rules: PriceRules | None = None) -> None:
        super().__init__(rules)
        learn, self._left = self._learner.learn, auctions

        def early(key: str, *, bid: float, won: bool, price: float | None, at_ms: int) -> None:
            self._left -= 1
            if self._left >= 0:
                learn(key, bid=bid, won=won, price=price, at_ms=at_ms)

        self.learn = early


class Counted:
    """Wins over bids in each bin of bids and slice, all weighing the same; an empty bin says what the whole does."""

    def __init__(self, rules: PriceRules | None = None) -> None:
        self._edges = (rules or PriceRules()).edges()
        self._counts: dict[tuple[str, int], list[float]] = {}

    def learn(self, key: str, *, bid: float, won: bool, price: float | None, at_ms: int) -> None:
        """Count a bid."""
        k = bisect_left(self._edges, bid)
        for one in ("", key):
            counts = self._counts.setdefault((one, k), [0.0, 0.0])
            counts[0] += won
            counts[1] += 1.0

    def publish(self) -> None:
        """Do nothing: it is read directly."""

    def win_rate(self, key: str, bid: float) -> float:
        """Return the share won."""
        k = bisect_left(self._edges, bid)
        whole = self._counts.get(("", k), [0.5, 1.0])
        mine = self._counts.get((key, k), [0.0, 0.0])
        return (mine[0] + 30.0 * whole[0] / whole[1]) / (mine[1] + 30.0)

    def shade(self, key: str, value: float, *, low: float, high: float) -> float:
        """Return the edge that gains most."""
        edges = [edge for edge in self._edges if low <= edge <= min(high, value)] or [low]
        return max(edges, key=lambda edge: (value - edge) * self.win_rate(key, edge))


# A slice's numbers start as the whole's, as if seen in so many auctions.
_BEFORE = 30.0


class LogLogistic:
    """ln(price) is logistic about a centre with a scale, both learned slice by slice."""

    def __init__(self, smallest_step: float, centre: float = -3.0) -> None:
        self._curves = {"": [centre, 0.0, 0.0]}  # centre, ln(scale), auctions
        self._smallest_step = smallest_step

    def learn(self, key: str, *, bid: float, won: bool, price: float | None, at_ms: int) -> None:
        """Step along the natural gradient of the log likelihood of what is known of the price."""
        known = log(max(bid if price is None else price, 1e-6))
        for one in ("", key) if key else ("",):
            curve = self._curves.get(one)
            if curve is None:
                curve = self._curves[one] = [*self._curves[""][:2], 0.0]
            centre, scale = curve[0], exp(curve[1])
            z = max(-30.0, min((known - centre) / scale, 30.0))
            below = 1.0 / (1.0 + exp(-z))
            if price is not None:
                by_centre, by_scale = (2.0 * below - 1.0) / scale, z * (2.0 * below - 1.0) - 1.0
            elif won:
                by_centre, by_scale = -(1.0 - below) / scale, -z * (1.0 - below)
            else:
                by_centre, by_scale = below / scale, z * below
            curve[2] += 1.0
            step = max(1.0 / (curve[2] + _BEFORE), self._smallest_step)
            # The inverse Fisher information of a price that is told; of one that is censored it is less.
            curve[0] += max(-0.5, min(step * 3.0 * scale * scale * by_centre, 0.5))
            curve[1] = max(-4.0, min(curve[1] + max(-0.2, min(step * 0.7 * by_scale, 0.2)), 2.0))

    def publish(self) -> None:
        """Do nothing: it is read directly."""

    def win_rate(self, key: str, bid: float) -> float:
        """Return the logistic function of how far the bid lies above the centre."""
        centre, ln_scale, _ = self._curves.get(key) or self._curves[""]
        z = max(-30.0, min((log(max(bid, 1e-9)) - centre) / exp(ln_scale), 30.0))
        return 1.0 / (1.0 + exp(-z))

    def shade(self, key: str, value: float, *, low: float, high: float) -> float:
        """Return where (value - bid) x win rate is highest; its logarithm has one summit, found by halving."""
        centre, ln_scale, _ = self._curves.get(key) or self._curves[""]
        scale = exp(ln_scale)
        left, right = 0.0, value
        for _ in range(30):
            bid = (left + right) / 2.0
            z = min((log(max(bid, 1e-9)) - centre) / scale, 30.0)
            if (value - bid) * exp(-log1p(exp(z))) > bid * scale:
                left = bid
            else:
                right = bid
        return max(low, min((left + right) / 2.0, high))


class Factor:
    """Bids a share of the value: tries shares in turn at first, then keeps the one that gained most."""

    shares = tuple(k / 20 for k in range(1, 21))

    def __init__(self, auctions: int) -> None:
        self._gained = [0.0] * len(self.shares)
        self._turn = 0
        self._auctions = auctions

    def learn(self, key: str, *, bid: float, won: bool, price: float | None, at_ms: int) -> None:
        """Add up what the share of this turn gained, relative to a value of 1."""
        if self._turn <= self._auctions and won:
            tried = (self._turn - 1) % len(self.shares)
            self._gained[tried] += bid / self.shares[tried] - bid

    def publish(self) -> None:
        """Do nothing: it is read directly."""

    def win_rate(self, key: str, bid: float) -> float:
        """Know nothing of it."""
        return 0.5

    def shade(self, key: str, value: float, *, low: float, high: float) -> float:
        """Return a share of the value."""
        self._turn += 1
        if self._turn <= self._auctions:
            return self.shares[(self._turn - 1) % len(self.shares)] * value
        return max(low, min(self.shares[self._gained.index(max(self._gained))] * value, high))
