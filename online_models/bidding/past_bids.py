"""Past bids of one visitor: what is remembered of them, so that a late win finds the campaign and the day that pay.

Some bids are remembered whole (`UserBids.bids`). Of those beyond, only offsets are kept, in groups of the same
campaign, ad, day, state and hour. A bid that waits for its notice is always whole, and never dropped.

A visitor's bids that had no notice are not forgotten within a day either: where there are too many, no bid is made
(`is_unsettled`). That bounds what one visitor's state holds, whoever stands behind the id: a bot, or all visitors that
nobody could tell apart. Of what exchanges have told of, the oldest goes first.
"""

from __future__ import annotations

from online_models.bidding.declaration import HOUR_MS, REMEMBER_MS
from schemas.user_state import PastBids, UserBids

OPEN, WON, LOST, EXPIRED = range(4)
# Bids over HTTP are numbered from here: no offset is so high, and so they share the place of offsets.
FIRST_NUMBER, LAST_NUMBER = 1 << 62, (1 << 63) - 1
# Bids that are remembered whole.
MOST_BIDS = 64
# Bids of a visitor that may wait for notices at a time: each of them is read and written with every event.
MOST_OPEN = 64
# Bids that are remembered at all, 5 bytes each, or 9 over HTTP: one each 42 seconds, all day. Whoever sees more ads is
# no visitor.
MOST_REMEMBERED = 2_048


def is_unsettled(bids: UserBids, now_ms: int) -> bool:
    """Tell whether so many bids wait for notices, or never had one, that no further one could be remembered."""
    is_open = sum(one.state == OPEN for one in bids.bids)
    if is_open >= MOST_OPEN:
        return True
    if not bids.past:
        return False
    since = now_ms - REMEMBER_MS
    expired = sum(one.state == EXPIRED and one.ts > since for one in bids.bids)
    past = sum(len(one.offsets) for one in bids.past if one.state == EXPIRED and one.ts > since)
    return is_open + expired + past >= MOST_REMEMBERED


def prune(bids: UserBids, now_ms: int) -> None:
    """Forget what is older than a day, and keep only the newest whole; to be called before a bid is added."""
    since = now_ms - REMEMBER_MS
    kept = [one for one in bids.bids if one.state == OPEN or one.ts > since]
    if bids.past:
        bids.past = [one for one in bids.past if one.ts > since]
    surplus = len(kept) - MOST_BIDS + 1
    if surplus > 0:
        closed = [one for one in kept if one.state != OPEN][:surplus]
        for one in closed:
            _remember(bids.past, one.campaign, one.item_id, one.day, one.state, one.ts, one.offset)
        gone = {one.offset for one in closed}
        kept = [one for one in kept if one.offset not in gone]
        _forget_told(bids.past)
    bids.bids = kept


def is_known(bids: UserBids, offset: int) -> bool:
    """Tell whether a bid is remembered, whole or not."""
    return any(one.offset == offset for one in bids.bids) or find(bids, offset) is not None


def find(bids: UserBids, offset: int) -> PastBids | None:
    """Return the group that a bid is in, by the offset of its request, or its number; None: nothing is known of it."""
    return next((one for one in bids.past if offset in one.offsets), None)


def win(bids: UserBids, group: PastBids, offset: int) -> None:
    """Remember that a bid was won after all."""
    group.offsets.remove(offset)
    if not group.offsets:
        bids.past = [one for one in bids.past if one is not group]
    _remember(bids.past, group.campaign, group.item_id, group.day, WON, group.ts, offset)


def _remember(past: list[PastBids], campaign: str, item_id: str, day: str, state: int, ts: int, offset: int) -> None:
    hour = ts // HOUR_MS
    for one in past:
        if (one.campaign, one.item_id, one.day, one.state) == (campaign, item_id, day, state) and (
            one.ts // HOUR_MS == hour
        ):
            one.offsets.append(offset)
            one.ts = max(one.ts, ts)
            return
    past.append(PastBids(campaign, item_id, day, state, ts, [offset]))


def _forget_told(past: list[PastBids]) -> None:
    """Forget the oldest bids that had their notice, beyond what is remembered at all."""
    surplus = sum(len(one.offsets) for one in past) - MOST_REMEMBERED
    if surplus <= 0:
        return
    for one in sorted((one for one in past if one.state != EXPIRED), key=lambda one: one.ts):
        cut = min(surplus, len(one.offsets))
        del one.offsets[:cut]
        surplus -= cut
    past[:] = [one for one in past if one.offsets]
