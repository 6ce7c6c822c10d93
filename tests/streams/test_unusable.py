"""What cannot be done is said in a sentence, with the status that scripts rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.errors import UserError, friendly
from streams.cli.main import app
from streams.embedded import free_port
from streams.reading import TopicMissing


def test_a_side_that_cannot_be_reached_is_no_difference(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text("")
    kafka = {"STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}

    done = subprocess.run(
        [sys.executable, "-m", "streams.cli.main", "diff", str(tmp_path), "live", "-c", "shop"],
        env={**os.environ, **kafka},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "error: Kafka cannot be reached: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_wrong_is_no_difference_either(tmp_path: Path) -> None:
    config = tmp_path / "scoring.yaml"
    config.write_text("objectives: 5")

    assert CliRunner().invoke(app, ["diff", str(tmp_path), "live", "-c", str(config)]).exit_code == 2
    assert CliRunner().invoke(app, ["diff", str(tmp_path), "live", "-c", "nobodys"]).exit_code == 2


@pytest.mark.parametrize(
    ("pace", "message"),
    [
        (["--rate", "1", "--speed", "2"], "Either --rate or --speed, not both"),
        (["--rate", "0"], "Expected --rate to be a number above 0, got 0"),
        (["--rate", "nan"], "Expected --rate to be a number above 0, got nan"),
        (["--speed", "-1"], "Expected --speed to be a number above 0, got -1"),
    ],
)
def test_a_pace_at_which_nothing_can_be_fed_is_refused(pace: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["feed", "-", *pace, "-c", "shop"])

    assert isinstance(done.exception, UserError)
    assert str(done.exception) == message


def test_so_it_is_in_the_demo() -> None:
    done = CliRunner().invoke(app, ["demo", "--rate", "0"])

    assert isinstance(done.exception, UserError)
    assert str(done.exception) == "Expected --rate to be a number above 0, got 0"


def test_a_topic_that_is_missing_ends_any_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, friendly():
        raise TopicMissing("There is no topic 'events'")

    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: There is no topic 'events'\n"
