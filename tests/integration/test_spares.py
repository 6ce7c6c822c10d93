"""Who asks for no records stays in its group: a worker without partitions, and one whose partitions are full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import faust
import msgspec
from aiokafka import AIOKafkaProducer
from conftest import Broker
from faust.types import TP

from streams.admin import create_topics
from streams.configs import shipped_config
from streams.faust_app import make_faust_app
from streams.settings import Settings, load_settings
from streams.transport import RecordChunk, record_schema
from streams.transport.group import Place

# Faust's is 1,000 s. aiokafka takes who has not asked for longer out of the group, and not in again.
LONGEST_BETWEEN_POLLS_S = 2.0


class Member:
    """A worker's place in its group; it takes what it is handed and acknowledges nothing, so it is soon full."""

    def __init__(self, settings: Settings) -> None:
        self.offsets: list[int] = []
        self.revoked = 0
        self.app, self.transport = make_faust_app(settings, start_offsets=self._start, on_revoked=self._revoke)
        self.app.conf.broker_max_poll_interval = LONGEST_BETWEEN_POLLS_S

        async def hand_over(stream: faust.StreamT[RecordChunk]) -> None:
            async for chunk in stream:
                self.offsets += [record.offset for record in chunk.records]

        self.app.agent(self.app.topic(settings.topics.events.name, schema=record_schema()))(hand_over)

    async def _start(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        return {}

    async def _revoke(self, tps: frozenset[TP]) -> None:
        self.revoked += 1

    async def __aenter__(self) -> Member:
        await self.app.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)


async def test_who_asks_for_no_records_stays_in_the_group_and_a_spare_takes_over(
    kafka_broker: Broker, unique: Callable[[str], str]
) -> None:
    declared = {
        "STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "STREAMSCORE_KAFKA_SESSION_TIMEOUT": "6s",
        "STREAMSCORE_KAFKA_HEARTBEAT": "500ms",
        "STREAMSCORE_TOPICS_EVENTS": unique("spare.events"),
        "STREAMSCORE_WORKER_CHUNK_RECORDS": "1",
    }
    settings = msgspec.structs.replace(load_settings(shipped_config("shop"), declared), app=unique("spare"))
    topic = settings.topics.events.name
    await create_topics(settings, [msgspec.structs.replace(settings.topics.events, partitions=1)])
    async with AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap_servers) as producer:
        for _ in range(20):
            await producer.send_and_wait(topic, b"{}")
    full = [0, 1, 2, 3]  # as many chunks as may be open

    async with Member(settings) as first, Member(settings) as second:
        members = (first, second)
        await until(lambda: all(one.transport.place_in_group() is Place.MEMBER for one in members))
        await until(lambda: sorted(len(one.transport.status()) for one in members) == [0, 1])
        owner, spare = members if first.transport.status() else (second, first)
        await until(lambda: owner.offsets[-4:] == full)
        before = [one.revoked for one in members]

        await asyncio.sleep(3 * LONGEST_BETWEEN_POLLS_S)

        assert [await one.transport.is_member() for one in members] == [True, True]
        assert [one.revoked for one in members] == before
        assert (len(owner.transport.status()), len(spare.transport.status())) == (1, 0)
        spare.offsets.clear()
        await owner.app.stop()
        await until(lambda: spare.offsets == full)
