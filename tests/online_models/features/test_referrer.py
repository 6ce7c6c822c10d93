from __future__ import annotations

import pytest
from builders import a_page_view

from tests.online_models.features.timelines import values_of

MEDIA = ("direct", "internal", "search", "social", "email", "paid", "other")
SITE = "https://www.shop.example.com/boots"


def medium(url: str | None, referrer: str | None, **options: object) -> str | None:
    [value] = values_of({"x": {"referrer": "medium", **options}}, a_page_view(url=url, referrer=referrer))
    assert value is None or value in MEDIA
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("referrer", "expected"),
    [
        (None, "direct"),
        ("", "direct"),
        ("https://shop.example.com/", "internal"),
        ("https://SHOP.example.com:443/socks?x=1", "internal"),
        ("https://www.google.co.uk/", "search"),
        ("https://duckduckgo.com/?q=boots", "search"),
        ("https://de.search.yahoo.com/", "search"),
        ("https://l.facebook.com/", "social"),
        ("https://t.co/abc", "social"),
        ("android-app://com.reddit.frontpage", "social"),
        ("https://mail.google.com/", "email"),
        ("https://outlook.live.com/mail/", "email"),
        ("https://news.google.co.uk/", "search"),
        ("https://yandex.com.tr/search", "search"),
        ("https://www.ask.com/web?q=boots", "search"),
        ("android-app://com.google.android.googlequicksearchbox/", "search"),
        ("android-app://com.duckduckgo.mobile.android", "search"),
        ("android-app://com.google.android.gm/", "email"),
        ("android-app://com.google.android.youtube", "social"),
        ("https://mastodon.social/@boots", "social"),
        ("https://m.vk.com/", "social"),
        ("https://accounts.google.com/", "other"),
        ("https://docs.google.com/document/d/1", "other"),
        ("https://login.yandex.ru/", "other"),
        ("android-app://com.google.android.apps.docs", "other"),
        ("https://ask.my-forum.org/q/1", "other"),
        ("https://threads.my-forum.org/q/1", "other"),
        ("https://reddit.example.com/", "other"),
        ("https://blog.example.org/best-boots", "other"),
        ("https://notgoogle.com/", "other"),
        ("::::", "other"),
    ],
)
def test_the_referrer_tells_the_medium(referrer: str | None, expected: str) -> None:
    assert medium(SITE, referrer) == expected


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("utm_medium=cpc", "paid"),
        ("utm_source=x&utm_medium=Paid+Social", "paid"),
        ("gclid=abc", "paid"),
        ("utm_medium=e-mail#top", "email"),
        ("utm_medium=newsletter", "email"),
        ("utm_medium=social", "social"),
        ("fbclid=1", "social"),
        ("utm_medium=organic", "search"),
        ("utm_medium=qr", "other"),
        ("utm_medium=", "search"),
        ("q=gclid", "search"),
    ],
)
def test_marks_in_the_landing_url_come_before_the_referrer(marks: str, expected: str) -> None:
    assert medium(f"{SITE}?{marks}", "https://www.google.com/") == expected


def test_own_hosts_are_internal_where_the_url_is_not_known() -> None:
    assert medium(None, "https://checkout.example.net/") == "other"
    assert medium(None, "https://checkout.example.net/", site=["www.checkout.example.net"]) == "internal"


def test_an_event_that_knows_neither_says_nothing() -> None:
    assert medium(None, None) is None
