"""Where the visitor came from: the medium, told from campaign parameters of the url, else from the referrer.

What is paid for or mailed is marked in the landing url, and the marks are surer than the referrer, which
browsers shorten and apps leave out. The tables hold the sites that bring most visits; whatever they
do not know is "other".
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from online_models.features.memo import MAX_LONG, Memo
from online_models.features.options import Options
from online_models.features.plan import Reading, Slots

_PAID_WORDS = ("cpc", "ppc", "cpm", "cpv", "cpa", "paid", "display", "banner", "retarget", "affiliate")
_PAID_CLICK_IDS = ("gclid", "msclkid", "dclid", "gbraid", "wbraid")
# By the label that tells whose host it is: google.com, www.google.de and news.google.co.uk have one in common. Of an
# app, whose name is turned around, by any.
# fmt: off
_SEARCH = frozenset((
    "google", "bing", "duckduckgo", "yandex", "baidu", "ecosia", "qwant", "startpage", "seznam", "naver", "ask",
    "sogou",
))
_SOCIAL = frozenset((
    "facebook", "instagram", "twitter", "linkedin", "pinterest", "reddit", "youtube", "tiktok", "threads", "snapchat",
    "vk", "weibo", "tumblr", "whatsapp", "telegram", "messenger", "discord", "mastodon", "bsky", "xing", "quora",
))
# One who comes from there has signed in, paid, worked or played; the name of the search engine is the company's.
_NO_SEARCH = frozenset((
    "accounts", "myaccount", "login", "passport", "id", "pay", "docs", "drive", "disk", "sites", "calendar",
    "classroom", "groups", "meet", "chat", "play", "console", "cloud", "support", "developers",
))
_SHORT_HOSTS = {
    "t.co": "social", "x.com": "social", "lnkd.in": "social", "youtu.be": "social", "t.me": "social",
    "com.google.android.googlequicksearchbox": "search", "com.google.android.gm": "email",
    "com.google.android.youtube": "social",
}
# fmt: on
# Between a name and its country, as in google.co.uk.
_SECOND_LEVEL = frozenset(("co", "com", "net", "org", "ne"))
_APP = "android-app:"
_EMAIL_HOSTS = ("mail.", "webmail.", "outlook.", "e.mail.", "deref-gmx.", "deref-web.")


def referrer(options: Options) -> Reading:
    """``{referrer: medium, site: [HOST, …]}``: direct, internal, search, social, email, paid or other.

    `site` lists the site's own hosts; the host of the event's url always counts as own. Missing where
    the event has neither url nor referrer.
    """
    options.choice("referrer", ("medium",))
    own = _own_hosts(options)
    host_of = Memo(_host, MAX_LONG)
    medium_of = Memo(lambda source: _host_medium(host_of[source], is_app=source.startswith(_APP)), MAX_LONG)

    def read(slots: Slots, event: Any, now: int) -> str | None:
        source, url = event.referrer, event.url
        if url is not None and "?" in url:
            marked = _marked_medium(url)
            if marked is not None:
                return marked
        if not source:
            return None if url is None else "direct"
        host = host_of[source]
        if host in own or (url is not None and host == host_of[url]):
            return "internal"
        return medium_of[source]  # type: ignore[no-any-return]

    return Reading("category", read, max_chars=128, of_item=False)


def _own_hosts(options: Options) -> frozenset[str]:
    declared = options.raw("site") if options.has("site") else []
    listed = declared if isinstance(declared, list) else [declared]
    for index, one in enumerate(listed):
        if not isinstance(one, str) or not one:
            raise options.error("Expected a host name such as shop.example.com", "site", index)
    options.canonical["site"] = sorted(listed)
    return frozenset(_host(one) for one in listed)


def _host(url: str) -> str:
    """Return the host of a url, without `www.` and port, in lower case."""
    _, separator, rest = url.partition("://")
    host = (rest if separator else url).partition("/")[0].partition("?")[0].rpartition("@")[2].partition(":")[0]
    return host.lower().removeprefix("www.")


def _marked_medium(url: str) -> str | None:
    """Return the medium that the parameters of a landing url tell, if they tell one."""
    marks = dict(part.partition("=")[::2] for part in url.partition("?")[2].partition("#")[0].split("&"))
    medium = marks.get("utm_medium")
    if medium:
        return _named_medium(unquote_plus(medium).lower())
    if any(mark in marks for mark in _PAID_CLICK_IDS):
        return "paid"
    return "social" if "fbclid" in marks else None


def _named_medium(medium: str) -> str:
    if any(word in medium for word in _PAID_WORDS):
        return "paid"
    if "mail" in medium or medium == "newsletter":
        return "email"
    if "social" in medium:
        return "social"
    return "search" if medium == "organic" else "other"


def _host_medium(host: str, *, is_app: bool) -> str:
    if host in _SHORT_HOSTS:
        return _SHORT_HOSTS[host]
    labels = host.split(".")
    if host.startswith(_EMAIL_HOSTS):
        return "email"
    if host.endswith(("search.yahoo.com", "search.brave.com")):
        return "search"
    names = set(labels) - {"google"} if is_app else {_name_of(labels)}
    if not _SEARCH.isdisjoint(names):
        return "other" if labels[0] in _NO_SEARCH else "search"
    return "other" if _SOCIAL.isdisjoint(names) else "social"


def _name_of(labels: list[str]) -> str:
    """Return the label that tells whose host it is.

    >>> [_name_of(host.split(".")) for host in ("google.de", "news.google.co.uk", "ask.my-forum.org", "localhost")]
    ['google', 'google', 'my-forum', 'localhost']
    """
    if len(labels) > 2 and labels[-2] in _SECOND_LEVEL:
        return labels[-3]
    return labels[-2] if len(labels) > 1 else labels[0]


FAMILIES = {"referrer": referrer}
