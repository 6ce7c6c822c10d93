"""The report's page in a real browser: nothing complains, nothing is fetched, nothing is wider than a telephone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from schemas import samples
from schemas.report import BadRow
from streams.replay.html import render

FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # there is no network, whatever is asked for
    "--enable-logging=stderr",
)

# Opens the page in a frame as wide as a telephone, and writes down how wide its content became and what it asked for.
FRAME = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe src="report.html" style="width:390px;height:3000px;border:0" onload="
  const inside = this.contentWindow, page = inside.document.documentElement;
  const asked = inside.performance.getEntriesByType('resource').map(one => one.name);
  document.getElementById('found').textContent = [page.scrollWidth, page.clientWidth, ...asked].join(' ')"></iframe>
<p id="found">not loaded</p>"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(render(samples.REPORT), encoding="utf-8")
    return path


def opened(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page until it has loaded; standard output is its DOM then."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("neither Chromium nor Chrome is installed")
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()  # it refuses to be root otherwise
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = (chromium, *FLAGS, *sandbox, profile, *flags, "--dump-dom", page.as_uri())
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)


def test_the_browser_has_nothing_to_complain_of(page: Path) -> None:
    done = opened(page)

    assert samples.REPORT.verdict in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


def found_in_a_frame(page: Path, *, height: str = "3000px") -> list[str]:
    """Return how wide the content is, how wide the frame, and the addresses that the page asked for."""
    frame = page.parent / "frame.html"
    frame.write_text(FRAME.replace("3000px", height), encoding="utf-8")
    found = re.search(r'<p id="found">([^<]*)</p>', opened(frame, "--allow-file-access-from-files").stdout)
    assert found
    return found[1].split()


def test_on_a_telephone_nothing_has_to_be_moved_sideways_and_nothing_is_fetched(page: Path) -> None:
    assert found_in_a_frame(page) == ["390", "390"]


def test_nor_where_files_with_long_names_had_bad_rows(page: Path) -> None:
    name = f"{'clicks_of_' * 12}.csv.gz"
    report = msgspec.structs.replace(
        samples.REPORT,
        bad_rows=2,
        first_bad_rows=[BadRow(file=name, line=17, message="price: Expected a number")],
        notes=[f"{name} is cut off or damaged from line 104,003 on; nothing behind it was read"],
    )
    shown = render(report).replace("<details>", "<details open>")
    page.write_text(shown, encoding="utf-8")

    assert found_in_a_frame(page, height="9000px") == ["390", "390"]


def test_a_page_that_fetches_or_is_too_wide_would_be_noticed(page: Path) -> None:
    worse = '<img src="http://shop.example/pixel.png"><div style="width:900px">wide</div></main>'
    page.write_text(page.read_text(encoding="utf-8").replace("</main>", worse), encoding="utf-8")

    width, room, *fetched = found_in_a_frame(page)

    assert int(width) > int(room) == 390
    assert fetched == ["http://shop.example/pixel.png"]


def test_a_script_that_fails_would_be_noticed(page: Path) -> None:
    page.write_text(page.read_text(encoding="utf-8") + "<script>throw new Error('x')</script>", encoding="utf-8")

    assert "CONSOLE" in opened(page).stderr
