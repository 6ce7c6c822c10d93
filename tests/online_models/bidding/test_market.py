"""The market's learner, and what bidders read of it."""

from __future__ import annotations

from math import inf, nan
from typing import Any

from bidding_bench import FEATURES, a_campaign
from builders import DAY, HOUR, T0
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from online_models.bidding import told
from online_models.bidding.campaigns import check_campaign
from online_models.bidding.declaration import Bidding, parse_bidding
from online_models.bidding.market import MARKET, Market, MarketReader, pace_name
from online_models.crowd_distribution import CrowdDistributor, CrowdReplica
from online_models.features import compile_features
from online_models.guard import refusal
from online_models.learning import LearningCore
from online_models.objectives import parse_objectives
from schemas.campaigns import Campaign
from schemas.codec import decode_model_record
from schemas.examples import Example

FEATURE_SET = compile_features(FEATURES)
OBJECTIVES = parse_objectives(
    {"ad_click": {"trigger": "bid_win", "outcome": "click", "match": "item", "window": "30m"}}, features=FEATURE_SET
)
PACERS: dict[str, Any] = {
    "even": {"kind": "dual"},
    "busy": {"kind": "pid", "plan": "traffic"},
    "dropping": {"kind": "throttle", "plan": "value"},
    "layered": {"kind": "layers", "layers": 3},
}
MIDNIGHT = T0 - T0 % DAY


def a_bidding(**section: Any) -> Bidding:
    declared = {"click": "ad_click", "pacers": PACERS, **section}
    return parse_bidding(declared, features=FEATURE_SET, objectives=OBJECTIVES)


def is_set(campaign: Campaign, version: int = 1, at_ms: int = MIDNIGHT) -> told.Told:
    checked = check_campaign(campaign, a_bidding(), features=FEATURE_SET, objectives=OBJECTIVES)
    return told.campaign_is(at_ms, campaign.campaign, version, checked)


def a_day(market: Market, *, day: int = 0, cost: float = 0.01, auctions: int = 2_000, name: str = "shoes") -> None:
    """Let a campaign win half of the auctions of a day, for less if it bids less."""
    for number in range(auctions):
        at_ms = MIDNIGHT + day * DAY + number * DAY // auctions
        market.learn_one({**told._at(at_ms), f"{told.VALUE}{name}": 0.02}, True)
        bid = 0.02 * market.weights[pace_name(name, "multiplier")]
        if number % 2 == 0:
            paid = min(cost, bid)
            market.learn_one(told.win(at_ms, name, paid, key="", bid=bid, price=paid), True)
        else:
            market.learn_one(told.loss(at_ms, key="", bid=bid, price=None), False)


class Reading:
    """A market's numbers, as a replica of the same process has them."""

    def __init__(self, market: Market, version: int = 1) -> None:
        self._market = market
        self.version = version

    @property
    def weights(self) -> Any:
        return self._market.weights


def test_a_campaign_that_spends_too_fast_bids_less() -> None:
    market = Market(a_bidding())
    market.learn_one(is_set(a_campaign(budget_per_day=4.0)), True)

    a_day(market)

    assert MarketReader(Reading(market), a_bidding()).pace("shoes").multiplier < 0.7


def test_a_campaign_of_which_nothing_is_known_is_not_paced() -> None:
    reader = MarketReader(Reading(Market(a_bidding())), a_bidding())

    assert reader.pace("shoes").multiplier == 1.0
    assert reader.pace("shoes").rates == (1.0,)


def test_a_pace_is_read_as_the_pacer_has_it() -> None:
    market = Market(a_bidding())
    market.learn_one(is_set(a_campaign(budget_per_day=0.5, pacer="layered")), True)

    a_day(market)

    pace, own = MarketReader(Reading(market), a_bidding()).pace("shoes"), market._campaigns["shoes"].pacer.pace
    assert pace == own
    assert pace.rates != (1.0,)


def test_an_older_declaration_changes_nothing_and_a_newer_one_goes_on_from_what_was_spent() -> None:
    market, other = Market(a_bidding()), Market(a_bidding())
    for one in (market, other):
        one.learn_one(is_set(a_campaign(budget_per_day=10.0), version=5), True)
        a_day(one, auctions=100)
    before = market.to_bytes()

    market.learn_one(is_set(a_campaign(budget_per_day=99.0), version=4), True)

    assert market.to_bytes() == before
    market.learn_one(is_set(a_campaign(budget_per_day=20.0), version=6, at_ms=MIDNIGHT + 3 * HOUR), True)
    assert market._campaigns["shoes"].budget == 20.0


def test_another_pacer_paces_what_is_left_of_the_day() -> None:
    market = Market(a_bidding())
    market.learn_one(is_set(a_campaign(budget_per_day=10.0), version=1), True)
    market.learn_one(told.win(MIDNIGHT + HOUR, "shoes", 4.0, key="", bid=4.0, price=4.0), True)

    market.learn_one(is_set(a_campaign(budget_per_day=10.0, pacer="busy"), version=2), True)
    market.learn_one(told.win(MIDNIGHT + 2 * HOUR, "shoes", 1.0, key="", bid=1.0, price=1.0), True)
    market.learn_one(is_set(a_campaign(budget_per_day=10.0, pacer="dropping"), version=3), True)
    at_ms = MIDNIGHT + 3 * HOUR
    market.learn_one({**told._at(at_ms), f"{told.VALUE}shoes": 0.1}, True)
    today = market._campaigns["shoes"]
    flight = (today.spent_before, today.pacer._state.interval.progress.flight.budget)  # type: ignore[attr-defined]
    market.learn_one({**told._at(at_ms + DAY), f"{told.VALUE}shoes": 0.1}, True)

    assert flight == (5.0, 5.0)
    assert today.pacer._state.interval.progress.flight.budget == 10.0  # type: ignore[attr-defined]


def test_a_campaign_of_the_configuration_goes_on_as_the_configuration_has_it_now() -> None:
    def declared(**fields: Any) -> Bidding:
        return replace(a_bidding(), campaigns=(a_campaign(**fields),))

    before = Market(declared(budget_per_day=10.0))
    before.learn_one(told.win(MIDNIGHT + HOUR, "shoes", 4.0, key="", bid=4.0, price=4.0), True)
    same, other = Market(declared(budget_per_day=10.0)), Market(declared(budget_per_day=30.0, pacer="busy"))

    for one in (same, other):
        one.restore(before.to_bytes())

    assert same.to_bytes() == before.to_bytes()
    paced = other._campaigns["shoes"]
    assert (paced.budget, paced.number, paced.spent_before) == (30.0, 1, 4.0)


def test_what_is_told_is_never_refused_by_the_guard() -> None:
    dear = a_campaign(budget_per_day=999_999_999.0, tz_offset_min=-840)

    assert refusal(is_set(dear, version=1_000_000)) is None
    market = Market(a_bidding())
    market.learn_one(is_set(dear), True)
    assert market._campaigns["shoes"].budget == 999_999_999.0


def learned(core: LearningCore, *what: told.Told) -> None:
    first = core.next_offset
    examples = [
        Example(
            objective=MARKET,
            score_id=f"events-0-{offset}:{MARKET}",
            ts=told.time_of(one),
            label=True,
            features=one,
            score=0.0,
            model_version=0,
            topic="events",
            partition=0,
            offset=offset,
            seq=0,
            released_ts=0,
            use="learn",
        )
        for offset, one in enumerate(what, start=first)
    ]
    core.step([(one.offset, one) for one in examples])


def a_learner(market: Market) -> LearningCore:
    out = CrowdDistributor(MARKET, lineage="x", counts=market)
    return LearningCore(MARKET, lineage="x", estimator=market, distributor=out, publish_examples=100, judging=False)


def test_no_campaign_s_value_and_no_number_of_campaigns_keeps_an_opportunity_from_the_others() -> None:
    campaigns = tuple(a_campaign(name, budget_per_day=10.0) for name in ("shoes", "tents"))
    market, alone = (Market(replace(a_bidding(), campaigns=campaigns)) for _ in range(2))
    core = a_learner(market)
    own = told._at(MIDNIGHT + HOUR) | {"value:shoes": 0.02}

    learned(core, own | {"value:tents": 1e9}, own | {f"value:c{number}": 0.1 for number in range(5_000)})
    for _ in range(2):
        alone.learn_one(own, True)

    assert (core.learned, core.refused) == (2, 0)
    assert market._campaigns["shoes"].pacer.state() == alone._campaigns["shoes"].pacer.state()


def test_what_no_campaign_and_no_notice_can_say_is_refused() -> None:
    market = Market(a_bidding())
    core, before = a_learner(market), market.to_bytes()

    for name, number in [("value:shoes", 1.1e9), ("value:shoes", -0.1), ("cost:shoes", inf), ("bid:", nan)]:
        learned(core, told._at(MIDNIGHT) | {name: number})

    assert (core.learned, core.refused) == (0, 4)
    assert market.to_bytes() == before


def test_campaigns_change_however_many_records_their_topic_has_had() -> None:
    market = Market(a_bidding())
    core = a_learner(market)

    learned(core, is_set(a_campaign(budget_per_day=10.0), version=999_999))
    learned(core, is_set(a_campaign(budget_per_day=30.0), version=1_000_001))
    learned(core, is_set(a_campaign(budget_per_day=20.0), version=1_000_000))

    assert (market._campaigns["shoes"].budget, market._campaigns["shoes"].version) == (30.0, 1_000_001)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["value", "win", "loss", "set"]),
        st.sampled_from(["shoes", "tents"]),
        st.integers(0, 3 * DAY),
        st.floats(0.0, 1.0),
    ),
    max_size=60,
)


def play(market: Market, steps: Any, first: int = 0) -> None:
    names = list(PACERS)
    for number, (what, name, at_ms, money) in enumerate(steps, first):
        at_ms += MIDNIGHT
        if what == "value":
            market.learn_one({**told._at(at_ms), f"{told.VALUE}{name}": money}, True)
        elif what == "win":
            market.learn_one(told.win(at_ms, name, money, key="x", bid=money, price=money), True)
        elif what == "loss":
            market.learn_one(told.loss(at_ms, key="x", bid=money, price=None), False)
        else:
            pacer = names[int(money * 3.99)]
            market.learn_one(is_set(a_campaign(name, budget_per_day=1 + money, pacer=pacer), number + 1, at_ms), True)


@given(STEPS, STEPS)
def test_a_market_that_was_restored_goes_on_as_if_it_had_never_stopped(before: Any, later: Any) -> None:
    market = Market(a_bidding())
    play(market, before)
    restored = Market(a_bidding())
    restored.restore(market.to_bytes())

    for one in (market, restored):
        play(one, later, first=len(before))

    assert restored.to_bytes() == market.to_bytes()
    assert restored.weights == market.weights


@given(STEPS)
def test_numbers_reach_the_bidders_as_they_are(steps: Any) -> None:
    market = Market(a_bidding())
    distributor = CrowdDistributor("market", lineage="market", counts=market)
    replica = CrowdReplica({}, lineage="market", name="market")

    for version in range(0, len(steps), 7):
        play(market, steps[version : version + 7], first=version)
        for _, value in distributor.publish(version + 1):
            replica.follow(decode_model_record(value))  # type: ignore[arg-type]
        assert replica.weights == market.weights
        assert replica.version == version + 1
