"""`streamscore check` looks at what a replay will run, too; and each of that has a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.main import app
from streams.cli.replay import candidates_of
from streams.configs import shipped_config

SHOP = shipped_config("shop").read_text(encoding="utf-8")


def checked(tmp_path: Path, candidates: str) -> tuple[int, str]:
    path = tmp_path / "tried.yaml"
    path.write_text(f"{SHOP}\ncandidates:\n{candidates}", encoding="utf-8")
    done = CliRunner().invoke(app, ["check", str(path)])
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


def test_a_fine_candidate_is_fine(tmp_path: Path) -> None:
    code, said = checked(tmp_path, "  slow: {objectives: {click: {model: {name: ftrl, alpha: 0.01}}}}\n")

    assert (code, "fine" in said) == (0, True)


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        ("{objectives: {click: {without: [nope]}}}", "No feature is called 'nope'"),
        ("{objectives: {clik: {prior: 0.5}}}", "objectives.clik"),
        ("{learning: {publish_interval: 0s}}", "publish_interval"),
        ("{learning: {x: 1}}", "learning.x: Unknown key"),
    ],
)
def test_a_wrong_candidate_is_told_with_its_line(tmp_path: Path, candidate: str, says: str) -> None:
    code, said = checked(tmp_path, f"  slow: {candidate}\n")

    assert code != 0
    assert f"tried.yaml:{len(SHOP.splitlines()) + 3}: " in said
    assert says in said


def test_all_that_is_compared_has_names_of_its_own(tmp_path: Path) -> None:
    one, other = tmp_path / "shop.a.yaml", tmp_path / "shop.yaml"
    one.write_text(SHOP, encoding="utf-8")
    other.write_text(f"{SHOP}\ncandidates: {{a: {{}}}}\n", encoding="utf-8")

    labels = [one.label for one in candidates_of([str(one), str(other), str(other)])]

    assert labels == ["shop.a", "shop-2", "shop-2.a", "shop-3", "shop-3.a"]
