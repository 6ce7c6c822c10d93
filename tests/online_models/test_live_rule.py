"""The hand-written rule beside the model where no judge looks on: asked when a label is released."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from builders import MINUTE, EventLog, a_click, an_impression
from core_bench import CLICK, Bench

from online_models.step import Probe
from online_models.validation import Rule
from schemas.events import EventBase
from schemas.scores import Score

RULED = {**CLICK, "rule": [{"when": {"clicks": {"min": 2}}, "score": 0.3}, {"score": 0.1}]}


class AskedAtTheTrigger:
    """What the rule said when the score was made, as a replay's judge notes it."""

    def __init__(self) -> None:
        self.rule: Rule | None = None
        self.said: dict[str, float] = {}

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Probe) -> None:
        assert self.rule is not None
        self.said[score.score_id] = self.rule.score(values)


def a_log() -> EventLog:
    log = EventLog()
    for number in range(12):
        at = number * 3 * MINUTE
        log.add(an_impression(f"i{number}", at))
        if number % 3 == 0:
            log.add(a_click(f"i{number}", at + MINUTE))
    return log.tick(at_ms=200 * MINUTE)


@pytest.mark.parametrize("labels", ["at_window_end", "immediate"])
def test_it_says_of_each_example_what_it_said_at_the_trigger(labels: str) -> None:
    observer = AskedAtTheTrigger()
    bench = Bench({"click": {**RULED, "labels": labels}}, observer=observer, asking_rules=True)
    observer.rule = Rule(bench.objectives[0].rule, bench.features)

    [result] = bench.run(a_log()).results

    said = zip(result.examples, result.rule_said, strict=True)
    judged = [(one.score_id, value) for one, value in said if one.use != "learn"]
    assert judged == [(score_id, observer.said[score_id]) for score_id, _ in judged]
    assert {value for _, value in judged} == {0.1, 0.3}
    assert len(judged) == 12


def test_without_a_rule_it_says_nothing_and_unasked_there_is_no_list() -> None:
    asked, unasked = Bench(asking_rules=True).run(a_log()), Bench({"click": RULED}).run(a_log())

    assert asked.results[0].rule_said == [None] * 12
    assert unasked.results[0].rule_said == []
