"""Segments and look-alikes over HTTP, on a store in memory."""

from __future__ import annotations

from typing import Any

import pytest
from builders import MINUTE, EventLog, a_click, a_page_view, an_add_to_cart

from online_models.clusters import FIRST_PER_CLUSTER
from online_models.crowd import CROWD
from online_models.records import decode_batch
from online_models.scoring import ScoringCore
from schemas.codec import encode_user_state
from streams.new_models import new_cores, new_replicas
from streams.output import ListOutput, partition_for_key
from streams.settings import Settings, parse_settings
from streams.stores import PartitionId, Unavailable
from streams.stores.memory import DictStateStore
from streams.web.answers import Answers
from streams.web.audience import NoSegments

PARTITIONS = 4
FEATURES = """
features:
  clicks: {count: click, transform: log1p}
  carts: {count: add_to_cart}
  item: {field: item_id}
objectives:
  click: {trigger: page_view, outcome: click, match: user, window: 30m, model: {name: ftrl}}
"""
SEGMENTS = "segments: {of: [clicks, carts], count: 2, at_event: 8}\n"


class Deployment:
    """Visitors who click and visitors who fill baskets, in a store; what their visits tell is learned."""

    def __init__(self, config: str = FEATURES + SEGMENTS) -> None:
        self.settings: Settings = parse_settings(config, {})
        self.store = DictStateStore()
        self.replicas = new_replicas(self.settings)
        self.examples: list[Any] = []
        self.answers = Answers(self.settings, self.store, self.replicas, ListOutput(), partitions=PARTITIONS)
        self.audience = self.answers.audience

    async def knows(self, *visitors: str) -> None:
        """Store what visitors leave whose names begin with what they do."""
        for partition in range(PARTITIONS):
            here = [one for one in visitors if partition_for_key(one.encode(), PARTITIONS) == partition]
            if here:
                await self._stores(PartitionId("events", partition), here)

    async def _stores(self, place: PartitionId, visitors: list[str]) -> None:
        log, core, users = EventLog(), self._core(place), dict[str, Any]()
        for name in visitors:
            for number in range(9):
                kind = an_add_to_cart if name.startswith("cart") and number > 1 else a_click
                log.add(kind(f"i{number}", number * MINUTE + len(log.records), user_id=name))
        result = core.step(decode_batch(log.records, topic=place.topic, partition=place.partition), users)
        self.examples += result.examples
        await self.store.save(
            place,
            expected_offset=None,
            next_offset=len(log.records),
            meta=b"",
            users={name: encode_user_state(user) for name, user in users.items()},
            timers={},
        )

    def _core(self, place: PartitionId) -> ScoringCore:
        return ScoringCore(
            topic=place.topic,
            partition=place.partition,
            features=self.settings.features,
            objectives=self.settings.objectives,
            replicas=self.replicas,
        )

    def learns(self) -> None:
        """Learn what was told, and let the replicas have it."""
        learner = next(one for one in new_cores(self.settings.learned, self.settings) if one.objective == CROWD)
        learner.step(list(enumerate(self.examples)))
        publication = learner.publish_pending()
        assert publication is not None
        for _, value in publication.records:
            self.replicas.apply(value)


@pytest.fixture
async def deployed() -> Deployment:
    made = Deployment()
    await made.knows(*(f"click-{n}" for n in range(2 * FIRST_PER_CLUSTER)), *(f"cart-{n}" for n in range(30)))
    made.learns()
    return made


async def test_segments_are_told_with_their_names_and_in_the_features_own_units(deployed: Deployment) -> None:
    told = deployed.audience.segments()

    names = [(one.id, one.name) for one in told.segments]
    assert names == [("1", "clicks high, carts low"), ("2", "clicks low, carts high")]
    assert told.segments[0].centroid == {"clicks": pytest.approx(8.0), "carts": pytest.approx(0.0, abs=1e-6)}
    assert told.segments[1].centroid == {"clicks": pytest.approx(2.0), "carts": pytest.approx(6.0)}
    assert [one.size for one in told.segments] == [60, 30]
    assert sum(one.share for one in told.segments) == pytest.approx(1.0)
    assert told.crowd_version == 90


async def test_a_visitor_s_features_name_the_segment(deployed: Deployment) -> None:
    found = await deployed.answers.features("cart-1", a_page_view(10 * MINUTE, user_id="cart-1"))

    assert found is not None
    assert found.segment == found.features["segment"] == "2"


async def test_look_alikes_are_ranked_by_what_the_seed_has_in_common(deployed: Deployment) -> None:
    seed = [f"cart-{n}" for n in range(10)]

    told = await deployed.audience.lookalikes([*seed, "nobody"], ["click-3", "cart-20", "nobody", "cart-20"])

    assert told.seed_known == 10
    clicks, carts, nobody, again = told.users
    assert carts == again
    assert (clicks.user_id, clicks.segment, carts.user_id, carts.segment) == ("click-3", "1", "cart-20", "2")
    assert clicks.score is not None
    assert carts.score is not None
    assert clicks.score < 0.1 < 0.9 < carts.score
    assert {name for name, _ in carts.reasons} == {"clicks", "carts"}
    assert (nobody.user_id, nobody.score, nobody.reasons) == ("nobody", None, [])


async def test_of_a_seed_of_strangers_nothing_is_said(deployed: Deployment) -> None:
    told = await deployed.audience.lookalikes(["nobody"], ["cart-1"])

    assert told.seed_known == 0
    assert [one.score for one in told.users] == [None]


async def test_before_anybody_was_described_there_is_nothing_to_compare_with() -> None:
    deployment = Deployment()

    assert deployment.audience.segments().segments == []
    with pytest.raises(Unavailable, match="no visit was described yet"):
        await deployment.audience.lookalikes(["a"], ["b"])


async def test_without_segments_nobody_is_described() -> None:
    deployment = Deployment(FEATURES)

    assert deployment.audience.segments().segments == []
    with pytest.raises(NoSegments, match="Expected `segments:` in the configuration"):
        await deployment.audience.lookalikes(["a"], ["b"])
    await deployment.knows("click-1")
    found = await deployment.answers.features("click-1", a_page_view(MINUTE, user_id="click-1"))
    assert found is not None
    assert found.segment is None
    assert "segment" not in found.features


def test_a_wrong_section_says_its_line() -> None:
    with pytest.raises(ValueError, match=r"scoring.yaml:8: segments.of.1: 'item' describes the event"):
        parse_settings(FEATURES + "segments: {of: [clicks, item]}\n", {})
