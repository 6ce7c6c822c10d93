from __future__ import annotations

import pytest
from builders import a_page_view

from tests.online_models.features.timelines import Visitor

MOZILLA = "Mozilla/5.0"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0"
DECLARED = {name: {"user_agent": name} for name in ("device", "browser", "os")}


@pytest.mark.parametrize(
    ("text", "device", "browser", "system"),
    [
        (
            f"{MOZILLA} (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/17.0 Mobile/15E148 Safari/604.1",
            "phone",
            "Mobile Safari",
            "iOS",
        ),
        (
            f"{MOZILLA} (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.0 "
            "Mobile/15E148 Safari/604.1",
            "tablet",
            "Mobile Safari",
            "iOS",
        ),
        (f"{MOZILLA} (Linux; Android 13; Pixel 7) {CHROME} Mobile Safari/537.36", "phone", "Chrome Mobile", "Android"),
        (f"{MOZILLA} (Linux; Android 13; SM-T870) {CHROME} Safari/537.36", "tablet", "Chrome", "Android"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36", "desktop", "Chrome", "Windows"),
        (f"{MOZILLA} (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", "desktop", "Firefox", "Linux"),
        (f"{MOZILLA} (SMART-TV; Linux; Tizen 6.0) {CHROME} TV Safari/537.36", "tv", "Chrome", "Tizen"),
        (f"{MOZILLA} (PlayStation 4 11.00) AppleWebKit/605.1.15", "console", None, None),
        (f"{MOZILLA} (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot", "Googlebot", None),
        ("curl/8.0", None, "curl", None),
        ("nonsense", None, None, None),
        ("", None, None, None),
        (None, None, None, None),
    ],
)
def test_a_user_agent_tells_device_browser_and_system(
    text: str | None, device: str | None, browser: str | None, system: str | None
) -> None:
    values = Visitor(DECLARED).does(a_page_view(user_agent=text))

    if browser is not None:  # which families are told apart beyond these is the library's
        assert values["browser"] == browser
    if system is not None:
        assert values["os"] == system
    assert values["device"] == device
