"""A client of a broker that keeps what is sent, and fails as it is told; and our producer on it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import BrokerResponseError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatch

from streams.out_records import OutRecord, Place
from streams.producer import BatchProducer

BATCH_BYTES = 1000


class ScriptedClient:
    """The n-th batch of all fails as the script says: by an error code if the fault has one, or its whole request."""

    def __init__(self, script: dict[int, BaseException] | None = None) -> None:
        self.script = script or {}
        self.log: dict[Place, list[OutRecord]] = {}
        self.batches = 0
        self.requests: list[list[Place]] = []
        self.started = self.stopped = False
        self.metadata_updates = 0
        self.topics: set[str] | None = None  # None: all that are asked for
        self.leaders: dict[Place, int] = {}
        self.cluster = SimpleNamespace(
            partitions_for_topic=lambda topic: set(range(10)) if self._has(topic) else None,
            leader_for_partition=self._leader,
            unauthorized_topics=set(),
        )
        self._under_way: set[int] = set()

    def _has(self, topic: str) -> bool:
        return self.topics is None or topic in self.topics

    def _leader(self, tp: Any) -> int | None:
        return self.leaders.get((tp.topic, tp.partition), tp.partition % 2) if self._has(tp.topic) else None

    async def bootstrap(self) -> None:
        self.started = True

    async def close(self) -> None:
        self.stopped = True

    async def add_topic(self, topic: str) -> bool:
        return True

    async def force_metadata_update(self) -> bool:
        self.metadata_updates += 1
        return True

    async def ready(self, node_id: int) -> bool:
        return True

    async def send(self, node_id: int, request: ProduceRequest) -> Any:
        assert node_id not in self._under_way, "a request was sent before the one in front of it was answered"
        self._under_way.add(node_id)
        await asyncio.sleep(0)
        self._under_way.discard(node_id)
        assert request.required_acks == -1
        self.requests.append([(topic, number) for topic, parts in request._topics for number, _ in parts])
        answers = [
            (topic, [self._answer((topic, number), batch) for number, batch in parts])
            for topic, parts in request._topics
        ]
        return SimpleNamespace(topics=answers)

    def _answer(self, where: Place, batch: bytes) -> tuple[int, int, int, int, int]:
        self.batches += 1
        fault = self.script.get(self.batches)
        if isinstance(fault, BrokerResponseError):
            return where[1], fault.errno, -1, -1, -1
        if fault is not None:
            raise fault
        log = self.log.setdefault(where, [])
        offset = len(log)
        there = DefaultRecordBatch(bytes(batch))
        log.extend(OutRecord(one.key, one.value, list(one.headers), one.timestamp) for one in there)
        assert len(log) > offset
        return where[1], 0, offset, -1, 0


class ScriptedProducer(BatchProducer):
    """Our producer on a scripted client; what may pass is not tried again unless it is given time."""

    def __init__(
        self,
        script: dict[int, BaseException] | None = None,
        *,
        client: ScriptedClient | None = None,
        timeout_ms: int = 0,
        **options: Any,
    ) -> None:
        self.client = client or ScriptedClient(script)
        super().__init__(
            self.client, compression="none", request_timeout_ms=timeout_ms, batch_bytes=BATCH_BYTES, **options
        )

    @property
    def log(self) -> dict[Place, list[OutRecord]]:
        return self.client.log

    @property
    def batches(self) -> int:
        return self.client.batches

    @property
    def started(self) -> bool:
        return self.client.started

    @property
    def stopped(self) -> bool:
        return self.client.stopped
