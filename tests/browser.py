"""A real headless browser, driven over the Chrome DevTools Protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from polling import eventually

from streams.embedded import die_with_parent

START_S = 30.0
WITHIN_S = 20.0


class Page:
    """One page of the browser.

    Attributes
    ----------
    complaints
        What the console has said as an error, and exceptions that nobody has caught.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(str(said["params"]["entry"]))
            elif said["method"] == "Runtime.consoleAPICalled" and said["params"]["type"] == "error":
                self.complaints.append(str(said["params"]["args"]))

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol, and return its result."""
        number = next(self._numbers)
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(WITHIN_S):
            said = await answered
        assert "error" not in said, said
        return dict(said["result"])

    async def value(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        found = await self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until JavaScript says something true, and return it."""
        async with asyncio.timeout(WITHIN_S):
            while not (found := await self.value(expression)):
                await asyncio.sleep(0.05)
        return found

    async def width(self, pixels: int, height: int = 900) -> None:
        """Make the window so wide."""
        await self.do(
            "Emulation.setDeviceMetricsOverride", width=pixels, height=height, deviceScaleFactor=1, mobile=False
        )

    async def dark(self, on: bool) -> None:
        """Prefer dark colours, or light ones."""
        preferred = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        await self.do("Emulation.setEmulatedMedia", features=[preferred])

    async def picture(self, path: Path) -> None:
        """Write what is seen into a file."""
        taken = await self.do("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(taken["data"]))

    async def close(self) -> None:
        """Stop listening."""
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading


@contextlib.contextmanager
def running_browser() -> Iterator[str]:
    """Run a browser for the length of a block; yield where it is driven. Skips the test where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("neither Chromium nor Chrome is installed")
    flags = ["--headless", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-port=0"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to be root otherwise
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [chromium, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        try:
            yield eventually(lambda: _address_of(browser, Path(profile)), within_s=START_S)
        finally:
            browser.kill()
            browser.wait()


def _address_of(browser: subprocess.Popen[bytes], profile: Path) -> str | None:
    """Read the file that says, once it is whole, at which port and path the browser listens."""
    assert browser.poll() is None, "the browser has ended"
    try:
        port, path = (profile / "DevToolsActivePort").read_text().splitlines()
    except (OSError, ValueError):
        return None
    return f"ws://127.0.0.1:{port}{path}"


@contextlib.asynccontextmanager
async def opened(browser: str, url: str) -> AsyncIterator[Page]:
    """Open a page for the length of a block, which shares neither storage nor cache with any other."""
    pages = browser.partition("/devtools/")[0] + "/devtools/page/"
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(browser, max_msg_size=0) as control,
        _listening(control) as whole,
    ):
        own = (await whole.do("Target.createBrowserContext"))["browserContextId"]
        try:
            target = (await whole.do("Target.createTarget", url="about:blank", browserContextId=own))["targetId"]
            async with client.ws_connect(pages + target, max_msg_size=0) as socket, _listening(socket) as page:
                for domain in ("Page", "Runtime", "Log"):
                    await page.do(f"{domain}.enable")
                await page.do("Page.navigate", url=url)
                yield page
        finally:
            await whole.do("Target.disposeBrowserContext", browserContextId=own)


@contextlib.asynccontextmanager
async def _listening(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Page]:
    page = Page(socket)
    try:
        yield page
    finally:
        await page.close()
