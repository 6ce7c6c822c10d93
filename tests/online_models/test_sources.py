"""Candidate sources: what is ranked when the site names no items."""

from __future__ import annotations

from typing import Any

import pytest
from builders import HOUR, MINUTE, EventLog, a_click, a_page_view, an_event

from online_models.closed_loop import learner_pair
from online_models.crowd import CROWD, CrowdCounts
from online_models.errors import ConfigError
from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.rankings import parse_rankings
from online_models.records import decode_batch
from online_models.scoring import ScoringCore
from online_models.step import StepResult
from schemas.codec import decode_score, encode_json
from schemas.events import RankRequest
from schemas.scores import Score
from schemas.user_state import UserState
from tests.core_bench import CLICK, a_replica

FEATURES = {
    "item": {"field": "item_id"},
    "category": {"field": "category"},
    "price": {"field": "price"},
    "hot": {"popularity": "item_id"},
}


class Shop:
    """A scoring core and the learner of its crowd counts, which reach it when `learn` is called."""

    def __init__(self, section: object = None, **ranking: Any) -> None:
        self.features = compile_features(FEATURES, sources=section or {})
        objectives = parse_objectives({"click": CLICK}, features=self.features)
        declared = {"objective": "click", "shown": 100, "sources": ["popular"], **ranking}
        self.counts = CrowdCounts(self.features.crowd_tables)
        self.pair = learner_pair(CROWD, lineage="x", model=self.counts, prior=0.5, publish_examples=1 << 30)
        self.core = ScoringCore(
            topic="events",
            partition=0,
            features=self.features,
            objectives=objectives,
            rankings=parse_rankings({"home": declared}, objectives=objectives),
            replicas={"click": a_replica("click"), CROWD: self.pair.replica},
        )
        self.users: dict[str, UserState] = {}
        self.log = EventLog()
        self.results: list[StepResult] = []
        self._taken = self._learned = 0

    def take(self, *events: Any) -> list[Score]:
        """Process events; return the scores."""
        for event in events:
            self.log.add(event)
        batch = decode_batch(self.log.records[self._taken :], topic="events", partition=0)
        self._taken = len(self.log.records)
        self.results.append(self.core.step(batch, self.users))
        return self.results[-1].scores

    def learn(self) -> None:
        told = [one for result in self.results for one in result.examples if one.objective == CROWD]
        self.pair.learner.step(list(enumerate(told))[self._learned :])
        self._learned = len(told)
        self.pair.learner.publish_pending()

    def visit(self, user: str, items: str, at_ms: int = 0, **fields: Any) -> None:
        for number, item in enumerate(items):
            who = {"user_id": user, "session_id": user, "event_id": f"{user}-{at_ms}-{number}"}
            self.take(a_click(item, at_ms + number * MINUTE, **who, **fields))

    def asked(self, user: str = "me", at_ms: int = HOUR, **fields: Any) -> list[str]:
        """Return the items of an answer, by name."""
        request = an_event(
            RankRequest, at_ms, user_id=user, event_id=f"ask-{user}-{at_ms}-{fields}", **{"session_id": user, **fields}
        )
        scores = self.take(request)
        return sorted(one.item_id for one in scores[0].ranked) if scores else []


def test_popular_is_what_everybody_turns_to() -> None:
    shop = Shop(most=2)
    shop.visit("u1", "aab")
    shop.visit("u2", "acb")
    shop.learn()

    assert shop.asked() == ["a", "b"]


def test_what_is_told_is_known_when_it_was_learned() -> None:
    shop = Shop()
    shop.visit("u1", "ab")

    assert shop.asked() == []
    assert shop.results[-1].accounting.ignored == {"no_candidates": 1}
    shop.learn()
    assert shop.asked(at_ms=HOUR + 1) == ["a", "b"]


def test_recent_is_what_came_up_last() -> None:
    shop = Shop({"keep": 1000}, most=2)
    for number, item in enumerate("abcab"):
        shop.visit(f"u{number}", item, at_ms=number * MINUTE)
    shop.learn()

    assert shop.asked(source="recent") == ["b", "c"]


def test_similar_is_what_others_went_to_from_where_the_visitor_is() -> None:
    shop = Shop({"keep": 1000})
    shop.visit("u1", "ab")
    shop.visit("u2", "xy")
    shop.visit("u3", "cb")
    shop.visit("me", "b", at_ms=30 * MINUTE)
    shop.learn()

    assert shop.asked(at_ms=31 * MINUTE, source="similar") == ["a", "c"]
    assert shop.asked("a newcomer", source="similar") == []


def test_category_is_the_one_of_the_request_else_the_one_that_is_liked() -> None:
    shop = Shop()
    shop.visit("u1", "ab", category="shoes")
    shop.visit("u2", "cd", category="hats")
    shop.visit("me", "e", category="hats")
    shop.learn()

    assert shop.asked(source="category", category="shoes") == ["a", "b"]
    assert shop.asked(at_ms=2 * MINUTE, source="category") == ["c", "d"], "what was met in this session is left out"
    assert shop.asked(at_ms=HOUR + 1, source="category", session_id="later") == ["c", "d", "e"]


def test_sources_take_turns() -> None:
    shop = Shop({"keep": 1000}, sources=["popular", "similar"], most=2)
    shop.visit("u1", "bbabab")
    shop.visit("u2", "xy")
    shop.visit("me", "x", at_ms=10 * MINUTE)
    shop.learn()

    assert shop.asked(at_ms=11 * MINUTE) == ["b", "y"]
    assert shop.asked(at_ms=12 * MINUTE, source="popular") == ["a", "b"]


def test_what_was_last_said_of_an_item_is_known_of_it() -> None:
    shop = Shop()
    shop.visit("u1", "a", category="shoes", price=9.5)
    shop.visit("u2", "a", at_ms=MINUTE, category="boots", price=8.25)
    shop.learn()
    request = an_event(RankRequest, HOUR, user_id="me", event_id="ask")

    [answer] = shop.take(request)

    [one] = answer.ranked
    assert (one.item_id, one.category, one.price) == ("a", "boots", 8.25)
    [open_] = shop.users["me"].open
    assert b"boots" in bytes(open_.values)


# Each would be taken for another item's, if a name were taken apart at its first tab.
ODD = ["a\tx", "\ta", "a\t", "a\x1bt", "a\x1b\t"]


@pytest.mark.parametrize("odd", ODD)
def test_an_id_may_hold_any_character(odd: str) -> None:
    shop = Shop({"keep": 1000}, sources=["popular", "similar", "category", "recent"])
    shop.visit("u1", "ab", category="shoes", price=9.5)
    shop.take(a_click(odd, HOUR, user_id="u2", session_id="u2", event_id="e2", category="y" * 126, price=3.25))
    shop.take(a_click("b", HOUR + 1, user_id="u2", session_id="u2", event_id="e3", category=f"shoes{odd}", price=8.0))
    shop.learn()

    [answer] = shop.take(an_event(RankRequest, 2 * HOUR, user_id="me", event_id="ask"))

    assert sorted((one.item_id, one.category, one.price) for one in answer.ranked) == sorted(
        [("a", "shoes", 9.5), ("b", f"shoes{odd}", 8.0), (odd, "y" * 126, 3.25)]
    )
    assert decode_score(encode_json(answer)) == answer
    assert shop.asked(at_ms=2 * HOUR + 1, source="category", category="shoes") == ["a", "b"]
    assert shop.asked(at_ms=2 * HOUR + 2, source="category", category=f"shoes{odd}") == ["b"]
    assert shop.asked("u2", at_ms=HOUR + 2, source="similar") == ["a"], "what u1 went to b from"


def test_counters_of_before_ids_were_escaped_do_no_harm() -> None:
    shop = Shop(sources=["popular", "category", "recent"])
    shop.visit("u1", "ab", category="shoes", price=9.5)
    shop.learn()
    members = {name: height for name, height in shop.counts.weights.items() if not name.endswith("\t")}

    # Ids with a tab, as item, category or in their place before it, had these: with a second separator.
    for tail in ("\tx", "\t9.9", f"\t{'y' * 128}"):
        shop.counts.learn_one({name + tail: height + 1.0 for name, height in members.items()}, True)
    for _ in range(2):
        request = an_event(RankRequest, HOUR, user_id="me", event_id=f"ask-{len(shop.log.records)}")
        [answer] = shop.take(request)
        found = sorted((one.item_id, one.category, one.price) for one in answer.ranked)
        assert found == [("a", "shoes", 9.5), ("b", "shoes", 9.5)]
        shop.counts.restore(shop.counts.to_bytes())


def test_candidates_of_the_request_come_first() -> None:
    shop = Shop()
    shop.visit("u1", "ab")
    shop.learn()

    assert shop.asked(candidates=["z"]) == ["z"]


def test_a_published_answer_stands_with_what_was_known_then() -> None:
    shop, after = Shop(), Shop()
    for one in (shop, after):
        one.visit("u1", "a", category="shoes", price=9.5)
        one.visit("u2", "b", category="hats", price=3.0)
    shop.learn()
    request = an_event(RankRequest, HOUR, user_id="me", event_id="ask")
    [answer] = shop.take(request)

    after.core.published = {answer.score_id: answer}  # and the crowd is not known yet
    [again] = after.take(request)

    assert encode_json(again) == encode_json(answer)
    assert [bytes(one.values) for one in after.users["me"].open] == [bytes(one.values) for one in shop.users["me"].open]


def test_what_got_no_answer_gets_none_when_it_is_done_again() -> None:
    shop = Shop()
    shop.visit("u1", "a")
    shop.learn()
    requests = [an_event(RankRequest, HOUR, user_id="me", event_id=f"ask-{number}") for number in range(2)]

    shop.core.published_to = 2  # something was published of an event behind the first request
    assert [one.offset for one in shop.take(*requests)] == [2]
    assert shop.results[-1].accounting.ignored == {"no_candidates": 1}


@pytest.mark.parametrize(
    ("ranking", "path", "message"),
    [
        ({"sources": ["hot"]}, ("home", "sources", 0), "Unknown source 'hot'; expected one of: similar, category"),
        ({"sources": []}, ("home", "sources"), "Expected a list of sources"),
        ({"sources": ["recent", "recent"]}, ("home", "sources", 1), "'recent' stands here twice"),
        ({"sources": ["recent"], "most": 0}, ("home", "most"), "Expected a whole number from 1 to 1000"),
        ({"most": 5}, ("home", "most"), "Without `sources` nothing is taken from them"),
    ],
)
def test_a_wrong_declaration_is_refused(ranking: dict[str, Any], path: tuple[str | int, ...], message: str) -> None:
    objectives = parse_objectives({"click": CLICK}, features=compile_features(FEATURES))

    with pytest.raises(ConfigError, match=message) as caught:
        parse_rankings({"home": {"objective": "click", **ranking}}, objectives=objectives)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("sources", "path"),
    [([], ("sources",)), ({"half_life": "1m"}, ("sources", "half_life")), ({"off": 1}, ("sources", "off"))],
)
def test_a_wrong_section_is_refused(sources: object, path: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_features(FEATURES, sources=sources)
    assert caught.value.path == path


def test_sources_change_the_layout_and_not_the_features() -> None:
    alone, with_sources = compile_features(FEATURES), compile_features(FEATURES, sources={})

    assert alone.hash == with_sources.hash
    assert alone.layout != with_sources.layout
    assert with_sources.slot_keys[: len(alone.slot_keys)] == alone.slot_keys


def test_page_views_of_no_item_tell_nothing() -> None:
    shop = Shop()
    shop.take(a_page_view(), a_page_view(MINUTE))

    assert [one.objective for result in shop.results for one in result.examples] == []
