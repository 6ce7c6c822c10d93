"""Contest: a challenger takes the champion's place only on evidence, and one may look at any time.

Every judged trigger has a log loss under each variant; d is the champion's less the challenger's, and
above 0 the challenger was better. "The challenger is no better" means that the means of d, each given
what was known before, do not sum to more than 0. Against that stands an e-process,

    E = mean over k of exp(lambda_k * sum(d) - psi(lambda_k) * sum(d^2)),
    psi(l) = (-log(1 - l * B) - l * B) / B^2,   lambda_k = 2^-k / (2 * B),

where B bounds |d|. If the challenger is no better, E ever reaches 1/alpha with a probability of at most
alpha, however often and whenever one looks (Ville's inequality): no fixed horizon, no correction for
peeking, no assumption that triggers are alike or independent. Sources: Fan, Grama, Liu, "Exponential
inequalities for martingales with applications", EJP 20 (2015), for the inequality behind psi; Howard et
al., "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49 (2021),
section 3.5, for mixing over lambda; Choe, Ramdas, "Comparing sequential forecasters", Operations
Research 72 (2024), for comparing forecasters on average instead of at each moment.

Of several challengers each needs as many times the evidence as there are challengers (Bonferroni). The
bound holds for each reign: after a promotion the evidence is collected anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from schemas.examples import Example
from schemas.metrics import Contest as ContestMetric
from schemas.metrics import Promotion as PromotionMetric
from schemas.metrics import Standing
from schemas.models import Serving

# Losses are compared for probabilities within these bounds, so that one blunder has a bounded price.
EDGE = 1e-4
BOUND = log((1.0 - EDGE) / EDGE)
_LAMBDAS = tuple(2.0**-k / (2.0 * BOUND) for k in range(8))
_PENALTIES = tuple((-log(1.0 - one * BOUND) - one * BOUND) / BOUND**2 for one in _LAMBDAS)
_MOST_EVIDENCE = 1e300

Cause = Literal["test", "command", "rollback"]


class Promoting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a challenger takes over.

    Attributes
    ----------
    automatic
        The test decides; False: it only tells, and `streamscore promote` decides.
    false_promotions
        Most that a challenger which is no better may be promoted, as a probability for each reign.
    after
        Judged triggers at the begin of a reign that do not count: a new model has to learn first.
    """

    automatic: bool = False
    false_promotions: float = 0.05
    after: int = 1000


class Evidence:
    """Sums that tell how much speaks for a challenger.

    Attributes
    ----------
    judged
        Triggers counted.
    total, squares
        Sum of the differences of log losses, in nats, and of their squares.
    """

    def __init__(self, judged: int = 0, total: float = 0.0, squares: float = 0.0) -> None:
        self.judged = judged
        self.total = total
        self.squares = squares

    def add(self, label: bool, champion: float, challenger: float) -> None:
        """Count a judged trigger: its label, and what the two predicted."""
        d = _loss(label, champion) - _loss(label, challenger)
        self.judged += 1
        self.total += d
        self.squares += d * d

    @property
    def e_value(self) -> float:
        """The e-value against "the challenger is no better"; at most 1e300.

        >>> Evidence().e_value
        1.0
        """
        powers = [one * self.total - penalty * self.squares for one, penalty in zip(_LAMBDAS, _PENALTIES, strict=True)]
        highest = max(powers)
        if highest > log(_MOST_EVIDENCE):
            return _MOST_EVIDENCE
        return exp(highest) * sum(exp(one - highest) for one in powers) / len(powers)

    def standing(self) -> Standing:
        """Return it for people."""
        advantage = self.total / self.judged if self.judged else None
        return Standing(judged=self.judged, advantage=advantage, evidence=self.e_value)


def _loss(label: bool, p: float) -> float:
    p = min(max(p, EDGE), 1.0 - EDGE)
    return -log(p) if label else -log(1.0 - p)


class Decision(NamedTuple):
    """A change of what is served: the record for the scorers, and what is told of it."""

    serving: Serving
    promotion: PromotionMetric


class Contest:
    """The challengers of an objective against its champion.

    Parameters
    ----------
    variants
        Lineage of each variant's model, by name; the declared model's name is empty.

    Attributes
    ----------
    champion, number
        What is served, and how many changes there were.
    """

    def __init__(self, objective: str, variants: Mapping[str, str], promoting: Promoting) -> None:
        self.objective = objective
        self.variants = dict(variants)
        self.promoting = promoting
        self.champion = ""
        self.number = 0
        self._seen = 0
        self._evidence: dict[str, Evidence] = {}
        self._begin()

    def _begin(self) -> None:
        self._seen = 0
        self._evidence = {one: Evidence() for one in self.variants if one != self.champion}

    @property
    def needed(self) -> float:
        """Evidence that promotes."""
        return max(1, len(self.variants) - 1) / self.promoting.false_promotions

    def follow(self, serving: Serving) -> bool:
        """Begin anew if something else is served now; tell whether it is."""
        if serving.number <= self.number:
            return False
        self.number = serving.number
        self.champion = serving.variant if serving.variant in self.variants else ""
        self._begin()
        return True

    def update(self, example: Example) -> None:
        """Count a judged trigger for every challenger that said something on it, as the champion did."""
        self._seen += 1
        if self._seen <= self.promoting.after:
            return
        champion = said_by(self.champion, example)
        if champion is None:
            return
        for name, evidence in self._evidence.items():
            challenger = said_by(name, example)
            if challenger is not None:
                evidence.add(example.label, champion, challenger)

    def standings(self) -> dict[str, Standing]:
        """Return how the challengers stand."""
        return {name: one.standing() for name, one in self._evidence.items()}

    def metric(self, version: int) -> ContestMetric:
        """Return what the topic `metrics` tells."""
        return ContestMetric(
            objective=self.objective,
            version=version,
            champion=self.champion,
            needed=self.needed,
            standings=self.standings(),
        )

    def decide(self, version: int) -> Decision | None:
        """Promote the challenger with the most evidence, if that suffices and the test decides; begin anew then."""
        if not self.promoting.automatic or not self._evidence:
            return None
        name, best = max(self._evidence.items(), key=lambda one: (one[1].e_value, one[0]))
        if best.e_value < self.needed:
            return None
        made = decision(
            self.objective, name, before=self.champion, number=self.number + 1, cause="test", version=version
        )
        made.promotion.standing = best.standing()
        self.follow(made.serving)
        return made

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        sums = {name: [one.judged, one.total, one.squares] for name, one in self._evidence.items()}
        return [self.champion, self.number, self._seen, sums, self.variants]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave; models that were declared anew since then have no evidence."""
        champion, self.number, seen, sums, lineages = state
        self.champion = champion if champion in self.variants else ""
        self._begin()
        if self.variants.get(champion) != lineages[champion]:
            return
        self._seen = seen
        for name in self._evidence.keys() & sums.keys():
            if self.variants[name] == lineages[name]:
                self._evidence[name] = Evidence(*sums[name])


def said_by(variant: str, example: Example) -> float | None:
    """Return the score of a variant on an example's trigger; None if it said nothing, or had learned nothing."""
    if variant == example.variant:
        return example.score if example.model_version else None
    score, version = example.shadows.get(variant, (0.0, 0))
    return score if version else None


def decision(objective: str, variant: str, *, before: str, number: int, cause: Cause, version: int = 0) -> Decision:
    """Return the records that make a variant the one that is served."""
    return Decision(
        Serving(objective=objective, variant=variant, before=before, number=number),
        PromotionMetric(
            objective=objective, variant=variant, before=before, cause=cause, number=number, version=version
        ),
    )
