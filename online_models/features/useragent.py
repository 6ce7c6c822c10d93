"""Device class, browser and operating system from the user-agent string, by the library ua-parser.

Its database comes as a package of its own, `ua-parser-builtins`; a replay that must repeat every name
needs the same release of it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from online_models.features.memo import MAX_LONG, Memo
from online_models.features.options import Options
from online_models.features.plan import Reading, Slots

_DESKTOP = frozenset(
    ("Windows", "Mac OS X", "Linux", "Ubuntu", "Chrome OS", "Fedora", "Debian", "FreeBSD", "OpenBSD", "Red Hat")
)
_CONSOLES = ("PlayStation", "Xbox", "Nintendo")


class Agent(NamedTuple):
    """What a user-agent string says; None where it does not."""

    device: str | None
    browser: str | None
    os: str | None


def user_agent(options: Options) -> Reading:
    """``{user_agent: device | browser | os}``: the family of browser or system, or the class of device.

    Classes: phone, tablet, desktop, tv, console, bot, other.
    """
    place = Agent._fields.index(options.choice("user_agent", Agent._fields))
    agents = _agents()

    def read(slots: Slots, event: Any, now: int) -> str | None:
        text = event.user_agent
        return agents[text][place] if text else None

    return Reading("category", read, max_chars=128, of_item=False)


@cache
def _agents() -> Memo:
    """Return what is known of each string; a new one costs up to a millisecond to parse."""
    # Imported where it is needed: the patterns take a third of a second to load.
    from ua_parser import Domain
    from ua_parser.loaders import load_builtins
    from ua_parser.regex import Resolver

    resolve = Resolver(load_builtins())
    return Memo(lambda text: _agent(text, resolve(text, Domain.ALL)), MAX_LONG)


def _agent(text: str, found: Any) -> Agent:
    browser = found.user_agent.family if found.user_agent else None
    system = found.os.family if found.os else None
    return Agent(_device_class(text, system, found.device), browser, system)


def _device_class(text: str, system: str | None, device: Any) -> str | None:
    family = device.family if device else ""
    brand = (device.brand or "") if device else ""
    if family == "Spider":
        return "bot"
    if any(name in family for name in _CONSOLES):
        return "console"
    if "TV" in text or system in ("tvOS", "Chromecast") or "Roku" in family:
        return "tv"
    if system == "iOS" or family in ("iPhone", "iPad"):
        return "tablet" if family == "iPad" else "phone"
    if "Tablet" in brand or "Tablet" in text:
        return "tablet"
    if system == "Android":
        # Google's advice to makers of Android browsers: phones say "Mobile", tablets do not.
        return "phone" if "Mobile" in text else "tablet"
    if system in _DESKTOP:
        return "desktop"
    if "Mobile" in text:
        return "phone"
    return "other" if system or family else None


FAMILIES = {"user_agent": user_agent}
