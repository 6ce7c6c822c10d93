"""The clickstream: every event type that may appear on the `events` topic.

One struct per event type, told apart by the field ``type``. All types share one set of optional
context fields, so that a feature can read ``event.item_id`` of any event; a type that cannot do
without a field makes it required. Unknown fields are ignored, so producers may grow first.

Times are event times. On the wire ``ts`` is epoch milliseconds or an RFC 3339 string with an
offset; after `schemas.codec.decode_event` it is always an ``int`` of epoch milliseconds.

Versions: a reader of version N reads every version <= N. A new optional field or event type does
not raise ``schema_version``; a changed meaning does, and gets its conversion in the codec.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from schemas.bids import AnsweredBid
from schemas.campaigns import Campaign
from schemas.examples import CrowdHash, Version
from schemas.scores import Ranked

SCHEMA_VERSION = 1

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=2048)]
Money = Annotated[float, Meta(ge=0.0, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
DurationMs = Annotated[int, Meta(ge=0, le=7 * 86_400_000)]
Scalar = Annotated[str, Meta(max_length=256)] | bool | int | float | None
# RFC 3339 asks for an offset; a local time without one could mean any of 26 hours.
Timestamp = int | Annotated[datetime, Meta(tz=True)]
Properties = Annotated[dict[Annotated[str, Meta(max_length=64)], Scalar], Meta(max_length=64)]


# Not for the garbage collector: a tree, and many are made.
class EventBase(Struct, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """Fields that every event has or may have.

    Attributes
    ----------
    event_id
        Unique per event; a repeat of a user's recent id is a duplicate and is ignored.
    user_id
        Visitor, also the key of the record: all events of a user are on one partition.
    ts
        Event time. Wire: epoch ms or RFC 3339; in the core: ``int`` epoch ms.
    session_id
        Visit, if the site knows it; otherwise visits are cut by inactivity.
    tz_offset_min
        Visitor's UTC offset in minutes, for local hour and weekday.
    properties
        The site's own fields, at most 64 scalars; readable as features.
    """

    type: ClassVar[str] = ""

    event_id: Id
    user_id: Id
    ts: Timestamp
    schema_version: Annotated[int, Meta(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    session_id: Id | None = None
    item_id: Id | None = None
    category: Name | None = None
    price: Money | None = None
    quantity: Count | None = None
    position: Count | None = None
    url: Text | None = None
    referrer: Text | None = None
    user_agent: Text | None = None
    device: Name | None = None
    country: Name | None = None
    region: Name | None = None
    campaign: Name | None = None
    tz_offset_min: Annotated[int, Meta(ge=-840, le=840)] | None = None
    dwell_ms: DurationMs | None = None
    depth: Share | None = None
    properties: Properties | None = None


class PageView(EventBase, tag="page_view"):
    """A page was shown to the visitor."""

    type: ClassVar[str] = "page_view"


class Scroll(EventBase, kw_only=True, tag="scroll"):
    """The visitor scrolled to ``depth`` (0 top, 1 bottom) of a page."""

    type: ClassVar[str] = "scroll"
    depth: Share


class Search(EventBase, kw_only=True, tag="search"):
    """The visitor searched the site."""

    type: ClassVar[str] = "search"
    query: Annotated[str, Meta(max_length=512)] = ""


class Impression(EventBase, kw_only=True, tag="impression"):
    """An item, teaser or ad was shown; ``propensity`` is the chance with which it was chosen."""

    type: ClassVar[str] = "impression"
    item_id: Id
    propensity: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None


class Click(EventBase, kw_only=True, tag="click"):
    """An item was clicked."""

    type: ClassVar[str] = "click"
    item_id: Id


class AddToCart(EventBase, kw_only=True, tag="add_to_cart"):
    """``quantity`` (default 1) pieces of an item were put into the basket."""

    type: ClassVar[str] = "add_to_cart"
    item_id: Id


class RemoveFromCart(EventBase, kw_only=True, tag="remove_from_cart"):
    """``quantity`` (default: all) pieces of an item were taken out of the basket."""

    type: ClassVar[str] = "remove_from_cart"
    item_id: Id


class Purchase(EventBase, kw_only=True, tag="purchase"):
    """An order; ``value`` is its total. The basket is empty afterwards."""

    type: ClassVar[str] = "purchase"
    order_id: Id | None = None
    value: Money | None = None


class Candidate(Struct, kw_only=True, omit_defaults=True):
    """An item that may be shown, and what the site knows of it; fields as in an event."""

    item_id: Id
    category: Name | None = None
    price: Money | None = None
    properties: Properties | None = None


class Answered(Struct, kw_only=True, omit_defaults=True):
    """What a worker has answered to a rank request before it was in the log.

    Attributes
    ----------
    model, model_version, variant
        Whose scores these are, as on `scores`.
    ranked
        What the site was told to show, first place first.
    crowd_version, crowd_hash
        As of a `Score`.
    """

    model: Name
    model_version: Version
    ranked: Annotated[list[Ranked], Meta(min_length=1, max_length=100)]
    variant: Annotated[str, Meta(max_length=128)] = ""
    crowd_version: Version = 0
    crowd_hash: CrowdHash = ""


class RankRequest(EventBase, kw_only=True, tag="rank_request"):
    """The site asks for an order of ``candidates`` for this visitor; what it gets, it shows.

    Attributes
    ----------
    candidates
        Items, by id alone or with what is known of them.
    ranking
        Name of the declared ranking; not needed where there is one.
    answered
        Written by the HTTP API: the answer, which then stands; ``candidates`` are the items that are shown.
    """

    type: ClassVar[str] = "rank_request"
    candidates: Annotated[list[Id | Candidate], Meta(max_length=1000)] = []
    ranking: Name | None = None
    answered: Answered | None = None
    source: Name | None = None


class BidRequest(EventBase, kw_only=True, tag="bid_request"):
    """An exchange asks what an impression is worth; prices are CPM.

    Attributes
    ----------
    answered
        Written by the HTTP API: the bid, which then stands.
    """

    type: ClassVar[str] = "bid_request"
    floor: Money | None = None
    slot_width: Count | None = None
    slot_height: Count | None = None
    answered: AnsweredBid | None = None


class BidWin(EventBase, kw_only=True, tag="bid_win"):
    """The auction ``bid_id`` was won at ``win_price`` (CPM)."""

    type: ClassVar[str] = "bid_win"
    bid_id: Id
    win_price: Money


class BidLoss(EventBase, kw_only=True, tag="bid_loss"):
    """The auction ``bid_id`` was lost; ``win_price`` (CPM) where the exchange tells it."""

    type: ClassVar[str] = "bid_loss"
    bid_id: Id
    win_price: Money | None = None


class Consent(EventBase, kw_only=True, tag="consent"):
    """What the visitor said when asked for consent. Kept and counted like any event; nothing acts on ``granted``."""

    type: ClassVar[str] = "consent"
    granted: bool


class Custom(EventBase, kw_only=True, tag="custom"):
    """Anything else a site wants to count; ``name`` says what."""

    type: ClassVar[str] = "custom"
    name: Name


class Tick(Struct, kw_only=True, tag_field="type", tag="tick", omit_defaults=True):
    """Moves a partition's stream time on while no visitor does; written by the worker itself.

    It is in the log so that a replay closes the same windows at the same place.
    """

    type: ClassVar[str] = "tick"

    ts: Timestamp
    schema_version: Annotated[int, Meta(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION


class CampaignSet(Struct, kw_only=True, tag_field="type", tag="campaign_set", omit_defaults=True):
    """From here on a campaign runs as declared; written by the worker itself, from the topic `campaigns`.

    Attributes
    ----------
    ts
        Stream time when it was written.
    version
        Offset of the declaration on `campaigns`, plus one; a lower one than is known changes nothing.
    declaration
        None: it was taken away, or cannot be read; it does not bid.
    """

    type: ClassVar[str] = "campaign_set"

    ts: Timestamp
    campaign: Name
    version: Annotated[int, Meta(ge=1)]
    declaration: Campaign | None = None
    schema_version: Annotated[int, Meta(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION


class BudgetGranted(Struct, kw_only=True, tag_field="type", tag="budget_granted", omit_defaults=True):
    """The partition may spend more of a campaign's day; written by the worker itself, from the ledger.

    Attributes
    ----------
    ts
        Stream time when it was written.
    day
        Day of the campaign, such as ``2026-11-26``.
    epoch
        Of the ledger; a grant of another one than was begun last changes nothing.
    drawn
        All that the partition ever drew for that day, in millionths of the currency: repeats change nothing.
    committed
        What all together had drawn and not given back by then.
    returned, spent, moved
        What the ledger knows of the partition beside that, in case its books are lost; 0: they had `drawn` already.
    """

    type: ClassVar[str] = "budget_granted"

    ts: Timestamp
    campaign: Name
    day: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
    epoch: Name
    drawn: Annotated[int, Meta(ge=0)]
    committed: Annotated[int, Meta(ge=0)] = 0
    returned: Annotated[int, Meta(ge=0)] = 0
    spent: Annotated[int, Meta(ge=0)] = 0
    moved: Annotated[int, Meta(ge=0)] = 0
    schema_version: Annotated[int, Meta(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION


class LedgerBegun(Struct, kw_only=True, tag_field="type", tag="ledger_begun", omit_defaults=True):
    """From here on grants are those of another epoch of the ledger; written by the worker itself.

    A ledger that was lost begins a new one, and grants nothing before all partitions have told it what they had.
    """

    type: ClassVar[str] = "ledger_begun"

    ts: Timestamp
    epoch: Name
    schema_version: Annotated[int, Meta(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION


VisitorEvent = (
    PageView
    | Scroll
    | Search
    | Impression
    | Click
    | AddToCart
    | RemoveFromCart
    | Purchase
    | RankRequest
    | BidRequest
    | BidWin
    | BidLoss
    | Consent
    | Custom
)
# What workers write among the events, so that a replay meets it at the same place.
SystemEvent = Tick | CampaignSet | BudgetGranted | LedgerBegun
SYSTEM_EVENTS = (Tick, CampaignSet, BudgetGranted, LedgerBegun)
Event = VisitorEvent | Tick | CampaignSet | BudgetGranted | LedgerBegun

EVENT_TYPES: tuple[str, ...] = tuple(cls.type for cls in EventBase.__subclasses__())
