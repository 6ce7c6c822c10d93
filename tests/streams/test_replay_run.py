"""Replaying files: what comes out depends on the events and the configuration, and on nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from replaying import plan, replayed, written

from schemas.codec import decode_score, encode_json
from streams.configs import shipped_config
from streams.replay.candidate import CannotResume
from streams.replay.html import render
from streams.replay.parallel import ProcessFailed, run_in_processes, shares
from streams.replay.plan import CandidateSpec, Plan
from streams.replay.report import make_report
from streams.replay.run import Interrupted
from streams.replay.spec import parse_spec
from streams.simulate import Shop
from streams.sources import SourceError

EVENTS = 3_000

VARIANTS = """
candidates:
  slow: {objectives: {click: {model: {name: ftrl, alpha: 0.01}}}}
  immediate: {objectives: {click: {labels: immediate}}}
"""


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    lines = (encode_json(event) for event in islice(Shop(seed=5, visitors=120).events(), EVENTS))
    path.write_bytes(b"\n".join(lines))
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's configuration with a cache so small that users go to the disk and come back."""
    path = tmp_path_factory.mktemp("config") / "shop.yaml"
    path.write_text(shipped_config("shop").read_text() + "worker: {cache_users: 40}\n" + VARIANTS)
    return path


@pytest.fixture(scope="module")
def reference(events: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("reference")
    asyncio.run(replayed(plan(events, config, folder)))
    return written(folder)


def test_every_trigger_is_scored_and_models_learn_on_the_way(reference: dict[str, bytes]) -> None:
    scores = [decode_score(line) for line in reference["scores.jsonl"].splitlines()]

    assert len({one.score_id for one in scores}) == len(scores) > EVENTS / 4
    assert max(one.model_version for one in scores) > 500
    assert len(reference["examples.jsonl"].splitlines()) > 500


@pytest.mark.parametrize("chunk", [1, 333, 10_000])
async def test_the_size_of_chunks_changes_no_byte(
    chunk: int, events: Path, config: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    await replayed(replace(plan(events, config, tmp_path), chunk=chunk))

    assert written(tmp_path) == reference


async def test_the_size_of_the_cache_changes_no_byte(
    events: Path, config: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    large = tmp_path / "large.yaml"
    large.write_text(config.read_text().replace("cache_users: 40", "cache_users: 100000"))

    await replayed(plan(events, large, tmp_path / "out"))

    assert written(tmp_path / "out") == reference


@pytest.mark.parametrize("stops", [[500], [700, 1600, 2500]])
async def test_an_interrupted_replay_goes_on_to_the_same_bytes(
    stops: Sequence[int], events: Path, config: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    wanted = plan(events, config, tmp_path)

    for number, stop_at in enumerate(stops):
        with pytest.raises(Interrupted):
            await replayed(replace(wanted, resume=number > 0, chunk=100 + 37 * number), stop_at=stop_at)
        with (tmp_path / "scores.jsonl").open("ab") as file:  # as if it had been killed after its last checkpoint
            file.write(b'{"half a li')
    await replayed(replace(wanted, resume=True))

    assert written(tmp_path) == reference
    assert not list(tmp_path.glob("replay*.db*")), "there is nothing left to go on with"


CONTESTED = """
candidates:
  contested:
    objectives:
      click:
        model: {name: ftrl, alpha: 2.0, l2: 0.0}
        challengers: {calm: {model: {name: ftrl, alpha: 0.02}, without: [price]}}
        promotion: {automatic: true, after: 50}
policies:
  logged: {kind: logged, objective: click}
  even: {kind: uniform, objective: click, candidates: {recent: 20}}
"""


async def test_an_interruption_changes_no_promotion_and_no_estimate(events: Path, tmp_path: Path) -> None:
    config = tmp_path / "contested.yaml"
    config.write_text(shipped_config("shop").read_text() + CONTESTED)

    (whole,) = await replayed(plan(events, config, tmp_path / "whole", "contested"))
    wanted = plan(events, config, tmp_path / "parts", "contested")
    for number, stop_at in enumerate([900, 2100]):
        with pytest.raises(Interrupted):
            await replayed(replace(wanted, resume=number > 0, chunk=90), stop_at=stop_at)
    (resumed,) = await replayed(replace(wanted, resume=True))

    assert [one.variant for _, one in whole.promotions] == ["calm"]
    assert whole.policies["click"]["even"]["snips"]["n"] > 500
    for name in ("objectives", "policies", "promotions", "standings", "scored", "ignored"):
        assert getattr(resumed, name) == getattr(whole, name)
    assert written(tmp_path / "parts") == written(tmp_path / "whole")
    scores = [decode_score(line) for line in (tmp_path / "whole" / "scores.jsonl").read_bytes().splitlines()]
    assert {one.variant for one in scores if one.objective == "click"} == {"", "calm"}
    report = make_report([whole], source=["events"], duration_s=1.0)
    page = render(report)
    assert "Champion and challengers" in page
    assert "What if another policy had chosen?" in page
    logged, judged = report.policies["click"]["logged"]["ips"], report.objectives["click"].overall
    assert logged.value == pytest.approx(judged.positives / judged.n, abs=0.02)


async def test_what_was_interrupted_goes_on_with_nothing_else(events: Path, config: Path, tmp_path: Path) -> None:
    wanted = plan(events, config, tmp_path)
    with pytest.raises(Interrupted):
        await replayed(wanted, stop_at=500)

    with pytest.raises(CannotResume, match="had another source, configuration, mapping or version"):
        await replayed(replace(plan(events, config, tmp_path, "slow"), resume=True))
    with pytest.raises(CannotResume, match="holds no interrupted replay"):
        await replayed(replace(plan(events, config, tmp_path / "elsewhere"), resume=True))


async def test_candidates_run_side_by_side_as_each_would_alone(
    events: Path, config: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    labels = (None, "slow", "immediate")
    await replayed(plan(events, config, tmp_path / "together", *labels))
    await replayed(plan(events, config, tmp_path / "alone", "slow"))

    together = written(tmp_path / "together")

    assert together["shop/scores.jsonl"] == reference["scores.jsonl"]
    assert together["slow/scores.jsonl"] == written(tmp_path / "alone")["scores.jsonl"]
    assert len({together[f"{label}/scores.jsonl"] for label in ("shop", "slow", "immediate")}) == 3


async def test_processes_give_what_one_process_gives(
    events: Path, config: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    wanted = plan(events, config, tmp_path, None, "slow")
    seen: list[int] = []

    results = await run_in_processes(
        wanted, 2, on_progress=lambda share, records: seen.append(records), stop=asyncio.Event()
    )

    assert [one.label for one in results] == ["shop", "slow"]
    assert written(tmp_path)["shop/scores.jsonl"] == reference["scores.jsonl"]
    assert seen[-1] == EVENTS


async def test_a_process_that_fails_says_why(events: Path, config: Path, tmp_path: Path) -> None:
    gone = replace(plan(events, config, tmp_path, None, "slow"), sources=(parse_spec(str(tmp_path / "gone.csv")),))

    with pytest.raises(ProcessFailed, match=r"gone\.csv cannot be read"):
        await run_in_processes(gone, 2, on_progress=lambda share, records: None, stop=asyncio.Event())
    with pytest.raises(SourceError, match=r"gone\.csv cannot be read"):
        await replayed(replace(gone, candidates=gone.candidates[:1]))


def test_candidates_are_dealt_in_turn_and_keep_folders_of_their_own(tmp_path: Path) -> None:
    specs = tuple(CandidateSpec(label, Path("x.yaml")) for label in "abc")

    first, second = shares(Plan(sources=(), candidates=specs, folder=tmp_path), 2)

    assert [one.label for one in first.candidates] == ["a", "c"]
    assert second.folder_of(second.candidates[0]) == tmp_path / "b"
    assert first.state_name != second.state_name


async def test_a_paced_replay_lets_events_through_when_they_are_due(
    events: Path, config: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    first, *_, last = reference["scores.jsonl"].splitlines()
    span_s = (decode_score(last).ts - decode_score(first).ts) / 1000
    loop = asyncio.get_running_loop()
    started = loop.time()

    await replayed(replace(plan(events, config, tmp_path), speed=span_s / 1.5))

    assert loop.time() - started >= 1.4
    assert written(tmp_path) == reference
