"""Which versions the published scores name, for a replay as it was live."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from online_models.bidding.market import MARKET
from online_models.crowd import CROWD
from schemas.bids import BID, Bid
from schemas.codec import encode_json
from schemas.scores import Ranked, Score
from streams.replay import as_live
from streams.replay.as_live import NothingLive, Said, ScoredVersions, open_as_live
from streams.settings import parse_settings


def a_score(offset: int, **fields: object) -> bytes:
    score = Score(
        score_id=f"events-0-{offset}:click", event_id=f"e{offset}", user_id="u1", ts=1, objective="click", score=0.5,
        model="ftrl", model_version=7, reasons=[], topic="events", partition=0, offset=offset, source_ts=1,
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip
    return encode_json(score)


def versions_of(*values: bytes) -> list[tuple[int, list[Said]]]:
    with closing(ScoredVersions(None)) as versions:
        versions.put(values, "events")
        return list(versions.of(0))


def test_a_score_that_was_made_before_anything_of_the_crowd_was_known_says_so() -> None:
    place = Ranked(item_id="a", score=0.5, propensity=1.0, reasons=[], crowd=[None])

    found = versions_of(a_score(1, crowd=[None]), a_score(2, crowd=[0.5], crowd_version=4), a_score(3, ranked=[place]))

    model = Said("click", 7, True)
    assert found == [
        (1, [model, Said(CROWD, 0, True)]),
        (2, [model, Said(CROWD, 4, True)]),
        (3, [model, Said(CROWD, 0, True)]),
    ]


def test_a_score_that_needed_no_crowd_names_none() -> None:
    assert versions_of(a_score(1)) == [(1, [Said("click", 7, True)])]


def a_bid(offset: int, **fields: object) -> bytes:
    bid = Bid(
        bid_id=f"events-0-{offset}", event_id=f"e{offset}", user_id="u1", ts=1, topic="events", partition=0,
        offset=offset, source_ts=1, reason=BID,
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip
    return encode_json(bid)


def versions_of_bids(*values: bytes) -> list[tuple[int, list[Said]]]:
    with closing(ScoredVersions(None)) as versions:
        versions.put_bids(values, "events")
        return list(versions.of(0))


def test_a_bid_names_its_models_the_market_and_the_crowd() -> None:
    found = versions_of_bids(
        a_bid(1), a_bid(2, models={"ad_click~calm": 7, "ad_sale": 5}, market_version=9, crowd_version=4)
    )

    assert found == [
        (1, [Said(CROWD, 0, True), Said(MARKET, 0, True)]),
        (2, [Said("ad_click~calm", 7, True), Said("ad_sale", 5, True), Said(CROWD, 4, True), Said(MARKET, 9, True)]),
    ]


def test_of_a_bid_that_was_repeated_the_first_counts() -> None:
    assert versions_of_bids(a_bid(1, market_version=3), a_bid(1, market_version=8)) == [
        (1, [Said(CROWD, 0, True), Said(MARKET, 3, True)])
    ]


def test_a_bid_that_was_made_over_http_or_of_another_topic_names_nothing() -> None:
    answered, other = a_bid(1, market_version=3, flags=["answered"]), a_bid(2, market_version=3)

    with closing(ScoredVersions(None)) as versions:
        versions.put_bids([answered], "events")
        versions.put_bids([other], "clicks")
        versions.put_bids([b"nonsense", None], "events")

        assert (list(versions.of(0)), versions.count, versions.unreadable) == ([], 0, 2)


SETTINGS = parse_settings(
    """
features: {item: {field: item_id}}
objectives: {click: {trigger: impression, outcome: click, match: item, window: 30m, prior: 0.2}}
""",
    {},
)


class NothingThere:
    """A topic without records."""

    starts = {0: 0}

    async def __aenter__(self) -> NothingThere:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> dict[str, list[Any]]:
        return {}


async def test_where_nothing_was_scored_live_no_file_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[ScoredVersions] = []
    close = ScoredVersions.close
    monkeypatch.setattr(as_live, "open_range", lambda *_: NothingThere())
    monkeypatch.setattr(ScoredVersions, "close", lambda self: (closed.append(self), close(self)))

    with pytest.raises(NothingLive, match="holds no scores of events"):
        await open_as_live("events", SETTINGS)

    assert len(closed) == 1
