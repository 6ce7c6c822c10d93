"""The command streamscore as a process, and what it answers over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.embedded import die_with_parent


def start_streamscore(arguments: Sequence[str], variables: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a command with these variables of ours and no others; its output is in `stdout`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("STREAMSCORE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "streams.cli.main", *arguments],
        env={**inherited, **variables, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )


def status_of(port: str, path: str) -> int | None:
    """Return the HTTP status of a worker's page, None if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None
