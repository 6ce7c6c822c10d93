"""What the state store holds for a user: accumulators, recent event ids, open attributions.

Packed as msgpack arrays, because a shop has millions of users and each byte counts: an
untouched slot costs one byte. The first field says by which layout to read the slots.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from schemas.campaigns import Campaign
from schemas.examples import RawShadows, Shadows

# The grace of an `OpenAttribution` that does not say it: the default when that was first kept. It stays.
USUAL_GRACE_MS = 5_000


# Not for the garbage collector: a tree, and many are made.
class OpenAttribution(Struct, array_like=True, gc=False):
    """A trigger that waits for its outcome or for the end of its window.

    Attributes
    ----------
    objective
        Name of the objective.
    offset
        Offset of the trigger on its partition; the score_id follows from it.
    key
        Item or session that an outcome must share; empty when any outcome of the user counts.
    ts
        Event time of the trigger, epoch ms.
    values
        Compact feature values at the trigger, in the order of the layout; those that the objective needs, beside the
        mask of their places (`online_models.kept_values`). Packed, because they are written with each later event of
        the visitor and read once. A list of before holds all, one per base feature.
    score, model_version
        As published.
    hit
        An outcome has come; the example waits for the end of the window.
    variant, shadows, raw, raw_shadows
        As in `schemas.examples.Example`.
    place
        Of an item that answered a rank request: its place in the list, from 1; 0: no ranking.
    closes_after_ms
        Its window and grace, as they were declared when it opened; -1: of before, when the present declaration counted.
        A state may still hold it when stream time has passed that: the visitor was not written for it
        (`online_models.open_triggers`).
    grace_ms
        How much of `closes_after_ms` is grace, in which no outcome counts; None: `USUAL_GRACE_MS`, or not known, of a
        version before.
    """

    objective: str
    offset: int
    key: str
    ts: int
    values: Raw
    score: float
    model_version: int
    hit: bool = False
    variant: str = ""
    shadows: Shadows | None = None
    place: int = 0
    raw: float | None = None
    raw_shadows: RawShadows | None = None
    closes_after_ms: int = -1
    grace_ms: int | None = None


class OpenBid(Struct, array_like=True):
    """A bid of ours that waits for its notice, or had it; it is kept a while so that a repeated notice is known.

    Attributes
    ----------
    offset
        Offset of the request on its partition, or the number that the HTTP API gave the bid; the bid_id follows.
    campaign, item_id, day
        Who bid for which ad, and on which of the campaign's days it counts.
    ts
        Event time of the request, epoch ms.
    reserved
        The most it can cost, in millionths of the currency.
    key
        Slice of the win-price model.
    first_price
        The winner pays the bid.
    values
        Compact feature values at the request, as of an `OpenAttribution`.
    state
        0 open, 1 won, 2 lost, 3 no notice came in time.
    late_ms
        How long after `ts` the wait for its notice began; 0 in states of before.
    floor
        Of a second-price auction: the least that a win can cost, in millionths of the currency; 0: there is no floor,
        or the state is of before.
    """

    offset: int
    campaign: str
    item_id: str
    day: str
    ts: int
    reserved: int
    key: str
    first_price: bool
    values: Raw
    state: int = 0
    late_ms: int = 0
    floor: int = 0


class PastBids(Struct, array_like=True):
    """Bids of one campaign, ad, day and hour that wait for nothing; see `online_models.bidding.past_bids`.

    Attributes
    ----------
    campaign, item_id, day, state
        As of an `OpenBid`; never open.
    ts
        Event time of the latest request, epoch ms.
    offsets
        Of the requests; the bid_ids follow from them.
    """

    campaign: str
    item_id: str
    day: str
    state: int
    ts: int
    offsets: list[int]


class UserBids(Struct, array_like=True):
    """Bids for impressions of one user.

    Attributes
    ----------
    bids
        Those that are open, and the newest of the others, in the order of their requests.
    wins
        By campaign with a frequency cap, when its last impressions were won, epoch ms.
    past
        What is remembered of older ones; states of before have none.
    """

    bids: list[OpenBid] = []
    wins: dict[str, list[int]] = {}
    past: list[PastBids] = []


# Of states that are written now; see `UserState.form`.
FORM = 1
# Of the digest of an event id. 40 bits: of 3 * 10**10 events of visitors with full rings, one would wrongly count as a
# repeat.
DIGEST_BYTES = 5


# Not for the garbage collector either.
class UserState(Struct, array_like=True, gc=False):
    """All that is known of one user on one partition.

    Attributes
    ----------
    layout
        First 32 bits of the hash of the feature declaration that the slots belong to: the id of its `Layout`.
    last_ts
        Highest event time folded, epoch ms.
    recent_ids
        Digests of the user's last event ids, five bytes each, oldest first, to drop duplicates. States of before
        hold more of each digest, see `form`.
    slots
        Accumulators of the features, in the order of the layout; None: untouched.
    outcome_ts
        Highest event time of each event type that is an outcome, in the order of the layout; those at its end may be
        missing, which came to the layout after the state was stored.
    open
        Open attributions, in the order of their triggers' offsets.
    bidding
        Bids for the user's impressions; None: there were none.
    form
        How `recent_ids` is to be read: `FORM`, or 0, of before: six bytes each, or a list of numbers, of which the
        digest is the beginning of eight bytes. `decode_user_state` makes `FORM` of all.
    resting
        Of a visitor who has left: `slots` and `outcome_ts`, which are empty then, as `schemas.resting` packs them;
        None: they are in their places. `online_models.rest` puts them there and back.
    """

    layout: int
    last_ts: int
    recent_ids: bytes | list[Annotated[int, Meta(ge=0)]]
    slots: list[Any]
    outcome_ts: list[int]
    open: list[OpenAttribution]
    bidding: UserBids | None = None
    form: int = 0
    resting: bytes | None = None


class Layout(Struct, array_like=True, frozen=True):
    """How the positional fields of a `UserState` are to be read.

    Attributes
    ----------
    id
        The value of ``UserState.layout``; it tells the features, whatever the objectives.
    slot_keys
        Names of the slots; a later layout takes over the slots whose names it still has.
    outcome_types
        Names of the event types behind ``UserState.outcome_ts``. What comes with the objectives stands at the end, and
        nothing goes (`online_models.layouts`).
    began_with
        How many of them there were at first, and hence are in each state; -1: a layout of before, which had another
        order with each change of the objectives: states with another number of times tell nothing.
    """

    id: int
    slot_keys: tuple[str, ...]
    outcome_types: tuple[str, ...]
    began_with: int = -1


class Allowance(Struct, array_like=True):
    """What a partition may spend of a campaign's day, in millionths of the currency.

    Attributes
    ----------
    received
        Drawn from the ledger.
    moved
        Came with bids that were made over HTTP, where it had been drawn; of the whole day.
    returned
        Given back, whether received or moved.
    spent
        Cost of impressions that were won.
    reserved
        The most that open bids can cost.
    seen
        What all had drawn together, by the latest grant.
    """

    campaign: str
    day: str
    received: int = 0
    moved: int = 0
    returned: int = 0
    spent: int = 0
    reserved: int = 0
    seen: int = 0


class KnownCampaign(Struct, array_like=True):
    """A campaign as the partition's log told it last; see `schemas.events.CampaignSet`."""

    name: str
    version: int
    declaration: Campaign | None


class BiddingMeta(Struct, array_like=True):
    """What a partition knows of campaigns, and of the ledger's epoch by which it may spend.

    Attributes
    ----------
    bidding
        For each of the allowances, whether the partition has bid with it itself, or wanted to. Empty in states of
        before, in which all count as such.
    notice_window_ms
        How long bids wait for their notices, for when bidding is taken out of the configuration; 0: of before.
    """

    campaigns: list[KnownCampaign]
    allowances: list[Allowance]
    epoch: str = ""
    bidding: list[bool] = []
    notice_window_ms: int = 0


class Labelling(Struct, array_like=True, frozen=True):
    """How the triggers of an objective get their labels, as declared; see `online_models.labelling`.

    Attributes
    ----------
    match
        What a trigger and its outcome share: item, session or user.
    immediate
        Whether labels are learned as they come, and not at the end of the window.
    since
        Offset of the first trigger that was opened like this; 0: all were, 2 ** 63 - 1: none was so far.
    was_gone
        Whether the objective had been left out before `since`, or is new; otherwise it was declared in another way.
    """

    match: str
    immediate: bool
    since: int = 0
    was_gone: bool = False


class PartitionMeta(Struct, array_like=True):
    """What the store holds for a partition beside its users and its next offset.

    Attributes
    ----------
    layouts
        Every layout by which a user's state may still be packed, newest first.
    stream_time_ms
        Highest event time seen, epoch ms.
    open_count
        Open attributions of all users of the partition.
    scores_end
        Offset on `scores` behind the last score that the state reflects; scores behind it were published by
        whoever was cut off before the state was stored. -1: not known.
    bids_end
        The same on `bids`.
    bidding
        Campaigns and what may be spent; kept where bidding was taken out of the configuration. None: it never bid.
    open_by_end
        Of the open attributions, how many have windows that end in which span of event time; of before: none are told
        (`online_models.open_count`).
    publish_from
        While the partition of a lost store is rebuilt: the offset below which all was published before the loss, so
        that nothing is published below it; 0: that is passed, or there was none.
    labelling
        By objective; None: of a version before, which did not tell.
    """

    layouts: list[Layout]
    stream_time_ms: int
    open_count: int
    scores_end: int = -1
    bids_end: int = -1
    bidding: BiddingMeta | None = None
    open_by_end: dict[int, int] = {}
    publish_from: int = 0
    labelling: dict[str, Labelling] | None = None
