"""The messages of one batch as records, made part by part; see `online_models.parts`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from online_models.step import Part, StepResult
from schemas.bids import Bid
from schemas.codec import encode_json
from schemas.scores import Score
from streams.out_records import OutRecord


class Messages:
    """What a batch leads to, as records.

    Attributes
    ----------
    scores, bids
        In the order of their events.
    examples
        By objective, in the order of their release.
    labels_its_own
        Whether there are examples of triggers that these very scores are of.
    """

    def __init__(self) -> None:
        self.scores: list[OutRecord] = []
        self.bids: list[OutRecord] = []
        self.examples: dict[str, list[OutRecord]] = {}
        self.accounting = b""
        self.labels_its_own = False

    def take(self, part: Part) -> None:
        """Make records of what some events lead to."""
        self.scores += [OutRecord(score.user_id.encode(), encode_json(score)) for score in part.scores]
        if part.bids:
            self.bids += [OutRecord(bid.user_id.encode(), encode_json(bid)) for bid in part.bids]
        by_objective: dict[str, list[bytes]] = defaultdict(list)
        for example in part.examples:
            by_objective[example.objective].append(encode_json(example))
        for objective, values in by_objective.items():
            key = objective.encode()
            self.examples.setdefault(objective, []).extend([OutRecord(key, value) for value in values])

    def end(self, result: StepResult) -> None:
        """Take what is known of the batch as a whole."""
        self.accounting = encode_json(result.accounting)
        self.labels_its_own = result.labels_its_own


def not_published(part: Part, scores: Mapping[str, Score], bids: Mapping[str, Bid]) -> Part:
    """Return a part without the scores and bids that an earlier life of the partition has published, by id."""
    if not scores and not bids:
        return part
    return part._replace(
        scores=[one for one in part.scores if scores.get(one.score_id) is not one],
        bids=[one for one in part.bids if bids.get(one.bid_id) is not one],
    )
