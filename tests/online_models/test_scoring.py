from __future__ import annotations

import itertools

import pytest
from builders import DAY, HOUR, MINUTE, T0, EventLog, a_click, a_page_view, a_purchase, an_impression
from core_bench import ALL, CLICK, CONTINUE, PURCHASE, Bench, cut
from hypothesis import given
from hypothesis import strategies as st

from online_models.distribution import make_distributor
from online_models.estimators import SparseFTRL
from online_models.learning import LearningCore
from online_models.replica import LinearReplica
from schemas.codec import encode_json
from streams.simulate import Shop, disturbed
from streams.sources import RawRecord

WINDOW = 30 * MINUTE
KINDS = {"view": a_page_view, "impression": an_impression, "click": a_click, "purchase": a_purchase}


def a_log(steps: list[tuple[str, int, int, int]]) -> EventLog:
    """Build a log of (kind, user, item, minutes); repeats of a step are duplicates by their event id."""
    log = EventLog()
    for kind, user, item, minutes in steps:
        fields = {"user_id": f"u{user}", "session_id": f"s{user}-{minutes // 60}", "category": f"c{item % 2}"}
        fields["event_id"] = f"{kind}-{user}-{item}-{minutes}"
        item_id = f"i{item}"
        at_ms = minutes * MINUTE
        if kind in ("impression", "click"):
            log.add(KINDS[kind](item_id, at_ms, **fields))
        else:
            log.add(KINDS[kind](at_ms, **fields))
    return log


steps = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS)), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3000)), max_size=60
)


@given(steps)
def test_how_a_log_is_cut_into_batches_changes_nothing(drawn: list[tuple[str, int, int, int]]) -> None:
    log = a_log(drawn)

    whole = Bench(ALL).run(log, chunk=500).fingerprint()

    assert Bench(ALL).run(log, chunk=1).fingerprint() == whole
    assert Bench(ALL).run(log, chunk=7).fingerprint() == whole


def shop_log(events: int) -> EventLog:
    log = EventLog()
    shop = itertools.islice(Shop(seed=3, visitors=40, start_ms=T0).events(), events)
    for item in disturbed(shop, seed=1, duplicates=0.02, late=0.05, poison=0.01):
        if isinstance(item, RawRecord):
            log.add_raw(item.value, key=item.key)
        else:
            log.add(item)
    return log


def test_batches_of_1_7_and_500_give_the_same_scores_and_the_same_model() -> None:
    log = shop_log(4000)
    benches = [Bench(ALL).run(log, chunk=chunk) for chunk in (1, 7, 500)]
    immediate = {name: {**declared, "labels": "immediate"} for name, declared in ALL.items()}
    others = [Bench(immediate).run(log, chunk=chunk) for chunk in (1, 500)]

    assert len(benches[0].scores) > 3000
    assert benches[0].fingerprint() == benches[1].fingerprint() == benches[2].fingerprint()
    assert others[0].fingerprint() == others[1].fingerprint()
    models = [learned(bench, chunk) for bench, chunk in zip(benches, (500, 1, 7), strict=True)]
    assert models[0] == models[1] == models[2]


def learned(bench: Bench, chunk: int) -> tuple[bytes, list[tuple[int, list[tuple[bytes, bytes]]]]]:
    model = SparseFTRL()
    core = LearningCore(
        "click",
        lineage="test",
        estimator=model,
        distributor=make_distributor("click", lineage="test", estimator=model),
        publish_examples=100,
    )
    publications = []
    examples = [(offset, one) for offset, one in enumerate(bench.examples) if one.objective == "click"]
    for part in cut(examples, chunk):  # type: ignore[arg-type]
        publications += [tuple(one) for one in core.step(part)]  # type: ignore[arg-type]
    return core.checkpoint(), publications


@given(steps, st.lists(st.sampled_from([b"no json", b"{}", b"\xff", None]), max_size=5))
def test_every_record_is_scored_refused_or_passed_over_by_a_rule(
    drawn: list[tuple[str, int, int, int]], poison: list[bytes | None]
) -> None:
    log = a_log(drawn)
    for value in poison:
        log.add_raw(value)

    bench = Bench(ALL).run(log, chunk=7)

    chunks = [result.accounting for result in bench.results]
    assert sum(one.events for one in chunks) == len(log.records)
    for one in chunks:
        assert one.events == one.scored + one.dead + sum(one.ignored.values())
    for before, after in itertools.pairwise(chunks):
        assert before.next_offset == after.first_offset


def test_a_click_within_the_window_makes_a_positive_at_its_end_and_none_makes_a_negative() -> None:
    # i1 shown    click                    window of both ends
    # |-----------x-----------------------)
    # i2 shown, not clicked               )
    log = EventLog().add(an_impression("i1"), an_impression("i2", 1), a_click("i1", 5 * MINUTE))

    before = Bench().run(log).labels()
    after = Bench().run(log.tick(WINDOW + 2)).labels()

    assert before == []
    assert after == [(0, True, "both"), (1, False, "both")]


@pytest.mark.parametrize("labels", ["at_window_end", "immediate"])
def test_a_double_click_gives_the_last_credit_once(labels: str) -> None:
    # i1 shown, shown again    click, click    windows end
    # |---------|--------------x------x--------)
    log = EventLog().add(an_impression("i1", event_id="first"), an_impression("i1", 1000, event_id="second"))
    log.add(a_click("i1", 2000, event_id="click"), a_click("i1", 2100, event_id="again"))
    last = {"click": {**CLICK, "credit": "last", "labels": labels}}

    labelled = Bench(last).run(log.tick(2 * WINDOW)).labels()
    judged = [(trigger, label) for trigger, label, use in labelled if use != "learn"]

    assert sorted(judged) == [(0, False), (1, True)]


@pytest.mark.parametrize(("click_at", "label"), [(WINDOW, True), (WINDOW + 1, False)])
def test_the_windows_end_belongs_to_it(click_at: int, label: bool) -> None:
    log = EventLog().add(an_impression("i1"), a_click("i1", click_at)).tick(2 * WINDOW)

    assert Bench().run(log).labels() == [(0, label, "both")]


def test_grace_holds_a_window_open_for_a_click_that_comes_out_of_order() -> None:
    # Another visitor's event moves stream time past the window before the click arrives.
    log = EventLog().add(an_impression("i1"), a_page_view(WINDOW + 2000, user_id="u2"), a_click("i1", WINDOW - 1000))
    patient = {"click": {**CLICK, "grace": "5s"}}

    assert Bench().run(log).labels() == [(0, False, "both")]
    assert Bench(patient).run(log.tick(2 * WINDOW)).labels() == [(0, True, "both")]


def test_windows_close_in_the_order_of_their_ends_whoever_they_belong_to() -> None:
    log = EventLog().add(
        an_impression("i1", 0, user_id="b"),
        an_impression("i1", 1, user_id="a"),
        an_impression("i2", 2, user_id="b"),
    )

    assert [offset for offset, *_ in Bench().run(log.tick(DAY)).labels()] == [0, 1, 2]


def test_several_objectives_are_open_at_once_each_with_its_own_match() -> None:
    log = (
        EventLog()
        .add(a_page_view(0), a_page_view(1000), an_impression("i1", 2000), a_click("i1", 3000))
        .add(a_purchase(HOUR, session_id="s2"))
        .tick(2 * DAY)
    )

    found = {(one.objective, one.label) for one in Bench(ALL).run(log).examples}

    assert found == {("continue", True), ("click", True), ("purchase", True)}


def test_a_condition_keeps_triggers_out_and_says_so() -> None:
    log = EventLog().add(a_page_view(0), a_page_view(1000))

    bench = Bench({"continue": CONTINUE}).run(log)

    assert [score.offset for score in bench.scores] == [1]
    assert bench.ignored() == {"condition_not_met": 1}


def test_fake_negatives_are_learned_at_once_and_judged_at_the_end() -> None:
    declared = {"click": {**CLICK, "labels": "immediate"}}
    log = EventLog().add(an_impression("i1"), an_impression("i2", 1), a_click("i1", 1000)).tick(DAY)

    bench = Bench(declared).run(log)

    assert bench.labels() == [(0, False, "learn"), (1, False, "learn"), (0, True, "both"), (1, False, "judge")]
    assert bench.examples[-1].features == {}
    raw = Bench().run(log).scores[0].score
    assert bench.scores[0].score == pytest.approx(raw / (1 - raw))


@pytest.mark.parametrize("intercept", [0.0, 1.0, 40.0])
def test_a_model_of_fake_negatives_that_says_more_than_a_half_makes_nobody_certain(intercept: float) -> None:
    replica = LinearReplica(lineage="test", name="ftrl", prior=0.5)
    replica.version, replica.intercept = 7, intercept
    log = EventLog().add(an_impression("i1"))

    [score] = Bench({"click": {**CLICK, "labels": "immediate"}}, replicas={"click": replica}).run(log).scores

    assert score.score == 1 - 1e-6


def test_a_repeated_event_changes_nothing() -> None:
    once = EventLog().add(an_impression("i1"), a_click("i1", 1000))
    twice = EventLog().add(an_impression("i1"), an_impression("i1"), a_click("i1", 1000), a_click("i1", 1000))

    bench = Bench().run(twice)

    assert bench.users == Bench().run(once).users
    assert len(bench.scores) == 1
    assert bench.ignored() == {"duplicate": 2, "no_trigger": 1}


def test_an_event_a_day_behind_the_stream_is_passed_over() -> None:
    log = EventLog().add(a_page_view(2 * DAY, user_id="u2"), an_impression("i1", 0))

    bench = Bench().run(log)

    assert bench.scores == []
    assert bench.ignored() == {"no_trigger": 1, "late": 1}
    assert "u1" not in bench.users


def test_a_trigger_whose_window_is_over_is_scored_late_and_gets_no_label() -> None:
    log = EventLog().add(a_page_view(2 * HOUR, user_id="u2"), an_impression("i1", 0)).tick(DAY)

    bench = Bench().run(log)

    assert [score.flags for score in bench.scores] == [["late"]]
    assert bench.examples == []
    assert bench.notes() == {"window_over": 1}


@pytest.mark.parametrize(("version", "cold"), [(7, []), (0, ["cold"])])
@pytest.mark.parametrize(("behind_ms", "late"), [(0, []), (1, ["late"])])
def test_a_score_is_late_once_stream_time_is_behind_the_end_of_its_window(
    version: int, cold: list[str], behind_ms: int, late: list[str]
) -> None:
    bench = Bench()
    bench.replicas["click"].version = version

    bench.run(EventLog().add(a_page_view(WINDOW + behind_ms, user_id="u2"), an_impression("i1", 0)))

    assert [score.flags for score in bench.scores] == [cold + late]


def test_a_visitor_with_too_many_open_triggers_loses_the_oldest_and_it_is_counted() -> None:
    log = EventLog().add(*(an_impression(f"i{n}", n) for n in range(5))).tick(DAY)

    bench = Bench(max_open_per_user=3).run(log)

    assert [offset for offset, *_ in bench.labels()] == [2, 3, 4]
    assert bench.notes() == {"open_cut": 2}
    assert bench.core.open_count == 0


def test_a_full_partition_scores_and_opens_nothing_more() -> None:
    log = EventLog().add(*(an_impression("i1", n, user_id=f"u{n}") for n in range(5))).tick(DAY)

    bench = Bench(max_open_per_partition=3).run(log)

    assert len(bench.scores) == 5
    assert len(bench.examples) == 3
    assert bench.notes() == {"open_full": 2}


def test_a_visitor_whose_state_has_expired_holds_nothing_up() -> None:
    bench = Bench().run(EventLog().add(an_impression("i1")))
    bench.users.clear()

    later = EventLog()
    later.records = [*EventLog().tick(DAY).records]
    bench.run(later)

    assert bench.notes() == {"state_expired": 1}
    assert bench.examples == []


def test_scores_say_all_it_takes_to_repeat_them() -> None:
    [score] = Bench().run(EventLog().add(an_impression("i1", 5, propensity=0.25))).scores

    assert (score.score_id, score.model, score.model_version) == ("events-0-0:click", "ftrl", 7)
    assert (score.ts, score.topic, score.partition, score.offset) == (T0 + 5, "events", 0, 0)
    assert (score.item_id, score.session_id, score.propensity, score.flags) == ("i1", "s1", 0.25, [])
    assert score.reasons[0][0] == "since_click"
    assert b'"score_id":"events-0-0:click"' in encode_json(score)


def test_a_model_that_has_learned_nothing_says_so() -> None:
    bench = Bench({"purchase": PURCHASE})
    bench.replicas["purchase"].version = 0

    [score] = bench.run(EventLog().add(a_click("i1"))).scores

    assert (score.score, score.flags, score.reasons) == (0.5, ["cold"], [])
