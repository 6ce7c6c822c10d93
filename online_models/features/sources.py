"""Candidate sources: what may be shown where the site does not say, learned from everybody.

- ``similar``: what others went to before and after the visitor's last items in a session.
- ``category``: what is popular in the category of the request, else in the one that the visitor likes most.
- ``popular``: what everybody turns to now.
- ``recent``: what came up last.

They are declared under `sources:` and read from the leaders of crowd tables. What is known of an item is what its last
event said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any

from online_models.errors import ConfigError
from online_models.features.affinity import favourite
from online_models.features.counter_names import escaped, total_name
from online_models.features.crowd_counts import Counts, Trail, first_seen_table, last_told
from online_models.features.leaders import Leaders
from online_models.features.options import Defaults, Options
from online_models.features.plan import Slots, SlotTable
from schemas.events import Candidate, RankRequest

SECTION = "sources"
SOURCES = ("similar", "category", "popular", "recent")
# Of everybody, and of a single item or category.
_LEADERS_OF_ALL, _LEADERS_OF_ONE = 200, 50
_REACH = 3


class Sources:
    """The crowd tables that candidates come from.

    Parameters
    ----------
    declaration
        ``of`` (event types), ``half_life``, ``keep`` (counters of each table).
    slots
        Where the tables and the visitor's accumulators are to be declared.
    """

    def __init__(self, declaration: Mapping[str, Any], slots: SlotTable, defaults: Defaults) -> None:
        options = Options(SECTION, declaration, slots, defaults, path=(SECTION,))
        counts = Counts(options, "item_id")
        options.refuse_unknown()
        types, most = counts.types, counts.most
        self._trail = Trail(options, counts, _REACH)
        self._similar = self._trail.table(both_ways=True, leaders=_LEADERS_OF_ONE)
        self._in_category = counts.grouped(
            "category", lambda slots, event, now, crowd: event.category, leaders=_LEADERS_OF_ONE
        )
        self._popular = counts.everybody(leaders=_LEADERS_OF_ALL)
        self._recent = first_seen_table(options, "item_id", types, most, leaders=_LEADERS_OF_ALL)
        last: dict[str, Any] = {"types": types, "most": most, "keeps": "highest", "leaders": 1}
        self._categories = last_told(options, "last_category/item_id", _category_of, **last)
        self._prices = last_told(options, "last_price/item_id", _price_of, **last)
        self._favourite = favourite(Options(SECTION, {"favourite": "category"}, slots, defaults)).read

    def candidates(
        self, names: Sequence[str], request: RankRequest, slots: Slots, leaders: Leaders, *, most: int
    ) -> list[Candidate]:
        """Return candidates from sources that take turns, without what the visitor met last in this session.

        Parameters
        ----------
        names
            Of `SOURCES`.
        slots
            The visitor's accumulators.
        most
            So many at most; fewer, or none, if no more is known.
        """
        met = self._trail.keys(slots)
        read: dict[str, Callable[[], Sequence[str]]] = {
            "similar": lambda: list(_taking_turns([leaders.of(self._similar, item) for item in reversed(met)])),
            "category": lambda: leaders.of(self._in_category, self._category(request, slots) or ""),
            "popular": lambda: leaders.of(self._popular, ""),
            "recent": lambda: leaders.of(self._recent, ""),
        }
        found = dict.fromkeys(_taking_turns([read[name]() for name in names]))
        return [self._known(item, leaders) for item in islice((one for one in found if one not in met), most)]

    def _category(self, request: RankRequest, slots: Slots) -> str | None:
        if request.category is not None or self._favourite is None:
            return request.category
        return self._favourite(slots, request, 0)  # type: ignore[no-any-return]

    def _known(self, item: str, leaders: Leaders) -> Candidate:
        category, price = leaders.of(self._categories, item), leaders.of(self._prices, item)
        return Candidate(
            item_id=item, category=category[0] if category else None, price=float(price[0]) if price else None
        )


def _taking_turns(lists: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the first of each list, then the second of each, and so on."""
    return (one for one in chain.from_iterable(zip_longest(*lists)) if one is not None)


def _category_of(event: Any) -> Iterator[str]:
    if event.item_id is not None and event.category is not None:
        yield total_name("", event.item_id) + escaped(event.category)


def _price_of(event: Any) -> Iterator[str]:
    if event.item_id is not None and event.price is not None:
        yield f"{total_name('', event.item_id)}{event.price!r}"


def read_source_names(declared: object, *path: str | int) -> tuple[str, ...]:
    """Read a list of sources; raises ConfigError."""
    names = [declared] if isinstance(declared, str) else declared
    if not isinstance(names, list) or not names:
        raise ConfigError(path, f"Expected a list of sources: {', '.join(SOURCES)}")
    for number, one in enumerate(names):
        if one not in SOURCES:
            raise ConfigError((*path, number), f"Unknown source {one!r}; expected one of: {', '.join(SOURCES)}")
        if one in names[:number]:
            raise ConfigError((*path, number), f"{one!r} stands here twice; keep one")
    return tuple(names)
