"""Contest: a challenger takes the champion's place only on evidence, and one may look at any time.

Every judged trigger has a log loss under each variant; d is the champion's less the challenger's, and
above 0 the challenger was better. "The challenger is no better" means that the means of d, each given what
was known before, never sum to more than 0. Against that stands an e-process, the wealth of somebody who
bets on the challenger with ten stakes at once:

    W_k = sum of log(1 + l_i * d_i) - (l - l_i) * b_i,   l = 2^-k,   l_i = min(l, 0.9 / b_i),
    E = mean over k of exp(W_k / g),

where b_i is what d_i can cost at most, which follows from the two predictions alone. With g = 1, if the
challenger is no better, E ever reaches 1/alpha with a probability of at most alpha, however often and
whenever one looks (Ville's inequality): no fixed horizon, no correction for peeking. For with m the mean of
d_i given the past, 1 + l_i * m <= exp(l_i * m), and m >= -b_i pays for the stake that was held back, so a
factor's mean is at most exp(l * m).

A visitor's triggers resemble each other: two models that are equally good on the whole differ on the
visitor, and the means of d wander. What that adds to the variance is the design effect g = sum(D^2) / sum(d^2),
at least 1, with D the sum of a visitor's d within an hour. A random walk whose variance is g times what its
bets are made for crosses log(1/alpha) with a probability of about alpha^(1/g); dividing the log wealth by g
undoes that. This part holds for large numbers, and is checked by simulation (`benchmarks/false_promotions.py`).

Sources: Waudby-Smith, Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024),
for the bets and for mixing over stakes; Choe, Ramdas, "Comparing sequential forecasters", Operations
Research 72 (2024), for comparing forecasters on average instead of at each moment. A stake of 1 bets the
likelihood ratio, which is the best one can do if the challenger is the truth.

Of several challengers each needs as many times the evidence as there are challengers (Bonferroni). The
bound holds for each reign: after a promotion the evidence is collected anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log, log1p
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from online_models.held_back import HeldBack
from schemas.examples import Example
from schemas.metrics import Contest as ContestMetric
from schemas.metrics import Promotion as PromotionMetric
from schemas.metrics import Standing
from schemas.models import Serving

# Losses are compared for probabilities that are this far from 0 and 1, so that one blunder has a bounded price.
EDGE = 1e-4
# Share of a bet's wealth that one trigger may take at most.
_MOST_OF_WEALTH = 0.9
_STAKES = tuple(2.0**-k for k in range(10))
_MOST_EVIDENCE = 1e300
HOUR_MS = 3_600_000
# Of so many visitors the sums of an hour are held in memory; the others' triggers count as if they stood alone.
_MOST_VISITORS = 100_000

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
    """How much speaks for a challenger.

    Attributes
    ----------
    judged
        Triggers counted.
    total
        Sum of the differences of log losses, in nats.
    """

    def __init__(
        self,
        judged: int = 0,
        total: float = 0.0,
        squares: float = 0.0,
        grouped: float = 0.0,
        log_wealth: Sequence[float] = (),
    ) -> None:
        self.judged = judged
        self.total = total
        self._squares = squares
        self._grouped = grouped
        self._log_wealth = list(log_wealth) or [0.0] * len(_STAKES)

    def add(self, d: float, at_worst: float, before: float = 0.0) -> None:
        """Count a trigger.

        Parameters
        ----------
        d, at_worst
            See `compared`.
        before
            Sum of d over the visitor's earlier triggers of the hour.
        """
        self.judged += 1
        self.total += d
        self._squares += d * d
        self._grouped += d * (d + 2.0 * before)  # D^2 grows from before^2 to (before + d)^2
        if at_worst > 0.0:
            most = _MOST_OF_WEALTH / at_worst
            self._log_wealth = [
                wealth + (log1p(stake * d) if stake <= most else log1p(most * d) - (stake - most) * at_worst)
                for wealth, stake in zip(self._log_wealth, _STAKES, strict=True)
            ]

    @property
    def design_effect(self) -> float:
        """How many times more the sum of differences varies because visitors have several triggers; at least 1."""
        return max(1.0, self._grouped / self._squares) if self._squares else 1.0

    @property
    def e_value(self) -> float:
        """The e-value against "the challenger is no better"; at most 1e300.

        >>> Evidence().e_value
        1.0
        """
        shares = [one / self.design_effect for one in self._log_wealth]
        highest = max(shares)
        if highest > log(_MOST_EVIDENCE):
            return _MOST_EVIDENCE
        return exp(highest) * sum(exp(one - highest) for one in shares) / len(_STAKES)

    def state(self) -> list[Any]:
        """Return the constructor's arguments."""
        return [self.judged, self.total, self._squares, self._grouped, self._log_wealth]

    def standing(self) -> Standing:
        """Return it for people."""
        advantage = self.total / self.judged if self.judged else None
        return Standing(judged=self.judged, advantage=advantage, evidence=self.e_value)


def compared(label: bool, champion: float, challenger: float) -> tuple[float, float]:
    """Return by how much the challenger's log loss was lower on a trigger, and what it could have cost at most."""
    p, q = (min(max(one, EDGE), 1.0 - EDGE) for one in (champion, challenger))
    if_positive, if_negative = log(q / p), log((1.0 - q) / (1.0 - p))
    return (if_positive if label else if_negative), max(0.0, -min(if_positive, if_negative))


class Decision(NamedTuple):
    """A change of what is served: the record for the scorers, and what is told of it."""

    serving: Serving
    promotion: PromotionMetric


# End of the window (epoch ms), a number that makes rows unlike, label, visitor, what each variant said.
_Row = tuple[int, int, bool, str, dict[str, float]]


class Contest:
    """The challengers of an objective against its champion.

    Under the policy `immediate` a positive is known before its window has closed, and a negative is not. Such
    a positive waits for it, by the clock of its own partition: else a challenger that promises more would be ahead
    whenever one looks.

    Parameters
    ----------
    variants
        Lineage of each variant's model, by name; the declared model's name is empty.
    former
        As ``variants``, other names of these lineages, under which an earlier version may have kept its state.
    closes_after_ms
        Event time from a trigger until its window has closed.

    Attributes
    ----------
    champion, number
        What is served, and how many changes there were.
    """

    def __init__(
        self,
        objective: str,
        variants: Mapping[str, str],
        promoting: Promoting,
        *,
        closes_after_ms: int,
        former: Mapping[str, str] | None = None,
    ) -> None:
        self.objective = objective
        self.variants = dict(variants)
        self._former = dict(former or {})
        self.promoting = promoting
        self.champion = ""
        self.number = 0
        self._closes_after_ms = closes_after_ms
        self._early: HeldBack[_Row] = HeldBack()
        self._numbered = 0
        self._begin()

    def _begin(self) -> None:
        self._seen = 0
        self._hour_ms = 0
        self._evidence = {one: Evidence() for one in self.variants if one != self.champion}
        # Of this hour: sums of d by challenger and visitor.
        self._visitors: dict[str, dict[str, float]] = {one: {} for one in self._evidence}

    @property
    def needed(self) -> float:
        """Evidence that promotes."""
        return max(1, len(self.variants) - 1) / self.promoting.false_promotions

    def follow(self, serving: Serving) -> bool:
        """Begin anew if something else is served now; tell whether it is.

        What is served holds, whatever was known here: a champion can have been missing from the configuration in
        between, and `models`, where changes are told, can be a new topic.
        """
        if (serving.number, serving.variant) == (self.number, self.champion):
            return False
        self.number = serving.number
        self.champion = serving.variant if serving.variant in self.variants else ""
        self._begin()
        return True

    def update(self, example: Example) -> None:
        """Take in a judged trigger."""
        said = {name: p for name in self.variants if (p := said_by(name, example)) is not None}
        self._numbered += 1
        due_ms = example.ts + self._closes_after_ms
        self._early.add(example, (due_ms, self._numbered, example.label, example.user_id, said))
        for row in self._early.released(example):
            self._count(row)

    def _count(self, row: _Row) -> None:
        due_ms, _, label, visitor, said = row
        self._seen += 1
        if self._seen <= self.promoting.after or self.champion not in said:
            return
        if due_ms >= self._hour_ms + HOUR_MS:
            self._hour_ms = due_ms - due_ms % HOUR_MS
            self._visitors = {name: {} for name in self._visitors}
        for name, visitors in self._visitors.items():
            if name in said:
                d, at_worst = compared(label, said[self.champion], said[name])
                before = visitors.get(visitor, 0.0)
                self._evidence[name].add(d, at_worst, before)
                if visitor in visitors or len(visitors) < _MOST_VISITORS:
                    visitors[visitor] = before + d

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
        """Promote the best challenger whose evidence suffices, if the test decides; begin anew then."""
        if not self.promoting.automatic:
            return None
        enough = {name: one for name, one in self._evidence.items() if one.e_value >= self.needed}
        if not enough:
            return None
        name, best = max(enough.items(), key=lambda one: (one[1].total / one[1].judged, one[0]))
        made = decision(
            self.objective, name, before=self.champion, number=self.number + 1, cause="test", version=version
        )
        made.promotion.standing = best.standing()
        self.follow(made.serving)
        return made

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        return [
            [self.champion, self.number, self._seen, self._hour_ms, self._numbered],
            self.variants,
            {name: one.state() for name, one in self._evidence.items()},
            self._visitors,
            self._early.state(),
        ]

    def restore(self, state: Sequence[Any]) -> bool:
        """Take up what `state` gave; models that were declared anew since then have no evidence.

        True: it has called models by other names.
        """
        (champion, self.number, seen, hour_ms, self._numbered), lineages, evidence, visitors, early = state
        self.champion = champion if champion in self.variants else ""
        self._begin()
        same = {
            name
            for name, lineage in self.variants.items()
            if lineages.get(name, "") in (lineage, self._former.get(name, lineage))
        }
        renamed: bool = lineages != self.variants
        if champion not in same:
            return renamed
        self._seen, self._hour_ms = seen, hour_ms
        for name in self._evidence.keys() & same:
            self._evidence[name] = Evidence(*evidence[name])
            self._visitors[name] = dict(visitors[name])
        self._early.restore([[*row, {name: p for name, p in said.items() if name in same}] for *row, said in early])
        return renamed


def said_by(variant: str, example: Example) -> float | None:
    """Return the score of a variant on an example's trigger; None if it said nothing, or had learned nothing."""
    if variant == example.variant:
        return example.score if example.model_version else None
    score, version = example.shadows.get(variant, (0.0, 0))
    return score if version else None


def decision(objective: str, variant: str, *, before: str, number: int, cause: Cause, version: int = 0) -> Decision:
    """Return the records that make a variant the one that is served."""
    return Decision(
        Serving(objective=objective, variant=variant, before=before, number=number, cause=cause),
        PromotionMetric(
            objective=objective, variant=variant, before=before, cause=cause, number=number, version=version
        ),
    )
