"""What keeps a worker out of its consumer group, by aiokafka's own coordinator on a broker that is scripted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from transport_bench import settled

from streams import logs
from streams.group_watch import GroupWatch
from streams.logs import configure_logging, quiet_kafka_client
from streams.settings import parse_settings
from streams.transport.group import GroupRefused, Place, check_group, place_of

SETTINGS = parse_settings(
    """
app: shop
worker: {stall_timeout: 20s}
features: {item: {field: item_id}}
objectives: {click: {trigger: impression, outcome: click, match: item, window: 30m, prior: 0.2}}
""",
    {},
)


class _Client:
    """Knows a coordinator, or raises; answers each JoinGroup with an error, or never."""

    def __init__(self, *, lookup: Exception | None = None, join: type[Exception] | None = None) -> None:
        self._lookup, self._join = lookup, join
        self.cluster = SimpleNamespace(add_listener=lambda listener: None, partitions_for_topic=lambda topic: {0})

    async def coordinator_lookup(self, kind: object, group: str) -> int:
        if self._lookup is not None:
            raise self._lookup
        return 1

    async def ready(self, node: int, *, group: object) -> bool:
        return True

    async def force_metadata_update(self) -> None: ...

    async def send(self, node: int, request: Any, *, group: object) -> Any:
        if self._join is None:
            await asyncio.Event().wait()
        return SimpleNamespace(error_code=self._join.errno, API_VERSION=5)  # type: ignore[union-attr]


@asynccontextmanager
async def a_coordinator(**broker: Any) -> AsyncIterator[GroupCoordinator]:
    subscription = SubscriptionState()
    subscription.subscribe(topics={"events"})
    subscription.register_fetch_waiters(set())
    coordinator = GroupCoordinator(_Client(**broker), subscription, group_id="shop", session_timeout_ms=3_600_000)
    try:
        await settled()
        yield coordinator
    finally:
        coordinator._coordination_task.cancel()
        await asyncio.wait([coordinator._coordination_task])


@pytest.mark.parametrize(
    ("broker", "told"),
    [
        ({"lookup": GroupAuthorizationFailedError()}, "give this user Read on the group"),
        ({"join": GroupAuthorizationFailedError}, "Kafka does not let us into the consumer group shop;"),
        ({"join": InvalidSessionTimeoutError}, "the session timeout of 3600 s .* set kafka.session_timeout within"),
        ({"join": InconsistentGroupProtocolError}, "choose another name for `app`"),
    ],
)
async def test_what_keeps_us_out_for_good_is_found_without_asking_for_records_and_says_what_to_do(
    broker: dict[str, Any], told: str
) -> None:
    async with a_coordinator(**broker) as coordinator:
        with pytest.raises(GroupRefused, match=told):
            check_group(coordinator)


async def test_other_faults_are_told_as_they_are_and_without_one_nothing_is() -> None:
    async with a_coordinator() as coordinator:
        check_group(coordinator)
        coordinator._pending_exception = TopicAuthorizationFailedError()
        with pytest.raises(KafkaError):
            check_group(coordinator)


async def test_the_place_in_the_group_is_known_without_asking() -> None:
    async with a_coordinator(lookup=GroupCoordinatorNotAvailableError()) as coordinator:
        assert place_of(coordinator) is Place.NO_COORDINATOR
        check_group(coordinator)
    async with a_coordinator() as coordinator:
        assert place_of(coordinator) is Place.JOINING
        coordinator.generation = 0  # where the embedded broker begins
        coordinator.coordinator_dead()
        assert place_of(coordinator) is Place.MEMBER
        coordinator.reset_generation()
        assert place_of(coordinator) is Place.NO_COORDINATOR


class Watched:
    """A watch of 20 s on a worker whose group lets others take 60 s to join again, with looks every 2 s."""

    def __init__(self, place: Place | None) -> None:
        self.place = place
        self.refusal: Exception | None = None
        self.failures: list[str] = []
        self.now_s = 1000.0
        conf = SimpleNamespace(broker_rebalance_timeout=60.0)
        transport: Any = SimpleNamespace(
            app=SimpleNamespace(conf=conf), check_group=self._check, place_in_group=lambda: self.place
        )
        self.watch = GroupWatch(SETTINGS, transport, lambda error: self.failures.append(str(error)))

    def _check(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def look(self, seconds: float) -> list[str]:
        for _ in range(round(seconds / 2)):
            self.now_s += 2.0
            self.watch.look(self.now_s)
        return self.failures


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(logs._kafka_client, "said", "")
    return logs._kafka_client


def test_who_finds_no_coordinator_ends_after_the_stall_timeout_and_says_what_is_known(said: Any) -> None:
    said.said = "Group Coordinator Request failed: [Error 15]"
    watched = Watched(Place.NO_COORDINATOR)

    assert watched.look(20) == []
    assert watched.look(2) == [
        "for 20 s this worker has been in no group: no broker coordinates the group shop; all must be up, and as many "
        "as the brokers' offsets.topic.replication.factor asks for; Kafka's client said last: Group Coordinator "
        "Request failed: [Error 15]"
    ]


def test_who_waits_for_the_group_to_settle_has_the_time_that_it_may_take(said: Any) -> None:
    watched = Watched(Place.JOINING)

    assert watched.look(80) == []
    assert watched.look(2) == ["for 80 s this worker has been in no group: the group shop has not taken it in yet"]


def test_a_member_is_well_whatever_it_has_and_what_was_before_does_not_count(said: Any) -> None:
    watched = Watched(Place.NO_COORDINATOR)
    watched.look(18)
    watched.place = Place.MEMBER
    assert watched.look(600) == []
    assert watched.watch.why_outside is None

    watched.place = None
    assert watched.look(18) == []
    watched.now_s += 3600  # the process was stopped
    assert watched.look(2) == ["for 23 s this worker has been in no group: the group shop has not taken it in yet"]


def test_the_time_at_one_place_does_not_count_against_the_bound_of_another(said: Any) -> None:
    watched = Watched(Place.JOINING)
    assert watched.look(70) == []

    watched.place = Place.NO_COORDINATOR  # such as a coordinator that moves
    assert watched.look(18) == []
    watched.place = Place.JOINING
    assert watched.look(8) == []

    assert watched.look(4) == ["for 98 s this worker has been in no group: the group shop has not taken it in yet"]


def test_a_refusal_ends_the_worker_at_once(said: Any) -> None:
    watched = Watched(Place.JOINING)
    watched.refusal = GroupRefused("give this user Read on the group")

    assert watched.look(2) == ["give this user Read on the group"]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root, client, ours = logging.getLogger(), logging.getLogger("aiokafka"), logging.getLogger("streamscore")
    before = root.handlers[:], root.level, client.handlers[:], client.level, client.propagate, ours.level
    yield
    root.handlers[:], root.level, client.handlers[:], client.level, client.propagate, ours.level = before


@pytest.mark.parametrize(("level", "aloud"), [("DEBUG", True), ("INFO", False)])
def test_what_the_client_says_is_logged_at_debug_only_and_always_remembered(
    level: str, aloud: bool, said: Any, logging_as_before: None, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet_kafka_client()  # as the command line does at first
    configure_logging(level, "json")

    logging.getLogger("aiokafka.consumer").error("Group Coordinator Request failed")

    assert ("Group Coordinator Request failed" in capsys.readouterr().err) is aloud
    assert said.said == "Group Coordinator Request failed"
