"""What is served live, how the challengers stand, and how somebody changes it by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from online_models.contest import Cause, Decision, decision
from online_models.objectives import Objective
from online_models.serving import Served
from schemas.codec import BadRecord, decode_metric, decode_model_record
from schemas.metrics import Contest, Promotion
from schemas.models import Serving
from streams.output import KafkaOutput
from streams.publish import batches_of_decision
from streams.reading import read_to_end, reader
from streams.settings import Settings

# Standings are published with each version of a model, among the accounting of all batches: of a busy site 20,000
# records are some minutes. Further back is looked only for objectives of which nothing was found there.
_LOOK_BACK = (20_000, 200_000, 1_000_000)


class NotPromoted(ValueError):
    """Nothing was changed; the message says why."""


@dataclass
class Standings:
    """What the topics say of an objective.

    Attributes
    ----------
    contest
        The newest standings; None: there are none yet, or none as far as `metrics` is looked at.
    history
        Changes of what is served, oldest first, as far as `metrics` is looked at.
    last
        The last change, which `models` keeps; None: there was none.
    """

    objective: Objective
    served: Served
    contest: Contest | None = None
    history: list[Promotion] = field(default_factory=list)
    last: Serving | None = None

    @property
    def changes(self) -> list[Promotion | Serving]:
        """Changes of what is served as far as they are known, oldest first."""
        known = {one.number for one in self.history}
        return [*self.history, *([self.last] if self.last is not None and self.last.number not in known else [])]

    def follow(self, record: Serving) -> None:
        """Take in a change that `models` tells of."""
        self.served.follow(record)
        if self.last is None or record.number >= self.last.number:
            self.last = record


async def read_standings(settings: Settings) -> dict[str, Standings]:
    """Read what is served and how challengers stand, of the objectives that have any.

    Raises
    ------
    TopicMissing, Unavailable
    """
    found = await _read_served(settings)
    async with reader(settings.kafka, [settings.topics.metrics.name]) as consumer:
        for most in _LOOK_BACK:
            is_all = await _look_back(consumer, most)
            for one in found.values():
                one.contest, one.history = None, []
            async for records in read_to_end(consumer):
                for record in records:
                    _note(found, record)
            if is_all or all(one.contest is not None for one in found.values()):
                break
    return found


async def _read_served(settings: Settings) -> dict[str, Standings]:
    found = {one.name: Standings(one, Served(one.variants)) for one in settings.objectives if one.challengers}
    async with reader(settings.kafka, [settings.topics.models.name]) as consumer:
        async for records in read_to_end(consumer):
            for record in records:
                _follow(found, record)
    return found


async def _look_back(consumer: AIOKafkaConsumer, most: int) -> bool:
    """Go to where the last `most` records of each partition begin; return whether these are all."""
    partitions = list(consumer.assignment())
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    for partition in partitions:
        consumer.seek(partition, max(begins[partition], ends[partition] - most))
    return all(ends[partition] - begins[partition] <= most for partition in partitions)


def _follow(found: dict[str, Standings], record: ConsumerRecord) -> None:
    if not (record.key or b"").endswith(b"/serving"):
        return
    try:
        serving = decode_model_record(record.value or b"")
    except BadRecord:
        return
    if isinstance(serving, Serving) and serving.objective in found:
        found[serving.objective].follow(serving)


def _note(found: dict[str, Standings], record: ConsumerRecord) -> None:
    try:
        metric = decode_metric(record.value or b"")
    except BadRecord:
        return
    if isinstance(metric, Contest) and metric.objective in found:
        found[metric.objective].contest = metric
    elif isinstance(metric, Promotion) and metric.objective in found:
        found[metric.objective].history.append(metric)


async def promote(objective: str, challenger: str, settings: Settings) -> Decision:
    """Serve a challenger from now on; "" is the declared model.

    Raises
    ------
    NotPromoted
        There is no such objective or challenger, or it is served already.
    TopicMissing, Unavailable
    """
    standing = await _standing_of(objective, settings)
    variants = standing.objective.variants
    if challenger not in variants:
        known = ", ".join(name for name in variants if name)
        raise NotPromoted(f"{objective} has no challenger {challenger!r}; it has {known}")
    if challenger == standing.served.variant:
        raise NotPromoted(f"{challenger or 'The declared model'} is what {objective} serves")
    return await _publish(standing, challenger, "command", settings)


async def rollback(objective: str, settings: Settings) -> Decision:
    """Serve again what was served before the last change.

    Raises
    ------
    NotPromoted
        There was no change.
    TopicMissing, Unavailable
    """
    standing = await _standing_of(objective, settings)
    if not standing.served.number:
        raise NotPromoted(f"{objective} has served its declared model all the time")
    return await _publish(standing, standing.served.before, "rollback", settings)


async def _standing_of(objective: str, settings: Settings) -> Standings:
    found = await _read_served(settings)  # `metrics` can be large, and says nothing that is asked here
    if objective not in found:
        known = ", ".join(found) or "none"
        raise NotPromoted(f"No objective {objective!r} with challengers; those that have some: {known}")
    return found[objective]


async def _publish(standing: Standings, variant: str, cause: Cause, settings: Settings) -> Decision:
    served = standing.served
    made = decision(standing.objective.name, variant, before=served.variant, number=served.number + 1, cause=cause)
    output = KafkaOutput(settings)
    await output.start()
    try:
        topics = settings.topics
        partitions = {one.name: await output.partitions(one.name) for one in (topics.models, topics.metrics)}
        await output.publish(batches_of_decision(made, topics, partitions))
    finally:
        await output.stop()
    return made
