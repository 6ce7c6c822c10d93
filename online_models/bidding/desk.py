"""Desk: the bidding of one partition. It answers bid requests, books notices, and tells the market's learner of both.

Part of the scoring core, and like it a function of the log: campaigns come as records (`CampaignSet`), so does the
right to spend (`BudgetGranted`), and what a bid has reserved is stored with the offset of its request.

A bid waits for its notice until its window has passed, and counts as lost then; nothing else ends its waiting. Stream
time may be ahead by `MAX_AHEAD_MS` after a visitor whose clock is fast, and a request's own time behind. So the window
begins at the latest time that a request knows, and ends when both stream time and Kafka's timestamps say so. A bid is
remembered for a day (`past_bids`): a repeated notice changes nothing, a late win is booked. Only such a win, and one
that costs more than was bid, can be more than what had been set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from online_models.bidding import past_bids, told
from online_models.bidding.allowances import Allowances, Books
from online_models.bidding.bidder import BUDGET, Bidder
from online_models.bidding.campaigns import Checked
from online_models.bidding.market import MARKET
from online_models.bidding.money import MICROS, micros_of_cpm, per_impression
from online_models.bidding.past_bids import EXPIRED, FIRST_NUMBER, LAST_NUMBER, LOST, OPEN, WON
from online_models.bidding.pot import Pot
from online_models.errors import ConfigError
from online_models.features import FeatureSet
from online_models.step import Collected
from online_models.telling import Telling
from online_models.timers import Timers
from schemas.bids import BID, AnsweredBid, Bid, BidDecision
from schemas.campaigns import Campaign
from schemas.codec import MAX_AHEAD_MS, pack_values, unpack_values
from schemas.events import BidLoss, BidRequest, BidWin, BudgetGranted, CampaignSet, LedgerBegun
from schemas.user_state import BiddingMeta, KnownCampaign, OpenBid, UserBids, UserState

ANSWERED = "answered"
# What became of bids; what is counted of a step in its notes.
NOTICES = (WIN, LOSS, LATE_WIN, REPEATED, UNKNOWN, UNKNOWN_LOSS, MISSING, ABOVE_BID, GONE) = (
    "win",
    "loss",
    "late_win",
    "notice_repeated",
    "notice_of_unknown_bid",  # a win: it was paid for, and nobody knows by whom
    "loss_of_unknown_bid",
    "notice_missing",
    "paid_above_bid",
    "bid_of_unknown_campaign",
)

# No bid is made for a request that is older: nobody waits for it, and clocks are not further off.
TOO_LATE, MOST_LATE_MS = "too_late", MAX_AHEAD_MS

Check = Callable[[Campaign], Checked]


class Desk:
    """Bids for the impressions of one partition's users.

    Parameters
    ----------
    check
        Checks a declaration against the configuration; raises ConfigError.
    declared
        Campaigns of the configuration's file.
    telling
        Tells the market's learner; None: nobody is told.
    meta
        What the store held; None: nothing.
    pot
        What the desks of a replay may spend together; None: only what the ledger grants may be spent.

    Attributes
    ----------
    published
        By bid_id, bids of the events to come that were published before a crash: they stand.
    """

    def __init__(
        self,
        bidder: Bidder,
        *,
        check: Check,
        declared: Mapping[str, Campaign],
        features: FeatureSet,
        telling: Telling | None,
        timers: Timers,
        topic: str,
        partition: int,
        notice_window_ms: int,
        meta: BiddingMeta | None = None,
        pot: Pot | None = None,
    ) -> None:
        self._bidder = bidder
        self._check = check
        self._features = features
        self._telling = telling
        self._timers = timers
        self._topic = topic
        self._partition = partition
        self._id_prefix = f"{topic}-{partition}-"
        self._notice_window_ms = notice_window_ms
        self._known: dict[str, KnownCampaign] = {}
        self.allowances: Books = pot or self._stored(meta)
        if pot and meta:
            pot.restore(meta.allowances)
        self.published: Mapping[str, Bid] = {}
        for campaign in declared.values():
            self._run(campaign.campaign, campaign)
        for known in meta.campaigns if meta else ():
            self._known[known.name] = known
            self._run(known.name, known.declaration)

    @staticmethod
    def _stored(meta: BiddingMeta | None) -> Allowances:
        if meta is None:
            return Allowances()
        return Allowances(meta.allowances, epoch=meta.epoch, bidding=meta.bidding)

    def meta(self, stream_time_ms: int) -> BiddingMeta:
        """Return what the store must hold to continue from here."""
        books = self.allowances.state(stream_time_ms)
        own = self.allowances.bidding()
        return BiddingMeta(list(self._known.values()), books, self.allowances.epoch, own, self._notice_window_ms)

    def tidy(self, stream_time_ms: int) -> None:
        """Let go of what is kept for a worker to take, and of books that are closed at a stream time; for replays."""
        self.allowances.take_wants()
        self.allowances.take_changed()
        self.allowances.close_days(stream_time_ms)

    def version_of(self, campaign: str) -> int:
        """Return the version of a campaign that the log has told of; 0: none."""
        known = self._known.get(campaign)
        return known.version if known else 0

    # ---------------------------------------------------------------- campaigns and budgets

    def take(self, event: CampaignSet | BudgetGranted | LedgerBegun, out: Collected) -> None:
        """Take in what the worker has written into the log."""
        if isinstance(event, LedgerBegun):
            self.allowances.begin(event.epoch)
        elif isinstance(event, BudgetGranted):
            known = {"returned": event.returned, "spent": event.spent, "moved": event.moved}
            place = event.campaign, event.day
            self.allowances.receive(place, event.epoch, event.drawn, event.committed, **known)
        elif event.version > self.version_of(event.campaign):
            self._known[event.campaign] = KnownCampaign(event.campaign, event.version, event.declaration)
            self._run(event.campaign, event.declaration)
            campaign = self._bidder.campaigns.get(event.campaign)
            self._tell(told.campaign_is(out.stream_time_ms, event.campaign, event.version, campaign), out)

    def _run(self, name: str, declared: Campaign | None) -> None:
        self._bidder.campaigns.pop(name, None)
        if declared is None:
            return
        try:
            self._bidder.campaigns[name] = self._check(declared)
        except ConfigError:
            return  # a campaign whose data is wrong never bids

    def _budget_of(self, campaign: str) -> int:
        found = self._bidder.campaigns.get(campaign)
        return found.budget if found else 0

    # ---------------------------------------------------------------- requests

    def answer(self, request: BidRequest, source_ts: int, user: UserState, out: Collected) -> bool:
        """Decide about a request, and set aside what the bid can cost.

        Returns
        -------
        bool
            True; False: nobody decides here, and the event is like any other.
        """
        bids = user.bidding or UserBids()
        past_bids.prune(bids, out.stream_time_ms)
        bid_id = self._id_of(request, out.offset)
        decision: BidDecision | None = self._standing(request, bid_id)
        flags = [ANSWERED] if isinstance(decision, AnsweredBid) else []
        if decision is None and request.ts < _now_ms(source_ts, out) - MOST_LATE_MS:  # type: ignore[operator]  # int
            decision = BidDecision(reason=TOO_LATE)
        if decision is None:
            decision, _ = self._bidder.decide(request, user.slots, bids, self._affordable)
        bid = self._bid(decision, bid_id, request, source_ts, flags, out.offset)
        if ANSWERED not in bid.flags:  # whether it is made now or was published before
            self._note_shortage(bid, request)
        out.bids.append(bid)
        self._tell(told.opportunities(bid.ts, bid), out)
        if bid.campaign is not None and bid.reason == BID and not self._moved_in(bid, bids):
            self._open(bid, request, user, bids, out)
        return True

    def _standing(self, request: BidRequest, bid_id: str) -> Bid | AnsweredBid | None:
        """Return what was published of a request before a crash, or answered over HTTP; None: neither."""
        published = self.published.get(bid_id)
        if published is not None and published.event_id == request.event_id:
            return published
        return request.answered

    def repeated(self, request: BidRequest, source_ts: int, user: UserState, out: Collected) -> None:
        """Take in what a request was answered over HTTP that is passed over, as it came before.

        A copy of the record tells nothing. Whoever asked again was told of another bid, which stands: it is paid for,
        and its notices are booked. It is not published, as a request gets one message.
        """
        answered, bid_id = request.answered, self._id_of(request, out.offset)
        if answered is None or answered.bid_id != bid_id or answered.reason != BID or answered.campaign is None:
            return
        bids = user.bidding or UserBids()
        bid = self._bid(answered, bid_id, request, source_ts, [ANSWERED], out.offset)
        if not self._moved_in(bid, bids):
            past_bids.prune(bids, out.stream_time_ms)
            self._open(bid, request, user, bids, out)

    def _id_of(self, request: BidRequest, offset: int) -> str:
        """Return the id that a request's bid was given over HTTP, or the one that is its place in the log."""
        given = request.answered.bid_id if request.answered else ""
        numbered = FIRST_NUMBER <= self._offset_of(given) <= LAST_NUMBER
        return given if numbered else f"{self._id_prefix}{offset}"

    def _moved_in(self, bid: Bid, bids: UserBids) -> bool:
        """Tell whether what a bid over HTTP can cost has come here before: its record may be in the log twice."""
        return ANSWERED in bid.flags and past_bids.is_known(bids, self._offset_of(bid.bid_id))

    def _affordable(self, campaign: Checked, day: str, amount: int) -> bool:
        return amount <= self.allowances.free((campaign.name, day), campaign.budget)

    def _note_shortage(self, decision: BidDecision, request: BidRequest) -> None:
        ts: int = request.ts  # type: ignore[assignment]  # decoded: int
        for name, one in decision.considered.items():
            campaign = self._bidder.campaigns.get(name)
            if one.reason == BUDGET and campaign is not None:
                place = name, campaign.day(ts)
                self.allowances.fall_short(place, micros_of_cpm(one.price), campaign.budget)

    def _bid(
        self,
        decision: BidDecision,
        bid_id: str,
        request: BidRequest,
        source_ts: int,
        flags: list[str],
        offset: int,
    ) -> Bid:
        if isinstance(decision, Bid):
            return decision
        fields = {name: getattr(decision, name) for name in BidDecision.__struct_fields__}
        return Bid(
            **fields,
            bid_id=bid_id,
            event_id=request.event_id,
            user_id=request.user_id,
            ts=request.ts,  # type: ignore[arg-type]  # decoded: int
            topic=self._topic,
            partition=self._partition,
            offset=offset,
            source_ts=source_ts,
            flags=flags,
        )

    def _open(
        self,
        bid: Bid,
        request: BidRequest,
        user: UserState,
        bids: UserBids,
        out: Collected,
    ) -> None:
        name, reserved = str(bid.campaign), micros_of_cpm(bid.price)
        campaign = self._bidder.campaigns.get(name)
        values: list[Any] = []
        if campaign is None:  # taken away since the bid was made elsewhere: a win has to be paid, and teaches nothing
            out.notes[GONE] += 1
        else:
            values = self._bidder.values_of(campaign, request, user.slots)
            if bid.crowd:  # as they were when the bid was made
                values = self._features.with_crowd(values, bid.crowd, bid.crowd_hash)
        if ANSWERED in bid.flags:
            self.allowances.move_in((name, bid.day), reserved)
        else:
            self.allowances.reserve((name, bid.day), reserved, self._budget_of(name))
        one = OpenBid(
            offset=self._offset_of(bid.bid_id),
            campaign=name,
            item_id=bid.item_id or name,
            day=bid.day,
            ts=bid.ts,
            reserved=reserved,
            key=self._bidder.key_of(values) if values else "",
            first_price=campaign is None or campaign.declared.auction == "first",
            values=pack_values(values),
        )
        if request.floor is not None and not one.first_price:
            one.floor = micros_of_cpm(request.floor)
        now_ms = _now_ms(bid.source_ts, out)
        one.late_ms = max(out.stream_time_ms, now_ms) - one.ts
        bids.bids.append(one)
        user.bidding = bids
        ahead_ms = max(out.stream_time_ms - now_ms, 0)
        self._timers.earlier(request.user_id, self._due_ms(one) + ahead_ms)

    # ---------------------------------------------------------------- notices

    def notice(
        self, event: BidWin | BidLoss, user: UserState, out: Collected
    ) -> tuple[BidWin | BidLoss, list[Any] | None]:
        """Book what an exchange tells of a bid.

        Returns
        -------
        event
            With what the exchange does not know: the ad, and the campaign.
        values
            Feature values at the request, of a bid that has just been won; else None.
        """
        offset = self._offset_of(event.bid_id)
        known = user.bidding or UserBids()
        one = next((one for one in known.bids if one.offset == offset), None)
        if one is None:
            return self._notice_of_past(event, offset, known, out), None
        event = replace(event, item_id=one.item_id, campaign=one.campaign)
        if one.state == WON or (isinstance(event, BidLoss) and one.state != OPEN):
            out.notes[REPEATED] += 1
            return event, None
        if isinstance(event, BidWin):
            self._win(one, event.ts, event.win_price, known, out)  # type: ignore[arg-type]  # decoded: int
            return event, unpack_values(one.values) or None
        out.notes[LOSS] += 1
        self._release(one, LOST)
        # Where the second price is paid, the winner's is not the price to beat but the highest bid of those who lost.
        price = per_impression(event.win_price) if one.first_price and event.win_price is not None else None
        self._tell(told.loss(one.ts, key=one.key, bid=one.reserved / MICROS, price=price), out, label=False)
        return event, None

    def _offset_of(self, bid_id: str) -> int:
        """Return the offset of a bid's request, or the number that it was given; -1: it was not of this partition."""
        offset = bid_id.removeprefix(self._id_prefix)
        return int(offset) if offset != bid_id and offset.isdecimal() and str(int(offset)) == offset else -1

    def _notice_of_past(self, event: BidWin | BidLoss, offset: int, bids: UserBids, out: Collected) -> BidWin | BidLoss:
        """Book what is told of a bid of which only campaign and day are remembered, if that."""
        group = past_bids.find(bids, offset)
        if group is None:
            out.notes[UNKNOWN if isinstance(event, BidWin) else UNKNOWN_LOSS] += 1
            return event
        if group.state == WON or isinstance(event, BidLoss):
            out.notes[REPEATED] += 1
        else:
            cost = micros_of_cpm(event.win_price)
            past_bids.win(bids, group, offset)
            self.allowances.spend((group.campaign, group.day), cost)
            self._late(group.campaign, group.ts, cost / MICROS, out)
            self._count_for_cap(group.campaign, event.ts, bids)  # type: ignore[arg-type]  # decoded: int
        return replace(event, item_id=group.item_id, campaign=group.campaign)

    def _win(self, one: OpenBid, ts: int, win_price: float, bids: UserBids, out: Collected) -> None:
        cost = micros_of_cpm(win_price)
        if cost > one.reserved:
            out.notes[ABOVE_BID] += 1
        amount, bid = cost / MICROS, one.reserved / MICROS
        self.allowances.spend((one.campaign, one.day), cost)
        if one.state == OPEN:
            out.notes[WIN] += 1
            self._release(one, WON)
            price = None if one.first_price else amount
            if 0 < cost <= one.floor:  # whatever the others bid, if anything, was at most the floor
                bid, price = one.floor / MICROS, None
            self._tell(told.win(one.ts, one.campaign, amount, key=one.key, bid=bid, price=price), out)
        else:
            one.state = WON
            self._late(one.campaign, one.ts, amount, out)
        self._count_for_cap(one.campaign, ts, bids)

    def _late(self, campaign: str, ts: int, amount: float, out: Collected) -> None:
        out.notes[LATE_WIN] += 1
        self._tell(told.late_win(ts, campaign, amount), out)

    def _count_for_cap(self, name: str, ts: int, bids: UserBids) -> None:
        campaign = self._bidder.campaigns.get(name)
        if campaign is not None and campaign.declared.cap is not None:
            seen = [*bids.wins.get(name, ()), ts]
            bids.wins[name] = sorted(seen)[-campaign.declared.cap.impressions :]

    def _release(self, one: OpenBid, state: int) -> None:
        one.state = state
        self.allowances.release((one.campaign, one.day), one.reserved, self._budget_of(one.campaign))

    # ---------------------------------------------------------------- time

    def _due_ms(self, one: OpenBid) -> int:
        return one.ts + one.late_ms + self._notice_window_ms + 1

    def expire_due(self, user: UserState, due_ms: int, out: Collected) -> None:
        """Count as lost what has waited for a notice for too long."""
        until_ms = min(due_ms, out.clock_ms)
        for one in user.bidding.bids if user.bidding else ():
            if one.state == OPEN and self._due_ms(one) <= until_ms:
                self._expire(one, out)

    def _expire(self, one: OpenBid, out: Collected) -> None:
        out.notes[MISSING] += 1
        self._release(one, EXPIRED)
        self._tell(told.loss(one.ts, key=one.key, bid=one.reserved / MICROS, price=None), out, label=False)

    def next_due_ms(self, user: UserState, out: Collected | None = None) -> int | None:
        """Return at which stream time to look at a user's open bids again; None: none is open.

        Parameters
        ----------
        out
            Of the event that has closed windows: where stream time is ahead of its clock, what is not yet due by the
            clock is looked at as much later. None: when the earliest is due.
        """
        bids = user.bidding.bids if user.bidding else ()
        due_ms = min((self._due_ms(one) for one in bids if one.state == OPEN), default=None)
        if due_ms is None or out is None or due_ms <= out.clock_ms:
            return due_ms
        return due_ms + out.stream_time_ms - out.clock_ms

    def forget_values(self, user: UserState) -> None:
        """Let go of feature values that were made with another layout; what is owed stays."""
        for one in user.bidding.bids if user.bidding else ():
            one.values = pack_values([])

    def _tell(self, what: told.Told, out: Collected, *, label: bool = True) -> None:
        if what and self._telling is not None:
            self._telling.release(MARKET, what, out.stream_time_ms, out, label=label)


def _now_ms(source_ts: int, out: Collected) -> int:
    """Return what time it is at a record, epoch ms, whatever visitors' clocks say.

    Its Kafka timestamp tells, unless that is far from stream time: an old log may have been written to the topic.
    """
    stream_ms = out.stream_time_ms
    return max(source_ts, stream_ms - MAX_AHEAD_MS) if source_ts <= stream_ms + MAX_AHEAD_MS else stream_ms
