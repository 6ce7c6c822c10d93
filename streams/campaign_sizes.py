"""Whether a campaign fits into the partitions' logs, which it reaches as an event (`schemas.events.CampaignSet`).

An event above `worker.max_event_bytes` is refused by whoever reads it. So a campaign that does not fit would bid over
HTTP as it is declared now, and on the partitions as it was before. One that does not bid always fits: partitions need
not know whom it was meant for.
"""

from __future__ import annotations

from msgspec.structs import replace

from schemas.campaigns import Campaign
from schemas.codec import encode_json
from schemas.events import CampaignSet

# No time and no offset takes more digits.
_TS, _VERSION = 9_999_999_999_999, 2**63 - 1


def why_too_large(campaign: Campaign, max_event_bytes: int) -> str:
    """Return what is wrong with a campaign that does not fit; empty: it fits, or does not bid.

    Examples
    --------
    >>> shoes = Campaign(campaign="shoes", budget_per_day=1.0, value_per_click=1.0)
    >>> why_too_large(shoes, 100)
    'Expected at most 100 bytes as an event (worker.max_event_bytes), got 169; name fewer values, or raise the limit'
    >>> why_too_large(replace(shoes, active=False), 100)
    ''
    """
    if not campaign.active:
        return ""
    event = CampaignSet(ts=_TS, campaign=campaign.campaign, version=_VERSION, declaration=campaign)
    size = len(encode_json(event))
    if size <= max_event_bytes:
        return ""
    return (
        f"Expected at most {max_event_bytes} bytes as an event (worker.max_event_bytes), got {size}; "
        "name fewer values, or raise the limit"
    )


def fitting(campaign: Campaign, max_event_bytes: int) -> Campaign:
    """Return what partitions may be told of a campaign: of one that does not bid not for whom, if that is too much."""
    if campaign.active or not why_too_large(replace(campaign, active=True), max_event_bytes):
        return campaign
    return replace(campaign, targeting={}, properties=None)
