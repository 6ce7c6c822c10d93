"""Replays of files that are not as they should be: what is said of it."""

from __future__ import annotations

import asyncio
import gzip
import io
from pathlib import Path

import pytest
from replaying import Views, replayed, written

from schemas.report import BadRow
from streams.mapping import Mapping
from streams.replay.files import FilesSource
from streams.replay.parallel import run_in_processes
from streams.replay.run import Interrupted
from streams.replay.spec import FileInput


@pytest.fixture
def views(tmp_path: Path) -> Views:
    return Views(tmp_path)


# ---------------------------------------------------------------- standard input


async def test_standard_input_is_replayed_into_a_folder_and_cannot_be_gone_on_with(
    views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = views.file("views.csv", views.rows(300))
    await replayed(views.plan(file, views.folder / "file", "a", "b"))
    piped = views.plan(Path("-"), views.folder / "piped", "a", "b", checkpoint_s=0.0)

    with open(file, "rb") as read:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(read))
        await run_in_processes(piped, 2, on_progress=lambda share, records: None, stop=asyncio.Event())

    assert written(views.folder / "piped") == written(views.folder / "file")
    assert views.replay("-", "--to", views.folder / "piped", "--resume").stderr.endswith(
        "error: Standard input cannot be read again from where it was; run without --resume\n"
    )


async def test_what_was_read_from_standard_input_is_not_offered_to_go_on_with(
    views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(views.file("views.csv", views.rows(300)), "rb") as read:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(read))
        with pytest.raises(Interrupted):
            await replayed(views.plan(Path("-"), views.folder / "piped"), stop_at=100)

    assert not list((views.folder / "piped").glob("replay*"))


# ---------------------------------------------------------------- times


def test_an_event_of_the_future_is_a_dead_letter_and_stops_no_learning(views: Views) -> None:
    rows = views.rows(1000)
    rows[300] = "v0,4070908800000,i1"  # 2099
    whole, _ = views.report(views.file("whole.csv", [*rows[:300], *rows[301:]]))

    report, said = views.report(views.file("future.csv", rows))

    assert (report.events, report.dead, report.scored) == (1000, 1, 999)
    assert report.objectives["again"].overall == whole.objectives["again"].overall
    assert report.notes == ["1 dead letters (time_ahead): events of the future, which no worker would take"]
    assert report.notes[0] in said


async def test_a_dead_letter_has_its_place_in_the_topic_as_if_it_had_been_fed(views: Views) -> None:
    file = views.file("views.csv", ["v0,1000000000000,i1", "v0,1000000400000,i1", "v0,1000000001000,i1"])

    def source() -> FilesSource:
        mapping = Mapping.load(str(views.mapping))
        return FilesSource([FileInput(file)], mapping, topic="events", partitions=1, now_ms=1_000_000_000_000)

    first, second = [chunk async for chunk in source().chunks(2)]
    later = FilesSource([FileInput(file)], Mapping.load(str(views.mapping)), topic="events", partitions=1)
    (again,) = [chunk async for chunk in later.chunks(2, position=first.position)]

    assert [arrival[:2] for arrival in first.arrivals + second.arrivals] == [(0, 0), (0, 2)]
    assert first.dead == {"time_ahead": 1}
    assert again.position == second.position, "what is of the future is decided once, when the replay begins"


def test_rows_behind_one_that_is_dated_far_ahead_are_spoken_of(views: Views) -> None:
    rows = views.rows(1000)
    rows[300] = f"v0,{views.T0 + 90 * 86_400_000},i1"

    report, said = views.report(views.file("ahead.csv", rows))
    quiet, _ = views.report(views.file("quiet.csv", rows[:300]))

    (note,) = report.notes
    assert note.startswith(
        "699 of 1,000 events lie more than an hour behind an earlier one (event 301 is dated 2017-12-30 03:00 UTC, "
        "those before it to 2017-10-01 03:04 UTC)"
    )
    assert note in said
    assert quiet.notes == []


def test_files_that_are_named_the_wrong_way_round_are_spoken_of(views: Views) -> None:
    first = views.file("day1.csv", views.rows(100))
    second = views.file("day2.csv", views.rows(100, start_ms=views.T0 + 86_400_000))

    right, _ = views.report(first, second)
    wrong, _ = views.report(second, first)

    assert right.notes == []
    assert wrong.notes[0].startswith("100 of 200 events lie more than an hour behind an earlier one: they may")


# ---------------------------------------------------------------- several files


@pytest.mark.parametrize("clock", [False, True], ids=["times of rows", "clock"])
def test_a_file_in_two_parts_is_replayed_like_the_whole(views: Views, clock: bool) -> None:
    if clock:
        made_up = "ts: {clock: {start: 2017-10-01T00:00:00Z, step_ms: 1000}}"
        views.mapping.write_text(views.MAPPING.replace("ts: ts_ms", made_up))
    rows = views.rows(140)  # of seven visitors in turn: the same ones on the same lines of both halves
    parts = views.file("1.csv", rows[:70]), views.file("2.csv", rows[70:])

    whole, _ = views.report(views.file("whole.csv", rows))
    report, _ = views.report(*parts)

    assert (report.events, report.scored, report.ignored) == (140, 140, {})
    assert whole.scored == 140
    judged, of_whole = report.objectives["again"].overall, whole.objectives["again"].overall
    assert judged.n == pytest.approx(of_whole.n, abs=1)  # a header more is a step of the clock more


async def test_lines_count_on_from_file_to_file_and_those_of_one_are_as_ever(views: Views) -> None:
    rows = views.rows(4)
    parts = [FileInput(views.file("1.csv", rows[:2])), FileInput(views.file("2.csv", ["bad", *rows[2:]]))]
    source = FilesSource(parts, Mapping.load(str(views.mapping)), topic="events", partitions=1)

    (chunk,) = [chunk async for chunk in source.chunks(10)]

    assert [arrival[3].event_id for arrival in chunk.arrivals] == ["views-2", "views-3", "views-6", "views-7"]  # type: ignore[union-attr]
    assert [(name, line) for name, line, _ in source.bad_rows] == [("2.csv", 2)]


# ---------------------------------------------------------------- candidates that were asked something else


def test_candidates_that_judged_other_labels_are_not_compared(views: Views) -> None:
    other, page = views.folder / "other.yaml", views.folder / "report.html"
    other.write_text(
        views.CONFIG.replace("window: 10s", "window: 5s").replace("{name: ftrl}", "{name: ftrl, alpha: 5}")
    )
    same = views.folder / "same.yaml"
    same.write_text(views.CONFIG.replace("{name: ftrl}", "{name: ftrl, alpha: 0.01}"))
    file = views.file("views.csv", views.rows(500))

    report, _ = views.report(file, "-c", views.config, "-c", other, "-c", same, "--report", page)

    a, b, c = (report.candidates[label] for label in ("scoring", "other", "same"))
    assert (a.not_comparable, b.not_comparable, c.not_comparable) == ([], ["again"], [])
    assert report.baselines == a.baselines == c.baselines
    assert b.baselines["again"]["base_rate"].log_loss == b.objectives["again"].overall.base_log_loss
    assert b.objectives["again"].overall.positives == 0 < a.objectives["again"].overall.positives
    assert b.objectives["again"].overall.log_loss < a.objectives["again"].overall.log_loss  # type: ignore[operator]
    assert "Of the other candidates same is best" in report.verdict
    assert "Not comparable, since other triggers or labels were judged: other (0 of 4" in report.verdict
    assert "other (ftrl), not comparable" in page.read_text()


# ---------------------------------------------------------------- rows that become no event


@pytest.mark.parametrize("piped", [False, True], ids=["file", "standard input"])
def test_bad_rows_are_counted_and_named_wherever_the_report_goes(views: Views, piped: bool) -> None:
    rows = views.rows(60)
    rows[1::2] = ["v1,yesterday,i1"] * 30
    file, page = views.file("half.csv", rows), views.folder / "report.html"
    source, stdin = ("-", file.read_text()) if piped else (file, "")

    report, said = views.report(source, "--report", page, stdin=stdin)

    name = "-" if piped else "half.csv"
    why = "ts: Expected an epoch number; for text such as 2017-10-01T03:00:00Z use `format: iso`"
    assert (report.events, report.bad_rows) == (30, 30)
    assert report.first_bad_rows == [BadRow(file=name, line=line, message=why) for line in range(3, 43, 2)]
    assert f"{name}:3: {why}\n" in said
    assert "… and 10 more bad rows" in said
    for shown in (f"{name}:3: {why}", "<dt>bad rows</dt><dd>30</dd>", "… and 10 more bad rows"):
        assert shown in page.read_text()
    assert "yesterday" not in said + page.read_text()
    assert "30 bad rows were skipped" in views.replay(source, stdin=stdin).stdout


def test_without_one_good_row_the_status_says_so_and_the_reason_is_given(views: Views) -> None:
    in_seconds = views.file("seconds.csv", [f"v{n},{1_506_826_800 + n},i1" for n in range(5)])

    done = views.replay(in_seconds)

    assert done.returncode == 1
    assert "seconds.csv:2: ts: this is before the year 2000; is the `format` of `ts` right" in done.stderr
    assert "error: Nothing of seconds.csv can be scored: all 5 rows are bad" in done.stderr


def test_a_file_without_rows_is_no_fault(views: Views) -> None:
    report, _ = views.report(views.file("quiet.csv", []))

    assert (report.events, report.bad_rows) == (0, 0)


def test_a_file_that_is_cut_off_is_spoken_of_first(views: Views) -> None:
    whole = gzip.compress(views.file("whole.csv", views.rows(5000)).read_bytes())
    cut, page = views.folder / "cut.csv.gz", views.folder / "report.html"
    cut.write_bytes(whole[: len(whole) // 2])

    report, said = views.report(cut, "--report", page)

    assert 1000 < report.events < 5000
    assert report.notes == [
        f"cut.csv.gz is cut off or damaged from line {report.events + 2:,} on; nothing behind it was read"
    ]
    assert report.notes[0] in said
    assert f'<p class="verdict bad">{report.notes[0]}' in page.read_text()
