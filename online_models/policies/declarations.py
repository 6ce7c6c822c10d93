"""The policies that a configuration asks about, declared under `policies:`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from online_models.errors import ConfigError
from online_models.objectives import Objective
from schemas.events import EventBase, Impression

Kind = Literal["uniform", "popularity", "greedy", "epsilon_greedy", "softmax", "logged", "thompson", "lin_ucb"]
# What `policies:` may ask about. The others go by how uncertain the model was, which a replay's judge does not know.
EVALUATED: tuple[Kind, ...] = ("uniform", "popularity", "greedy", "epsilon_greedy", "softmax", "logged")

# Each candidate is scored at each trigger; a thousand of them cost some 10 ms a trigger.
MOST_CANDIDATES = 1000
DEFAULT_RECENT = 50
# On both sites of `benchmarks.regret` as good as 1 or better; Chapelle and Li (2011) found the same of such reshaping.
DEFAULT_ALPHA = 0.5
# Fields of an event that tell of its item; what else stands in an event tells of the visitor or the place.
DEFAULT_ITEM_FIELDS = ("category", "price")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_PROPERTY = "properties."
_COMMON = ("kind", "objective")
_CHOOSING = (*_COMMON, "candidates", "item_fields")
_KEYS: dict[str, tuple[str, ...]] = {
    "uniform": _CHOOSING,
    "popularity": (*_CHOOSING, "epsilon"),
    "greedy": _CHOOSING,
    "epsilon_greedy": (*_CHOOSING, "epsilon"),
    "softmax": (*_CHOOSING, "temperature"),
    "logged": _COMMON,
    "thompson": (*_COMMON, "alpha"),
    "lin_ucb": (*_COMMON, "alpha"),
}


class Policy(Struct, frozen=True, kw_only=True):
    """A way to choose among candidates.

    Attributes
    ----------
    kind
        "uniform"; "popularity": the item of the best smoothed rate so far; "greedy", "epsilon_greedy",
        "softmax": by the model's scores; "logged": what the logging policy did; "thompson", "lin_ucb": by the model's
        scores and how uncertain they are.
    objective
        Whose model and labels it is judged by.
    epsilon
        With this probability any candidate, each as likely as the other.
    temperature
        Of a softmax over log odds: at 1, chances are as the odds; towards 0 it becomes greedy.
    alpha
        Standard deviations that "lin_ucb" adds to a logit, and by which "thompson" multiplies a logit's own.
    recent
        So many different items that were shown last at the same position are the candidates; 0: `items` are.
    items
        Declared candidates.
    item_fields
        Fields of the event that belong to the item, and change with it.
    """

    name: str
    kind: Kind
    objective: str
    epsilon: float = 0.0
    temperature: float = 1.0
    alpha: float = DEFAULT_ALPHA
    recent: int = 0
    items: tuple[str, ...] = ()
    item_fields: tuple[str, ...] = DEFAULT_ITEM_FIELDS

    @property
    def by_uncertainty(self) -> bool:
        """Whether it asks how uncertain the model is."""
        return self.kind in ("thompson", "lin_ucb")


def parse_policies(
    declaration: object, *, objectives: Sequence[Objective], kinds: Sequence[Kind] = EVALUATED
) -> list[Policy]:
    """Read the `policies:` section.

    Parameters
    ----------
    declaration
        Mapping of name to policy, as read from YAML; None: there are none.
    objectives
        The declared objectives.
    kinds
        Those that may be declared here.

    Raises
    ------
    ConfigError
        With the path of the wrong value below the section.
    """
    if declaration is None:
        return []
    if not isinstance(declaration, Mapping):
        raise ConfigError((), "Expected a mapping of name to policy, such as `even: {kind: uniform, objective: click}`")
    known = {one.name: one for one in objectives}
    return [_Parser(str(name), body).policy(known, kinds) for name, body in declaration.items()]


class _Parser:
    """Reads one policy; paths of its errors begin with the policy's name."""

    def __init__(self, name: str, body: object) -> None:
        self.name = name
        if not _NAME.fullmatch(name):
            raise ConfigError((name,), "Expected a name of letters, digits, `_` and `-`, at most 64")
        if not isinstance(body, Mapping):
            raise self.wrong("Expected a mapping, such as `{kind: uniform, objective: click}`")
        self.body: Mapping[str, Any] = body

    def wrong(self, message: str, *path: str | int) -> ConfigError:
        return ConfigError((self.name, *path), message)

    def policy(self, objectives: Mapping[str, Objective], kinds: Sequence[Kind]) -> Policy:
        kind: Any = self.body.get("kind")
        if kind not in kinds:
            raise self.wrong(f"Expected one of: {', '.join(kinds)}; got {kind!r}", "kind")
        for key in self.body:
            if key not in _KEYS[kind]:
                raise self.wrong(f"Unknown key for {kind}; expected one of: {', '.join(_KEYS[kind])}", str(key))
        if kind == "epsilon_greedy" and "epsilon" not in self.body:
            raise self.wrong("Expected `epsilon`, such as 0.1; without exploration it is `greedy`")
        recent, items = self.candidates() if "candidates" in _KEYS[kind] else (0, ())
        return Policy(
            name=self.name,
            kind=kind,
            objective=self.objective(objectives),
            epsilon=self.number("epsilon", 0.0, most=1.0),
            temperature=self.number("temperature", 1.0, above=0.0),
            alpha=self.number("alpha", DEFAULT_ALPHA, most=100.0, above=0.0),
            recent=recent,
            items=items,
            item_fields=self.item_fields(),
        )

    def objective(self, objectives: Mapping[str, Objective]) -> str:
        name = str(self.body.get("objective"))
        if name not in objectives:
            raise self.wrong(f"Expected one of the objectives: {', '.join(objectives)}; got {name!r}", "objective")
        if Impression.type not in objectives[name].trigger:
            raise self.wrong(
                f"{name!r} is not triggered by impressions, and nothing else has a propensity", "objective"
            )
        return name

    def number(self, key: str, default: float, *, most: float = 1e6, above: float | None = None) -> float:
        value = self.body.get(key, default)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= most
        if not fits or (above is not None and value <= above):
            raise self.wrong(f"Expected a number {'above' if above is not None else 'from'} 0 to {most:g}", key)
        return float(value)

    def candidates(self) -> tuple[int, tuple[str, ...]]:
        declared = self.body.get("candidates", {"recent": DEFAULT_RECENT})
        if isinstance(declared, list):
            return 0, self.declared_items(declared)
        if not isinstance(declared, Mapping) or set(declared) != {"recent"}:
            raise self.wrong("Expected `{recent: 50}` or a list of item ids", "candidates")
        recent = declared["recent"]
        if isinstance(recent, bool) or not isinstance(recent, int) or not 2 <= recent <= MOST_CANDIDATES:
            raise self.wrong(f"Expected a whole number from 2 to {MOST_CANDIDATES}", "candidates", "recent")
        return recent, ()

    def declared_items(self, declared: list[Any]) -> tuple[str, ...]:
        items = tuple(str(one) for one in declared if isinstance(one, str | int) and not isinstance(one, bool))
        if len(items) != len(declared) or len(set(items)) != len(items) or not 2 <= len(items) <= MOST_CANDIDATES:
            raise self.wrong(f"Expected from 2 to {MOST_CANDIDATES} different item ids", "candidates")
        return items

    def item_fields(self) -> tuple[str, ...]:
        declared = self.body.get("item_fields", list(DEFAULT_ITEM_FIELDS))
        if not isinstance(declared, list):
            raise self.wrong("Expected a list of fields, such as `[category, properties.brand]`", "item_fields")
        for number, field in enumerate(declared):
            own = isinstance(field, str) and field.startswith(_PROPERTY) and len(field) > len(_PROPERTY)
            if not own and field not in _OF_ITEMS:
                raise self.wrong(
                    f"Expected `properties.…` or one of: {', '.join(_OF_ITEMS)}; got {field!r}", "item_fields", number
                )
        return tuple(declared)


# Optional fields of every event; those that name the event, the visitor or the place do not change with the item.
_OF_ITEMS = tuple(
    field
    for field in EventBase.__struct_fields__
    if field in ("category", "price", "quantity", "url", "campaign", "depth")
)
