"""Finds what was published for an event: the event itself, and its score."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import ConsumerRecord

from online_models.open_triggers import score_id_of
from schemas.codec import decode_score
from schemas.scores import Score
from streams.replay.range_reader import open_range
from streams.replay.spec import ByOffset, ByTime, TopicRange
from streams.settings import Settings


class NoSuchScore(ValueError):
    """The name is none of ours, or the log does not hold what it names."""


class ScorePlace(NamedTuple):
    """The trigger that a score_id names.

    Attributes
    ----------
    name
        Of the objective, or of the ranking.
    number
        Place in the answer to a rank request, from 1; 0: none is named.
    """

    topic: str
    partition: int
    offset: int
    name: str
    number: int = 0

    def score_id(self, name: str, number: int = 0) -> str:
        """Name another score of the same event."""
        return score_id_of(f"{self.topic}-{self.partition}-", self.offset, name, number)


def parse_score_id(text: str) -> ScorePlace:
    """Understand a score_id; raises NoSuchScore.

    >>> parse_score_id("shop-events-3-1047:click")
    ScorePlace(topic='shop-events', partition=3, offset=1047, name='click', number=0)
    >>> parse_score_id("shop-events-3-1047:home#2").number
    2
    """
    match = re.fullmatch(r"(.+)-(\d{1,9})-(\d{1,18}):([^#]+)(?:#([1-9]\d{0,8}))?", text)
    if match is None:
        raise NoSuchScore(f"Expected a score_id such as events-3-1047:click, got {text!r}")
    return ScorePlace(match[1], int(match[2]), int(match[3]), match[4], int(match[5] or 0))


async def record_at(place: ScorePlace, settings: Settings) -> ConsumerRecord:
    """Read the event that a score_id names; raises NoSuchScore, TopicMissing, Unavailable."""
    wanted = TopicRange(
        place.topic,
        ByOffset({place.partition: place.offset}),
        ByOffset({place.partition: place.offset + 1}),
        frozenset([place.partition]),
    )
    async with open_range(wanted, settings.kafka) as source:
        for records in (await source.read()).values():
            if records[0].offset == place.offset:
                return records[0]
    raise NoSuchScore(f"{place.topic}[{place.partition}] holds no record {place.offset}")


async def published_score(
    score_ids: Sequence[str], trigger: ConsumerRecord, settings: Settings, *, from_start: bool = True
) -> Score:
    """Find the first score of one of these names; it was published after its trigger.

    Parameters
    ----------
    from_start
        Look through all of the topic if it is not there: clocks can have been wrong.

    Raises
    ------
    NoSuchScore, TopicMissing, Unavailable
    """
    markers = [f'"{score_id}"'.encode() for score_id in score_ids]
    for start in (ByTime(trigger.timestamp), None)[: 1 + from_start]:
        async with open_range(TopicRange(settings.topics.scores.name, start), settings.kafka) as source:
            while batches := await source.read():
                for records in batches.values():
                    for record in records:
                        if record.value is not None and any(marker in record.value for marker in markers):
                            score = decode_score(record.value)
                            if score.score_id in score_ids:
                                return score
    wanted = " or ".join(score_ids) or "of a ranking, none is declared"
    raise NoSuchScore(f"{settings.topics.scores.name} holds no score {wanted}; is the event's objective right?")
