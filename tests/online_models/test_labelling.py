"""Open triggers when `match` or `labels` of their objective changes: no label rather than a wrong one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import DAY, HOUR, EventLog, a_click, a_page_view, a_purchase
from core_bench import PURCHASE
from stored_partition import Stored

from online_models.labelling import Labellings
from schemas.codec import decode_user_state

ITEM = {**PURCHASE, "match": "item"}
USER = {**PURCHASE, "match": "user"}
SESSION = {**PURCHASE, "match": "session"}
IMMEDIATE = {**ITEM, "labels": "immediate"}


class Lives:
    """One log, read by workers of one configuration after another."""

    def __init__(self, objective: dict[str, Any]) -> None:
        self.stored = Stored({"buy": objective})
        self.log = EventLog()

    def then(self, objectives: dict[str, Any]) -> Lives:
        self.stored.again(objectives)
        return self

    def declared(self, objective: dict[str, Any]) -> Lives:
        return self.then({"buy": objective})

    def events(self, *events: Any) -> Lives:
        return self._run(len(self.log.add(*events).records) - len(events))

    def ends(self) -> Lives:
        """Let every window end."""
        return self._run(len(self.log.tick(3 * DAY).records) - 1)

    def _run(self, first: int) -> Lives:
        part = EventLog()
        part.records = self.log.records[first:]
        self.stored.run(part, chunk=1)
        return self

    @property
    def labels(self) -> list[tuple[int, bool, str]]:
        return self.stored.bench.labels()

    @property
    def notes(self) -> dict[str, int]:
        return self.stored.bench.notes()


@pytest.mark.parametrize("before", [ITEM, USER, SESSION])
@pytest.mark.parametrize("after", [ITEM, USER, SESSION])
def test_a_trigger_that_was_opened_for_another_match_gets_no_label(before: Any, after: Any) -> None:
    # two clicks   match changes   a purchase of the first   windows end
    # |------------!---------------x-------------------------)
    lives = Lives(before).events(a_click("i1", 0), a_click("i2", 1000))
    lives.declared(after).events(a_purchase(2000, item_id="i1")).ends()

    if before == after:
        assert lives.labels == [(0, True, "both"), (1, before != ITEM, "both")]
        assert lives.notes == {}
    else:
        assert lives.labels == []
        assert lives.notes == {"objective_changed": 2}
    assert lives.stored.bench.core.open_count == 0


def test_what_is_opened_after_the_change_is_labelled_by_it() -> None:
    lives = Lives(ITEM).events(a_click("i1", 0))
    lives.declared(USER).events(a_page_view(500)).declared(USER)  # a life in which nothing is opened changes nothing
    lives.events(a_click("i2", 1000), a_click("i3", 2000)).declared(USER)

    lives.events(a_purchase(3000, item_id="other")).ends()

    assert lives.labels == [(2, True, "both"), (3, True, "both")]
    assert lives.notes == {"objective_changed": 1}


def test_a_change_that_is_taken_back_has_cost_the_outcomes_between() -> None:
    lives = Lives(ITEM).events(a_click("i1", 0))
    lives.declared(USER).events(a_purchase(1000, item_id="i1"))

    lives.declared(ITEM).events(a_click("i2", 2000)).ends()

    assert lives.labels == [(2, False, "both")]
    assert lives.notes == {"objective_changed": 1}


def test_a_trigger_that_was_learned_at_once_is_not_learned_again_at_its_end() -> None:
    lives = Lives(IMMEDIATE).events(a_click("i1", 0), a_click("i2", 1000), a_purchase(2000, item_id="i1"))
    at_once = [(0, False, "learn"), (1, False, "learn"), (0, True, "both")]
    assert lives.labels == at_once

    lives.declared(ITEM).ends()

    assert lives.labels == at_once
    assert lives.notes == {"objective_changed": 2}


def test_a_trigger_that_waited_for_its_end_is_not_half_learned_at_once() -> None:
    lives = Lives(ITEM).events(a_click("i1", 0), a_click("i2", 1000), a_purchase(2000, item_id="i1"))

    lives.declared(IMMEDIATE).events(a_purchase(3000, item_id="i2"), a_click("i3", 4000)).ends()

    assert lives.labels == [(4, False, "learn"), (4, False, "judge")]
    assert lives.notes == {"objective_changed": 2}


def test_outcomes_that_came_while_an_objective_was_gone_are_not_known() -> None:
    other = {"other": {**USER, "outcome": "add_to_cart"}}
    lives = Lives(ITEM).events(a_click("i1", 0))
    lives.then(other).events(a_purchase(1000, item_id="i1"))

    lives.declared(ITEM).events(a_click("i2", 2000)).declared(ITEM).ends()

    assert lives.labels == [(2, False, "both")]
    assert lives.notes == {"objective_gone": 1}


@pytest.mark.parametrize("changes", [{"credit": "last"}, {"window": "2h"}, {"grace": "1m"}, {"prior": 0.1}])
def test_other_changes_leave_the_labels(changes: dict[str, Any]) -> None:
    lives = Lives(ITEM).events(a_click("i1", 0))

    lives.declared({**ITEM, **changes}).events(a_purchase(HOUR, item_id="i1")).ends()

    assert lives.labels == [(0, True, "both")]
    assert lives.notes == {}


def test_a_partition_of_a_version_before_counts_as_declared_now() -> None:
    lives = Lives(ITEM).events(a_click("i1", 0))
    meta = msgspec.msgpack.decode(lives.stored.meta)
    del meta[-1]
    lives.stored.meta = msgspec.msgpack.encode(meta)

    lives.declared(ITEM).events(a_purchase(1000, item_id="i1")).ends()

    assert lives.labels == [(0, True, "both")]
    labelling = lives.stored.stored_meta().labelling
    assert labelling is not None
    assert labelling["buy"].since == 0


def test_a_trigger_takes_no_byte_for_it() -> None:
    same = Lives(ITEM).events(a_click("i1", 0))
    changed = Lives(USER).events(a_page_view(-1000)).declared(ITEM).events(a_click("i1", 0))

    assert [len(decode_user_state(one.stored.blobs["u1"]).open) for one in (same, changed)] == [1, 1]
    fields = [msgspec.msgpack.decode(one.stored.blobs["u1"])[5][0] for one in (same, changed)]
    assert len(fields[0]) == len(fields[1])


def test_where_nothing_changed_nothing_is_looked_up() -> None:
    lives = Lives(ITEM).events(a_click("i1", 0)).declared(ITEM)

    labellings: Labellings = lives.stored.bench.core._open.labellings

    assert not labellings.since
    assert not labellings.none_yet
