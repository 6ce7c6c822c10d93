"""What the dashboard tells of a worker, from the batches that it has seen."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from builders import EventLog, a_click, an_impression
from core_bench import Bench
from summaries import summary_of

from online_models.records import decode_batch
from online_models.step import StepResult
from streams.configs import shipped_config
from streams.dashboard import POINTS, Dashboard
from streams.settings import Settings, load_settings
from streams.telemetry import Telemetry

NOW_S = 1_800_000_000.0
SETTINGS = load_settings(shipped_config("shop"), {})
# What nobody but a reader of the topic may see.
SECRET = b'{"type": "page_view", "user_id": "secret-visitor"'


class Shown:
    """A dashboard, its telemetry, and a clock to move."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.telemetry = Telemetry()
        self.dashboard = Dashboard(settings, self.telemetry)
        self.bench = Bench(asking_rules=True)
        self.now_s = NOW_S

    def take(self, log: EventLog) -> StepResult:
        result = self.bench.core.step(decode_batch(log.records, topic="events", partition=0), self.bench.users)
        self.took(result)
        return result

    def took(self, result: StepResult) -> None:
        summary = summary_of(result)
        self.telemetry.batch_done(summary, seconds=0.01, open_count=0)
        self.dashboard.note(summary, self.now_s)

    def point(self, *, lag: int = 0) -> None:
        self.now_s += 5.0
        self.dashboard.point(self.now_s, self.now_s, lag=lag)

    def document(self, since_s: float = 0.0) -> dict[str, Any]:
        told = orjson.loads(orjson.dumps(self.dashboard.document(self.now_s, since_s)))
        assert isinstance(told, dict)
        return told


def clicks(count: int) -> EventLog:
    log = EventLog()
    for number in range(count):
        log.add(an_impression(f"i{number}", number * 1000))
        if number % 4 == 0:
            log.add(a_click(f"i{number}", number * 1000 + 500))
    return log.tick(at_ms=10_000_000)


def judged(shown: Shown, labels_and_scores: list[tuple[bool, float]]) -> None:
    """Let scores be judged that somebody else has made."""
    [result] = Bench().run(clicks(1)).results
    examples = [
        msgspec.structs.replace(result.examples[0], label=label, score=score) for label, score in labels_and_scores
    ]
    shown.took(result._replace(scores=[], examples=examples, rule_said=[None] * len(examples)))


def test_before_anything_has_come_it_is_empty_and_complete() -> None:
    told = Shown().document()

    assert told["points"] == {}
    assert told["scores"] == []
    assert told["dead_letters"] == {"by_reason": {}, "last": []}
    assert list(told["objectives"]) == ["click", "purchase", "continue"]
    assert told["objectives"]["click"] == {
        "ruled": True,
        "judged": 0,
        "learned": None,
        "calibration": [],
        "features": [],
        "level": None,
        "changes": [],
        "drifting": False,
    }


def test_a_point_holds_what_has_come_since_the_last_one() -> None:
    shown = Shown()
    shown.point()
    shown.take(clicks(40))
    shown.point(lag=7)
    shown.point()

    points = shown.document()["points"]

    assert points["t"] == [NOW_S + 5, NOW_S + 10, NOW_S + 15]
    assert points["events"] == [0, 51 / 5, 0]
    assert points["scores"] == [0, 40 / 5, 0]
    assert points["lag"] == [0, 7, 0]
    assert [one is None for one in points["p99_ms"]] == [True, False, True]
    assert points["click.n"] == [0, 40, 40]
    assert points["click.positives"] == [0, 10, 10]
    assert points["purchase.n"] == [0, 0, 0]
    assert shown.document(since_s=NOW_S + 10)["points"]["t"] == [NOW_S + 15]


def test_it_remembers_half_an_hour() -> None:
    shown = Shown()
    for _ in range(POINTS + 5):
        shown.point()

    times = shown.document()["points"]["t"]

    assert len(times) == POINTS
    assert times[-1] - times[0] == 1795.0


def test_scores_are_told_newest_first_with_their_reasons() -> None:
    shown = Shown()
    scores = shown.take(clicks(30)).scores

    told = shown.document()

    assert [one["score_id"] for one in told["scores"]] == [one.score_id for one in reversed(scores[-20:])]
    assert told["scores"][0]["reasons"][0][0] == scores[-1].reasons[0][0]
    assert {one["feature"] for one in told["objectives"]["click"]["features"]} <= set(shown.bench.features.names)


def test_a_visitor_s_own_words_are_in_no_reason(tmp_path: Any) -> None:
    shop = shipped_config("shop").read_text()
    config = tmp_path / "scoring.yaml"
    config.write_text(shop.replace("features:\n", "features:\n  words: {field: query}\n", 1))
    shown = Shown(load_settings(config, {}))
    result = shown.take(clicks(3))
    for score in result.scores:
        score.reasons = [("words=my illness", 1.0), ("category=shoes", 0.5)]
    shown.took(result)

    told = shown.document()

    assert b"illness" not in orjson.dumps(told)
    assert told["scores"][0]["reasons"] == [["words=…", 1.0], ["category=shoes", 0.5]]


def test_dead_letters_are_told_by_reason_and_place_and_never_by_content() -> None:
    shown = Shown()
    log = EventLog()
    for _ in range(12):
        log.add_raw(SECRET)
    log.add_raw(b'{"type": "no_such_type", "user_id": "secret-visitor", "event_id": "e"}')

    shown.take(log)

    told = shown.document()
    assert told["dead_letters"]["by_reason"] == {"not_json": 12, "unknown_type": 1}
    assert len(told["dead_letters"]["last"]) == 8
    newest = told["dead_letters"]["last"][0]
    assert (newest["reason"], newest["source"]) == ("unknown_type", "events[0]@12")
    assert newest["ts"] == log.records[-1].timestamp
    assert b"secret" not in orjson.dumps(told)
    assert b'streamscore_dead_letters_total{reason="not_json"} 12.0' in shown.telemetry.exposition()


def test_a_lasting_rise_of_the_log_loss_is_an_alarm_for_ten_minutes() -> None:
    shown = Shown()
    judged(shown, [(number % 20 == 0, 0.05) for number in range(8_000)])
    shown.point()
    assert shown.document()["objectives"]["click"]["changes"] == []
    judged(shown, [(number % 4 == 0, 0.05) for number in range(8_000)])
    shown.point()

    told = shown.document()["objectives"]["click"]

    assert told["drifting"]
    assert told["changes"][0]["worse"]
    assert told["changes"][0]["before"] < 0.25 < told["level"]
    exposed = shown.telemetry.exposition()
    assert b'streamscore_drifts_total{direction="worse",objective="click"}' in exposed
    assert b'streamscore_recent{metric="log_loss",objective="click"}' in exposed
    shown.now_s += 601
    assert not shown.document()["objectives"]["click"]["drifting"]
