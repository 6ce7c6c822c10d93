"""Answers rank requests: scores each candidate as an impression of it, and puts them into order.

The order goes by scores without a position, which all candidates share; what is then published, and judged later, is
the score at the place that the item got.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from online_models.bound import BoundObjective
from online_models.crowd import CrowdView
from online_models.exploration import Chance, drawn_order, prepare
from online_models.features import FeatureSet
from online_models.features.sources import SOURCES
from online_models.rankings import Ranking
from online_models.uncertainty import logit_variances
from schemas.events import Answered, Candidate, Impression, RankRequest
from schemas.scores import Ranked, Score


class Place(NamedTuple):
    """An item at a place of the list, counted from 1, as an impression, and the compact feature values there."""

    number: int
    impression: Impression
    values: list[Any]


class Ranker:
    """One declared ranking, its objective at hand.

    Parameters
    ----------
    crowd
        What all visitors did.
    n_reasons
        How many reasons each place gets.
    """

    def __init__(
        self, ranking: Ranking, bound: BoundObjective, features: FeatureSet, crowd: CrowdView, *, n_reasons: int
    ) -> None:
        self.name = ranking.name
        self._crowd = crowd
        self.bound = bound
        self._ranking = ranking
        self._features = features
        self._n_reasons = n_reasons
        self._shortlists = {
            name: features.shortlist(variant.feature_names(features.names))
            for name, variant in bound.objective.variants.items()
        }
        prepare(ranking.policy)

    def candidates(self, request: RankRequest, slots: list[Any]) -> list[Candidate]:
        """Return what may be shown: what the request brings, else what the sources have; may be empty.

        Parameters
        ----------
        slots
            The visitor's accumulators, the request folded in.
        """
        if request.candidates:
            return list(_candidates(request).values())
        sources = self._features.sources
        names = (request.source,) if request.source else self._ranking.sources
        if sources is None or not set(names) <= set(SOURCES):
            return []
        return sources.candidates(names, request, slots, self._crowd.leaders, most=self._ranking.most)

    def answer(
        self, request: RankRequest, candidates: Sequence[Candidate], slots: list[Any], *, shadowing: bool
    ) -> tuple[Answered, list[Place]]:
        """Choose what the site is to show, first place first; return it, and its places.

        Parameters
        ----------
        candidates
            At least one, each once.
        slots
            The visitor's accumulators, the request folded in.
        shadowing
            Ask the variants that are not served as well.
        """
        bound, shown = self.bound, self.bound.shown
        extract, crowd = self._features.extract_unfolded, self._crowd.weights
        scores, variances = self._judged(request, candidates, slots)
        chance = Chance(f"{self.name}:{request.event_id}")
        order = drawn_order(self._ranking.policy, scores, self._ranking.shown, chance, variances)
        ranked, places = [], []
        for number, (index, propensity) in enumerate(order, 1):
            impression = _impression(request, candidates[index], number, propensity)
            values = extract(slots, impression, crowd)
            p, reasons = shown.score(values, self._n_reasons)
            p, raw = bound.told(shown, p, values)
            one = Ranked(item_id=candidates[index].item_id, score=p, propensity=propensity, reasons=reasons, raw=raw)
            if not request.candidates:  # they are known here alone
                one.category, one.price = candidates[index].category, candidates[index].price
            if self._features.crowd_positions:
                one.crowd = self._features.crowd_values(values)
            if shadowing and not bound.alone:
                one.shadows, one.raw_shadows = bound.shadows(shown, values)
            ranked.append(one)
            places.append(Place(number, impression, values))
        replica = shown.replica
        said = Answered(
            model=replica.name,
            model_version=replica.version,
            variant=shown.name,
            ranked=ranked,
            crowd_version=self._crowd.version,
            crowd_hash=self._features.crowd_hash,
        )
        return said, places

    def _judged(
        self, request: RankRequest, candidates: Sequence[Candidate], slots: list[Any]
    ) -> tuple[list[float], Sequence[float]]:
        """Return the candidates' scores without a position, and how uncertain their logits are.

        No uncertainties: nobody asks for them, or they are not known.
        """
        bound, shown = self.bound, self.bound.shown
        extract, crowd = self._features.extract_unfolded, self._crowd.weights
        impression = _impression(request, candidates[0], None, None)
        values = extract(slots, impression, crowd)
        if not shown.replica.version:
            return [shown.score(values, 0)[0]] * len(candidates), ()
        linear = shown.replica.linear()
        uncertainty = shown.replica.uncertainty() if self._ranking.policy.by_uncertainty else None
        if linear is not None and uncertainty is None and not bound.sliced:
            shortlist = self._shortlists[shown.name]
            scores = shortlist(slots, impression, _Putting(request), candidates, crowd, values, *linear)
            return [bound.told(shown, p, values)[0] for p in scores] if bound.calibrating else scores, ()
        unplaced = [extract(slots, _impression(request, one, None, None), crowd) for one in candidates]
        scores = [bound.score(shown, one) if bound.calibrating else shown.score(one, 0)[0] for one in unplaced]
        return scores, logit_variances(uncertainty, [*map(shown.vectorize, unplaced)]) if uncertainty else ()

    def places(
        self, request: RankRequest, ranked: Sequence[Ranked], slots: list[Any], *, crowd_hash: str
    ) -> list[Place]:
        """Return the places of an answer that was given before; an item that the request does not name has none."""
        candidates, crowd = _candidates(request), self._crowd.weights
        if not candidates:
            taken = [Candidate(item_id=one.item_id, category=one.category, price=one.price) for one in ranked]
            candidates = {one.item_id: one for one in taken}
        places = []
        for number, one in enumerate(ranked, 1):
            candidate = candidates.get(one.item_id)
            if candidate is not None:
                impression = _impression(request, candidate, number, one.propensity)
                values = self._features.extract_unfolded(slots, impression, crowd)
                values = self._features.with_crowd(values, one.crowd, crowd_hash)
                places.append(Place(number, impression, values))
        return places


def score_of_place(answer: Score, number: int, score_id: str) -> Score:
    """Return the score of one place of an answer, as if its item had been shown alone."""
    one = answer.ranked[number - 1]
    return replace(
        answer,
        score_id=score_id,
        item_id=one.item_id,
        score=one.score,
        reasons=one.reasons,
        propensity=one.propensity,
        shadows=one.shadows,
        crowd=one.crowd,
        raw=one.raw,
        raw_shadows=one.raw_shadows,
        ranking="",
        ranked=[],
    )


def _candidates(request: RankRequest) -> dict[str, Candidate]:
    """Return the candidates by item, each once, in the order of the request."""
    found: dict[str, Candidate] = {}
    for one in request.candidates:
        candidate = Candidate(item_id=one) if isinstance(one, str) else one
        found.setdefault(candidate.item_id, candidate)
    return found


class _Putting:
    """Lets one impression stand for each candidate in turn, as `_impression` makes it."""

    def __init__(self, request: RankRequest) -> None:
        self._properties = request.properties or {}

    def __call__(self, impression: Impression, candidate: Candidate) -> None:
        impression.item_id = candidate.item_id
        impression.category = candidate.category
        impression.price = candidate.price
        own = candidate.properties
        impression.properties = ({**self._properties, **own} if own else self._properties) or None


def _impression(
    request: RankRequest, candidate: Candidate, position: int | None, propensity: float | None
) -> Impression:
    return Impression(
        event_id=request.event_id,
        user_id=request.user_id,
        ts=request.ts,
        session_id=request.session_id,
        item_id=candidate.item_id,
        category=candidate.category,
        price=candidate.price,
        position=position,
        url=request.url,
        referrer=request.referrer,
        user_agent=request.user_agent,
        device=request.device,
        country=request.country,
        region=request.region,
        campaign=request.campaign,
        tz_offset_min=request.tz_offset_min,
        propensity=propensity,
        properties={**(request.properties or {}), **(candidate.properties or {})} or None,
    )
