"""Campaigns: what an advertiser pays for, on the compacted topic `campaigns` and in files."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

CAMPAIGNS_VERSION = 1

Auction = Literal["first", "second"]
_Name = Annotated[str, Meta(min_length=1, max_length=128)]
# Currency; a budget above this is a mistake, and micros of it still fit into 63 bits.
_Money = Annotated[float, Meta(gt=0.0, le=1e9)]
_Cpm = Annotated[float, Meta(ge=0.0, le=1e6)]
_Scalar = Annotated[str, Meta(max_length=256)] | bool | int | float | None
_Properties = Annotated[dict[Annotated[str, Meta(max_length=64)], _Scalar], Meta(max_length=64)]


class Cap(Struct, forbid_unknown_fields=True):
    """At most so many impressions for one visitor within a time such as ``24h``."""

    impressions: Annotated[int, Meta(ge=1, le=100)]
    window: str


class Campaign(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is bought, for how much, and for whom. Unknown keys are refused: a misspelt bound must not be passed over.

    Attributes
    ----------
    campaign
        Its name, also the key of the record.
    budget_per_day
        In currency; days are those of `tz_offset_min`.
    value_per_click, value_per_conversion
        What one is worth, in currency; exactly one of the two is given.
    click, conversion
        Objectives whose models say how likely a click is, and, given a click, a conversion.
    item_id, category, price, properties
        The ad as features see it; `item_id` is the campaign's name unless said otherwise.
    starts, ends
        First and last day of the flight; None: open.
    targeting
        Conditions on features, as under ``when:`` of an objective.
    min_bid_cpm, max_bid_cpm
        A bid that comes out below is not made; one above is cut.
    auction
        "first": the winner pays the bid, which is shaded; "second": the winner pays the second price.
    pacer
        One of those declared under ``bidding: pacers:``.
    active
        False: it does not bid.
    """

    campaign: _Name
    budget_per_day: _Money
    value_per_click: _Money | None = None
    value_per_conversion: _Money | None = None
    click: _Name | None = None
    conversion: _Name | None = None
    item_id: _Name | None = None
    category: _Name | None = None
    price: Annotated[float, Meta(ge=0.0, le=1e9)] | None = None
    properties: _Properties | None = None
    starts: date | None = None
    ends: date | None = None
    tz_offset_min: Annotated[int, Meta(ge=-840, le=840)] = 0
    targeting: dict[str, dict[str, Any]] = {}
    cap: Cap | None = None
    min_bid_cpm: _Cpm = 0.0
    max_bid_cpm: Annotated[float, Meta(gt=0.0, le=1e6)] = 1e6
    auction: Auction = "second"
    pacer: _Name | None = None
    active: bool = True
    schema_version: Annotated[int, Meta(ge=1, le=CAMPAIGNS_VERSION)] = 1

    @property
    def ad(self) -> str:
        """The item that a click on the ad names."""
        return self.item_id or self.campaign
