"""The market: pacers of all campaigns and prices of all auctions, learned by one learner and read by every bidder.

Partitions are keyed by user, so each sees a part of a campaign's traffic and spend. What they see travels as examples
of an objective of its own, `MARKET` (`online_models.bidding.told`), to one learner; what it makes of that comes back as
weights of a model do. So everything that holds for models holds for pacing: a crash repeats nothing, a version can be
rebuilt, a bid names the version that it was made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from online_models.bidding import told
from online_models.bidding.campaigns import DAY_MS
from online_models.bidding.declaration import Bidding, without_plan
from online_models.bidding.landscape import Landscape
from online_models.bidding.pacing import Flight, Pace, build_pacer
from online_models.bidding.pacing.base import from_numbers, to_numbers
from online_models.bidding.plan import CurveState, DayCurve, Plan, even_plan
from online_models.bidding.win_price import Saved, WinPrices
from online_models.objectives import Objective
from schemas.campaigns import Auction
from schemas.codec import BadRecord
from schemas.dead_letters import INVALID

MARKET = "market"
NAME = "market"
MARKET_OBJECTIVE = Objective(
    name=MARKET, trigger=(), outcome=(), match="user", window_ms=0, features=(), model={"name": NAME}
)
GONE = 0.0
FORMAT = 1
# What stands for 0, which would mean that a number is gone.
ZERO = -1.0
_UNPACED = Pace(1.0)
_MINUTE_MS = 60_000


class _CampaignState(Struct, array_like=True):
    """What is known of a campaign's pacing; see `_Pacing`."""

    version: int
    budget: float
    pacer: int
    offset_min: int
    starts_ms: int
    ends_ms: int
    spent_before: float
    before_until_ms: int
    spent_since: float
    pacing: bytes
    curve: CurveState


class _Saved(Struct, array_like=True):
    format: int
    campaigns: dict[str, _CampaignState]
    prices: Saved


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Saved).decode


class _Pacing:
    """One campaign: its pacer, its days, and the curve that its plans follow.

    Attributes
    ----------
    spent_before
        Of the day that ends at `before_until_ms`, what was spent before this pacer came; it paces what is left.
    spent_since
        On the present day, since it came.
    """

    def __init__(
        self, declared: Mapping[str, Any], *, version: int, budget: float, pacer: int, offset_min: int
    ) -> None:
        self.version = version
        self.budget = budget
        self.number = pacer
        self.offset_min = offset_min
        self.starts_ms = self.ends_ms = 0  # no day has begun
        self.spent_before = self.spent_since = 0.0
        self.before_until_ms = 0
        self.curve = DayCurve()
        self._follows = declared.get("plan", "even")
        self.pacer = build_pacer(without_plan(declared))

    def opportunity(self, at_ms: int, value: float) -> None:
        self._reach(at_ms)
        self.curve.observe(at_ms, value if self._follows == "value" else 1.0)
        self.pacer.opportunity(at_ms, value)

    def spent(self, at_ms: int, cost: float) -> None:
        self._reach(at_ms)
        if at_ms >= self.starts_ms:  # not a notice of yesterday
            self.spent_since += cost
        self.pacer.spent(at_ms, cost)

    def take_over(self, other: _Pacing) -> None:
        """Go on where another pacer of the campaign has come to."""
        self.curve = other.curve
        self.spent_before, self.before_until_ms = other.spent_since, other.ends_ms
        if other.before_until_ms == other.ends_ms:
            self.spent_before += other.spent_before

    def _reach(self, at_ms: int) -> None:
        """Begin the day of an event, unless it has begun."""
        if at_ms < self.ends_ms:
            return
        local = at_ms + self.offset_min * _MINUTE_MS
        midnight = at_ms - local % DAY_MS
        self.spent_since = 0.0
        # Of a campaign that has just come, the part of the day that is left: nobody waits for what should have been.
        self.begin(midnight if self.ends_ms else at_ms, midnight + DAY_MS)

    def begin(self, starts_ms: int, ends_ms: int) -> None:
        """Begin a day, or plan what is left of one anew."""
        self.starts_ms, self.ends_ms = starts_ms, ends_ms
        before = self.spent_before if starts_ms < self.before_until_ms else 0.0
        left = max(0.0, self.budget - before)
        self.pacer.begin(Flight(left, self._plan(starts_ms, ends_ms), starts_ms, ends_ms))

    def _plan(self, starts_ms: int, ends_ms: int) -> Plan:
        return even_plan(starts_ms, ends_ms) if self._follows == "even" else self.curve.plan(starts_ms, ends_ms)


class Market:
    """Learns what partitions tell, in the place of an estimator.

    Parameters
    ----------
    bidding
        Pacers and campaigns that are declared.

    Attributes
    ----------
    weights
        All numbers, by name.
    """

    name = NAME
    intercept = 0.0

    def __init__(self, bidding: Bidding) -> None:
        self._declared = list(bidding.pacers.values())
        self._rules = bidding.price_rules
        self._prices = WinPrices(self._rules)
        self._campaigns: dict[str, _Pacing] = {}
        self._paces: dict[str, float] = {}
        self._published: dict[str, Pace] = {}
        self._changed: dict[str, None] | None = None
        names = bidding.pacer_names
        for one in bidding.campaigns:
            number = names.index(one.pacer) if one.pacer in names else 0
            self._set(one.campaign, 0, one.budget_per_day, number, one.tz_offset_min)
            self._publish(one.campaign)

    @staticmethod
    def refusal(x: Mapping[str, float]) -> str | None:
        """Tell why something must not be learned; None: it may."""
        return told.refusal(x)

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:
        """Take in what a partition tells; `y`: an auction was won, if it tells of one."""
        at_ms = told.time_of(x)
        for name, version in told.named(x, told.VERSION):
            known = self._campaigns.get(name)
            if known is None or version > known.version:
                budget = x[told.THOUSANDS + name] * 1_000.0 + x[told.REST + name]
                self._set(name, int(version), budget, int(x[told.PACER + name]), int(x[told.OFFSET + name]))
                self._publish(name)
        for name, value in told.named(x, told.VALUE):
            if name in self._campaigns:
                self._campaigns[name].opportunity(at_ms, value)
                self._publish(name)
        for name, cost in told.named(x, told.COST):
            if name in self._campaigns:
                self._campaigns[name].spent(at_ms, cost)
                self._publish(name)
        for key, bid in told.named(x, told.BID):
            self._prices.learn(key, bid=bid, won=y, price=x.get(told.PRICE + key), at_ms=at_ms)

    def _new(self, pacer: int, *, version: int, budget: float, offset_min: int) -> _Pacing:
        number = pacer if pacer < len(self._declared) else 0
        return _Pacing(self._declared[number], version=version, budget=budget, pacer=number, offset_min=offset_min)

    def _set(self, name: str, version: int, budget: float, pacer: int, offset_min: int) -> None:
        """Pace a campaign as declared; one that is paced already goes on from where it is."""
        known = self._campaigns.get(name)
        made = self._new(pacer, version=version, budget=budget, offset_min=offset_min)
        if known is None or (known.number, known.offset_min) != (made.number, offset_min):
            if known is not None:
                made.take_over(known)
            self._campaigns[name] = made
            return
        changed, known.version, known.budget = budget != known.budget, version, budget
        if changed and known.ends_ms:
            known.begin(known.starts_ms, known.ends_ms)

    def _publish(self, name: str) -> None:
        pace = self._campaigns[name].pacer.pace
        if self._published.get(name) == pace:
            return
        self._published[name] = pace
        for key, number in to_numbers(pace).items():
            self._put(pace_name(name, key), number or ZERO)

    def _put(self, name: str, number: float) -> None:
        if self._paces.get(name) != number:
            self._paces[name] = number
            if self._changed is not None:
                self._changed[name] = None

    @property
    def weights(self) -> dict[str, float]:
        return {**self._prices.weights, **self._paces}

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Return what every estimator returns; the market predicts nothing."""
        return {True: 0.5, False: 0.5}

    def take_changed(self) -> list[str]:
        """Return the names of numbers that changed since the last call; the first call returns none."""
        changed = [*self._prices.take_changed(), *(self._changed or ())]
        self._changed = {}
        return changed

    def weights_of(self, names: Iterable[str]) -> dict[str, float]:
        """Return numbers by name; those that are forgotten are `GONE`."""
        prices, paces = self._prices.weights, self._paces
        return {name: paces[name] if name in paces else prices.get(name, GONE) for name in names}

    def __len__(self) -> int:
        return len(self._paces) + len(self._prices)

    def to_bytes(self) -> bytes:
        """Return everything that was learned."""
        campaigns = {
            name: _CampaignState(
                one.version,
                one.budget,
                one.number,
                one.offset_min,
                one.starts_ms,
                one.ends_ms,
                one.spent_before,
                one.before_until_ms,
                one.spent_since,
                one.pacer.state(),
                one.curve.state(),
            )
            for name, one in self._campaigns.items()
        }
        return _pack(_Saved(FORMAT, campaigns, self._prices.state()))

    def restore(self, blob: bytes) -> None:
        """Take up what `to_bytes` gave, as far as it belongs to these pacers; raises BadRecord."""
        try:
            saved = _unpack(blob)
            if saved.format != FORMAT:
                raise ValueError(f"expected format {FORMAT}, got {saved.format}")
            self._prices.restore(saved.prices)
        except (msgspec.DecodeError, ValueError) as error:
            raise BadRecord(INVALID, f"market: {error}") from None
        for name, state in saved.campaigns.items():
            declared = self._campaigns.get(name)
            self._campaigns[name] = self._restored(state)
            if declared is not None and not state.version:  # the configuration's, which may be another by now
                self._set(name, 0, declared.budget, declared.number, declared.offset_min)
            self._publish(name)

    def _restored(self, state: _CampaignState) -> _Pacing:
        made = self._new(state.pacer, version=state.version, budget=state.budget, offset_min=state.offset_min)
        made.curve.restore(state.curve)
        made.starts_ms, made.ends_ms = state.starts_ms, state.ends_ms
        made.spent_before, made.before_until_ms = state.spent_before, state.before_until_ms
        made.spent_since = state.spent_since
        try:
            made.pacer.restore(state.pacing)
        except BadRecord:  # another kind of pacer is declared under this number by now
            anew = self._new(state.pacer, version=state.version, budget=state.budget, offset_min=state.offset_min)
            anew.take_over(made)
            return anew
        return made


def pace_name(campaign: str, key: str) -> str:
    """Name one number of a campaign's pace among all numbers of the market."""
    return f"#pace/{key}/{campaign}"


class _PaceNumbers(Mapping[str, float]):
    """The numbers of one campaign's pace, as `from_numbers` takes them."""

    def __init__(self, campaign: str, numbers: Mapping[str, float]) -> None:
        self._campaign = campaign
        self._numbers = numbers

    def __getitem__(self, key: str) -> float:
        number = self._numbers[pace_name(self._campaign, key)]
        return 0.0 if number == ZERO else number

    def __iter__(self) -> Iterator[str]:
        raise TypeError("ask for names that are known")

    def __len__(self) -> int:
        return len(self._numbers)


class _Numbers(Protocol):
    """The market's replica."""

    @property
    def weights(self) -> Mapping[str, float]: ...
    @property
    def version(self) -> int: ...


class MarketReader:
    """The market of the version at hand, as bidders ask it."""

    def __init__(self, replica: _Numbers, bidding: Bidding) -> None:
        self._replica = replica
        self._rules = bidding.price_rules
        self._read_version = -1
        self._paces: dict[str, Pace] = {}
        self._numbers: Mapping[str, float] = {}
        self._landscape = Landscape({}, self._rules)

    @property
    def version(self) -> int:
        return self._replica.version

    def _read(self) -> None:
        """Take up the next version, if it has come."""
        if self._replica.version != self._read_version:
            self._read_version = self._replica.version
            self._numbers = self._replica.weights
            self._paces = {}
            self._landscape = Landscape(self._numbers, self._rules)

    def pace(self, campaign: str) -> Pace:
        """Return a campaign's pace; unpaced, while nothing is known of it."""
        self._read()
        pace = self._paces.get(campaign)
        if pace is None:
            pace = self._paces[campaign] = self._pace(campaign)
        return pace

    def _pace(self, campaign: str) -> Pace:
        numbers = _PaceNumbers(campaign, self._numbers)
        return from_numbers(numbers) if "layers" in numbers else _UNPACED

    def win_rate(self, key: str, bid: float) -> float:
        """Return how likely a bid is to win."""
        self._read()
        return self._landscape.win_rate(key, bid)

    def expected_cost(self, key: str, bid: float, auction: Auction) -> float:
        """Return what making a bid is expected to cost."""
        self._read()
        return self._landscape.expected_cost(key, bid, auction)

    def shade(self, key: str, value: float, *, low: float, high: float) -> float:
        """Return the bid between the bounds that gains most in a first-price auction."""
        self._read()
        return self._landscape.shade(key, value, low=low, high=high)
