"""Going on with an interrupted replay, the same one or none; and what a folder holds is not lost by mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from replaying import Views, replayed, written

from streams.replay.candidate import CannotResume
from streams.replay.folder import Unfinished
from streams.replay.parallel import run_in_processes, shares
from streams.replay.plan import Plan
from streams.replay.run import Interrupted, run
from streams.replay.spec import parse_spec
from streams.sources import SourceError

ROWS, STOP = 1_000, 300
CLICK = "  click: {trigger: impression, outcome: click, match: item, window: 10s, model: {name: ftrl}}\n"


@pytest.fixture
def views(tmp_path: Path) -> Views:
    views = Views(tmp_path)
    views.config.write_text(views.CONFIG + CLICK)
    return views


@pytest.fixture
def interrupted(views: Views) -> Plan:
    """A replay of two candidates that was interrupted."""
    plan = views.plan(views.file("views.csv", views.rows(ROWS)), views.folder / "out", "a", "b")
    with pytest.raises(Interrupted):
        asyncio.run(replayed(plan, stop_at=STOP))
    return replace(plan, resume=True)


def resumed(plan: Plan) -> None:
    asyncio.run(replayed(plan))


# ---------------------------------------------------------------- the same replay or none


def test_it_goes_on_with_all_of_its_candidates_and_with_no_other_set(views: Views, interrupted: Plan) -> None:
    a, b = interrupted.candidates
    before = written(views.folder)
    for others in ((a,), (b, a), (a, b, replace(a, label="c"))):
        with pytest.raises(CannotResume, match="other candidates"):
            resumed(replace(interrupted, candidates=others))
    assert written(views.folder) == before

    (whole,) = asyncio.run(replayed(views.plan(views.folder / "views.csv", views.folder / "whole")))
    results = asyncio.run(replayed(interrupted))

    assert [one.tally.records for one in results] == [ROWS, ROWS]
    assert [one.objectives for one in results] == [whole.objectives, whole.objectives]
    done = written(views.folder)
    assert done["out/a/scores.jsonl"] == done["out/b/scores.jsonl"] == done["whole/scores.jsonl"]


def test_one_candidate_alone_does_not_become_one_of_two(views: Views) -> None:
    alone = views.plan(views.file("views.csv", views.rows(ROWS)), views.folder / "out", "a")
    with pytest.raises(Interrupted):
        asyncio.run(replayed(alone, stop_at=STOP))

    with pytest.raises(CannotResume, match="other candidates"):
        resumed(replace(views.plan(views.folder / "views.csv", views.folder / "out", "a", "b"), resume=True))

    assert not list(views.folder.glob("out/*/*.jsonl"))


def _another_mapping(views: Views) -> None:
    views.mapping.write_text(views.MAPPING.replace("item_id: item", "item_id: '{item}!'"))


def _another_policy(views: Views) -> None:
    views.config.write_text(views.CONFIG + CLICK + "policies: {logged: {kind: logged, objective: click}}\n")


def _other_partitions(views: Views) -> None:
    views.config.write_text(views.CONFIG + CLICK + "topics: {events: {partitions: 8}}\n")


@pytest.mark.parametrize("change", [_another_mapping, _another_policy, _other_partitions])
def test_it_does_not_go_on_with_something_else(
    change: Callable[[Views], None], views: Views, interrupted: Plan
) -> None:
    change(views)

    with pytest.raises(CannotResume, match="had another source, configuration, mapping or version"):
        resumed(interrupted)


def test_it_does_not_go_on_where_the_scores_are_gone(views: Views, interrupted: Plan) -> None:
    scores = views.folder / "out" / "b" / "scores.jsonl"
    scores.write_bytes(scores.read_bytes()[:1000])

    with pytest.raises(CannotResume, match=r"b/scores\.jsonl is shorter than it was"):
        resumed(interrupted)

    assert scores.read_bytes().count(b"\0") == 0
    assert scores.stat().st_size == 1000


def test_without_a_folder_there_is_nothing_to_go_on_with(views: Views) -> None:
    file = views.file("views.csv", views.rows(10))

    with pytest.raises(CannotResume, match="name it with --to"):
        resumed(views.plan(file, None, resume=True))
    assert "name it with --to" in views.replay(file, "--resume").stderr


# ---------------------------------------------------------------- what a folder holds


def test_a_fault_of_the_source_leaves_the_results_of_before(views: Views) -> None:
    file, out = views.file("views.csv", views.rows(ROWS)), views.folder / "out"
    asyncio.run(replayed(views.plan(file, out)))
    before = written(out)
    assert before["scores.jsonl"]
    other = views.file("other.csv", [])
    other.write_text("user,when,item\nv1,5,i1\n")

    typo = views.replay(views.folder / "veiws.csv", "--to", out)
    unfit = views.replay(other, "--to", out)

    assert typo.returncode == unfit.returncode == 1
    assert "veiws.csv cannot be read" in typo.stderr
    assert "ts_ms" in unfit.stderr
    assert written(out) == before


async def test_a_broker_that_is_not_there_leaves_them_too(views: Views) -> None:
    plan = views.plan(views.file("views.csv", views.rows(ROWS)), views.folder / "out")
    await replayed(plan)
    before = written(views.folder)
    views.config.write_text(views.CONFIG + 'kafka: {bootstrap_servers: "127.0.0.1:1"}\n')

    with pytest.raises(Exception, match=r"127\.0\.0\.1:1|Connection"):
        await replayed(replace(plan, sources=(parse_spec("kafka://views"),)))

    assert written(views.folder) == before


def test_a_fault_of_the_last_file_is_told_before_the_first_is_read(views: Views) -> None:
    plan = views.plan(views.file("views.csv", views.rows(ROWS)), views.folder / "out")
    gone = parse_spec(str(views.folder / "gone.csv"))
    seen: list[int] = []

    with pytest.raises(SourceError, match=r"gone\.csv cannot be read"):
        asyncio.run(
            run(
                replace(plan, sources=(*plan.sources, gone)),
                on_progress=lambda share, records: seen.append(records),
            )
        )

    assert seen == []


def test_an_interrupted_replay_is_given_up_only_where_that_is_said(views: Views, interrupted: Plan) -> None:
    before = written(views.folder)

    for forgotten in (replace(interrupted, resume=False), views.plan(views.folder / "views.csv", interrupted.folder)):
        with pytest.raises(Unfinished, match="--resume goes on with it, --overwrite begins anew"):
            resumed(forgotten)
    with pytest.raises(Unfinished):
        asyncio.run(
            run_in_processes(
                replace(interrupted, resume=False), 2, on_progress=lambda share, records: None, stop=asyncio.Event()
            )
        )
    assert written(views.folder) == before
    asyncio.run(replayed(interrupted))


def test_what_is_overwritten_begins_anew(views: Views, interrupted: Plan) -> None:
    out = interrupted.folder
    assert out is not None
    done = views.replay(views.folder / "views.csv", "--to", out, "--overwrite")
    again = views.replay(views.folder / "views.csv", "--to", out)

    assert done.returncode == again.returncode == 0, done.stderr + again.stderr
    assert f"{ROWS:,} events" in done.stdout
    assert not list(out.glob("replay*"))


def test_processes_go_on_where_they_were_interrupted(views: Views, interrupted: Plan) -> None:
    """`interrupted` ran in one process, and is none of theirs."""

    async def in_processes(plan: Plan, stop_at: int) -> None:
        stop = asyncio.Event()

        def on_progress(share: float | None, records: int) -> None:
            if records >= stop_at:
                stop.set()

        await run_in_processes(plan, 2, on_progress=on_progress, stop=stop)

    with pytest.raises(CannotResume, match="no interrupted replay of these candidates"):
        asyncio.run(in_processes(interrupted, ROWS * 2))
    slow = replace(interrupted, resume=False, overwrite=True, speed=200.0)
    with pytest.raises(Interrupted):
        asyncio.run(in_processes(slow, STOP))
    asyncio.run(in_processes(replace(slow, resume=True, overwrite=False, speed=None), ROWS * 2))

    done = written(views.folder / "out")
    assert done["a/scores.jsonl"] == done["b/scores.jsonl"]
    assert done["a/scores.jsonl"].count(b"\n") == ROWS
    assert not list((views.folder / "out").glob("replay*"))


def test_one_that_is_done_goes_on_together_with_those_that_are_not(views: Views) -> None:
    plan = views.plan(views.file("views.csv", views.rows(ROWS)), views.folder / "out", "a", "b")
    done, cut_off = shares(plan, 2)
    asyncio.run(replayed(done))
    with pytest.raises(Interrupted):
        asyncio.run(replayed(cut_off, stop_at=STOP))
    resumed = replace(plan, resume=True)
    results = asyncio.run(run_in_processes(resumed, 2, on_progress=lambda *_: None, stop=asyncio.Event()))

    found = written(views.folder / "out")
    assert [one.tally.records for one in results] == [ROWS, ROWS]
    assert found["a/scores.jsonl"] == found["b/scores.jsonl"]
    assert found["a/scores.jsonl"].count(b"\n") == ROWS
    assert not list((views.folder / "out").glob("replay*"))
