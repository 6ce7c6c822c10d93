"""What the `bids` topic carries: one message for each bid request, also where no bid is made. Prices are CPM."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from schemas.examples import CrowdHash, CrowdValues, Version

BIDS_VERSION = 1

BID = "bid"


class Considered(Struct, omit_defaults=True):
    """How a campaign came off with a request.

    Attributes
    ----------
    reason
        ``bid``, or why it did not bid.
    value
        What the impression is worth to it, CPM; None: it was not asked, because the request is not for it.
    price
        What it would bid, CPM; 0: nothing.
    """

    reason: str
    value: float | None = None
    price: float = 0.0


class BidDecision(Struct, kw_only=True, omit_defaults=True):
    """What is bid, for whom and why.

    Attributes
    ----------
    reason
        ``bid``, or why none is made: that of the campaign that came closest.
    campaign, item_id
        Who bids, and for which ad; None: nobody.
    day
        On which of the campaign's days the cost counts.
    price
        The bid, CPM; 0: none.
    value
        What the impression is worth to the campaign, CPM.
    multiplier
        By which pacing scaled the value.
    p_click, p_conversion
        What the models say, calibrated; a conversion is given a click.
    win_rate
        Chance that the bid wins.
    expected_cost
        What the bid is expected to cost, CPM: the price if it wins, times the chance.
    considered
        All campaigns that run, by name.
    models
        Versions of the models that were asked, by objective; of a challenger that is served, by ``objective~variant``.
    market_version
        The `examples` offset up to which (exclusive) pacing and prices had come; 0: nothing yet.
    crowd, crowd_version, crowd_hash
        As of a `Score`.
    """

    reason: str
    campaign: str | None = None
    item_id: str | None = None
    day: str = ""
    price: Annotated[float, Meta(ge=0.0)] = 0.0
    value: float = 0.0
    multiplier: float = 1.0
    p_click: float = 0.0
    p_conversion: float | None = None
    win_rate: float = 0.0
    expected_cost: float = 0.0
    considered: dict[str, Considered] = {}
    models: dict[str, Version] = {}
    market_version: Version = 0
    crowd: CrowdValues = []
    crowd_version: Version = 0
    crowd_hash: CrowdHash = ""


class AnsweredBid(BidDecision, kw_only=True, omit_defaults=True):
    """A decision that was given over HTTP, as its request in the log has it.

    Attributes
    ----------
    bid_id
        What was told: it does not depend on where the request stands in the log, as a write whose acknowledgement was
        lost is repeated. Empty in answers of before: named after the request's offset.
    price, day
        As of the decision; no more than what books of a day can hold, since a partition books them as they come.
    """

    price: Annotated[float, Meta(ge=0.0, le=1e9)] = 0.0
    day: Annotated[str, Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$", max_length=10)] = ""
    bid_id: Annotated[str, Meta(max_length=300)] = ""


class Bid(BidDecision, kw_only=True, omit_defaults=True):
    """A decision, and which request it belongs to.

    Attributes
    ----------
    bid_id
        ``topic-partition-offset`` of the request, for notices to name; over HTTP ``topic-partition-number``, with a
        number above all offsets. The same after a crash, so a reader that keeps the first message of an id sees each
        bid once.
    ts
        Event time of the request, epoch ms.
    source_ts
        Kafka timestamp of the request's record, epoch ms.
    flags
        ``answered``: over HTTP, before the request was in the log.
    """

    bid_id: str
    event_id: str
    user_id: str
    ts: int
    topic: str
    partition: int
    offset: int
    source_ts: int
    flags: list[str] = []
    schema_version: Annotated[int, Meta(ge=1, le=BIDS_VERSION)] = 1
