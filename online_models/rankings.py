"""Rankings: how a `rank_request` is answered, declared under `rankings:` in the configuration.

Each candidate is scored as an impression of it would be, by the model of one objective; a policy puts them into order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from online_models.errors import ConfigError
from online_models.estimators import SparseFTRL
from online_models.features.sources import read_source_names
from online_models.objectives import DECLARED, Objective
from online_models.policies import Kind, Policy, parse_policies
from schemas.events import RankRequest

MOST_SHOWN = 100
DEFAULT_SHOWN = 10
# As many as a request may bring.
MOST_TAKEN = 1_000
DEFAULT_MOST = 100
_KINDS: tuple[Kind, ...] = ("greedy", "epsilon_greedy", "softmax", "uniform", "thompson", "lin_ucb")


class Ranking(Struct, frozen=True, kw_only=True):
    """One list of items on the site.

    Attributes
    ----------
    shown
        Places that the site fills; each waits for its outcome as an impression does.
    sources
        Where candidates come from if the request brings none, see `features.sources`; empty: nowhere.
    most
        So many candidates are taken from them.
    policy
        With which probability a candidate gets the next place; its name is the ranking's.
    """

    shown: int
    policy: Policy
    sources: tuple[str, ...] = ()
    most: int = DEFAULT_MOST

    @property
    def name(self) -> str:
        """What a request calls it."""
        return self.policy.name

    @property
    def objective(self) -> str:
        """Whose model scores the candidates, and whose outcome the places are judged by."""
        return self.policy.objective


def parse_rankings(declaration: object, *, objectives: Sequence[Objective]) -> list[Ranking]:
    """Read the `rankings:` section.

    Parameters
    ----------
    declaration
        Mapping of name to ranking, as read from YAML; None: there are none.
    objectives
        The declared objectives.

    Raises
    ------
    ConfigError
        With the path of the wrong value below `rankings`.
    """
    if declaration is None:
        return []
    if not isinstance(declaration, Mapping):
        raise ConfigError((), "Expected a mapping of name to ranking, such as `home: {objective: click}`")
    return [_ranking(str(name), body, objectives) for name, body in declaration.items()]


def _ranking(name: str, body: object, objectives: Sequence[Objective]) -> Ranking:
    if not isinstance(body, Mapping):
        raise ConfigError((name,), "Expected a mapping, such as `{objective: click, shown: 10}`")
    asking = [one.name for one in objectives if RankRequest.type in one.trigger]
    if asking:
        raise ConfigError(
            (name,), f"{asking[0]!r} is triggered by rank requests; rankings answer them, so take that out"
        )
    if any(one.name == name for one in objectives):  # both would be the end of a score_id
        raise ConfigError((name,), "An objective has this name; take another one")
    for key in ("candidates", "item_fields"):
        if key in body:
            raise ConfigError(
                (name, key), "Unknown key; a rank request brings its candidates, or they come from `sources`"
            )
    sources = read_source_names(body["sources"], name, "sources") if "sources" in body else ()
    if "most" in body and not sources:
        raise ConfigError((name, "most"), "Without `sources` nothing is taken from them")
    rest = {key: value for key, value in body.items() if key not in ("shown", "sources", "most")}
    [policy] = parse_policies({name: {"kind": "greedy", **rest}}, objectives=objectives, kinds=_KINDS)
    if policy.by_uncertainty:
        _check_models(policy, next(one for one in objectives if one.name == policy.objective))
    return Ranking(
        shown=_whole(body, name, "shown", DEFAULT_SHOWN, MOST_SHOWN),
        policy=policy,
        sources=sources,
        most=_whole(body, name, "most", DEFAULT_MOST, MOST_TAKEN),
    )


def _whole(body: Mapping[Any, Any], name: str, key: str, default: int, most: int) -> int:
    value = body.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError((name, key), f"Expected a whole number from 1 to {most}")
    return value


def _check_models(policy: Policy, objective: Objective) -> None:
    for name, variant in objective.variants.items():
        model = variant.model["name"]
        if model != SparseFTRL.name:  # a challenger may be promoted, and is asked for the order then
            raise ConfigError(
                (policy.name, "kind"),
                f"{policy.kind} goes by how uncertain the model is, which only `{SparseFTRL.name}` tells; "
                f"{objective.name!r} has {model!r} as its {name or DECLARED} model. "
                "Take epsilon_greedy or softmax, or another model",
            )


def by_uncertainty(rankings: Iterable[Ranking], objective: str) -> bool:
    """Tell whether a ranking asks how uncertain the models of an objective are, so that scorers have to know."""
    return any(one.policy.by_uncertainty for one in rankings if one.objective == objective)
