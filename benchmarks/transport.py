"""The record-batch transport beside Faust's own: records a second with an empty agent, and latency at a low rate.

    python benchmarks/transport.py [--records 200000] [--bootstrap-servers host:port] [--stock]

Without ``--bootstrap-servers`` it starts the embedded broker. The latency is from the producer's ``send`` to the
agent, at 100 records a second; broker, producer and worker share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import faust
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.transport.drivers.aiokafka import Transport as StockTransport

from streams.transport import record_schema, use_record_chunks

PARTITIONS = 4
VALUE_BYTES = 231  # of an event of the clickstream, on average


async def main() -> None:
    arguments = _arguments()
    logging.basicConfig(level=logging.ERROR)
    with ExitStack() as stack:
        servers = arguments.bootstrap_servers or _embedded(stack)
        names = ["record chunks", *(["stock Faust"] if arguments.stock else [])]
        for name in names:
            rate, chunks = await throughput(servers, arguments.records, stock=name == "stock Faust")
            print(f"{name:14} {rate:10,.0f} records/s  ({chunks} deliveries)")
        for name in names:
            p50, p99 = await latency(servers, stock=name == "stock Faust")
            print(f"{name:14} latency at 100 records/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--bootstrap-servers")
    parser.add_argument("--stock", action="store_true", help="measure Faust's own transport as well")
    return parser.parse_args()


def _embedded(stack: ExitStack) -> str:
    from streams.embedded import EmbeddedKafka

    kafka = EmbeddedKafka()
    kafka.start()
    stack.callback(kafka.stop)
    return kafka.bootstrap_servers


async def throughput(servers: str, records: int, *, stock: bool) -> tuple[float, int]:
    """Consume a full topic; count from the first record handed out to the last."""
    topic = await _topic(servers)
    await _fill(servers, topic, records)
    received, deliveries, started = 0, 0, 0.0
    finished = asyncio.Event()

    def take(value: Any) -> None:
        nonlocal received, deliveries, started
        started = started or time.perf_counter()
        deliveries += 1
        received += 1 if stock else len(value)
        if not stock:
            value.acknowledge()
        if received >= records:
            finished.set()

    app = _app(servers, topic, take, stock=stock)
    await app.start()
    async with asyncio.timeout(120):
        await finished.wait()
    elapsed = time.perf_counter() - started
    await app.stop()
    return records / elapsed, deliveries


async def latency(servers: str, *, stock: bool, records: int = 500) -> tuple[float, float]:
    """Send 100 records a second; return p50 and p99 in milliseconds."""
    topic = await _topic(servers)
    delays_ms: list[float] = []

    def take(value: Any) -> None:
        now = time.perf_counter()
        values = [value] if stock else [record.value for record in value.records]
        delays_ms.extend((now - float(one)) * 1000 for one in values)
        if not stock:
            value.acknowledge()

    app = _app(servers, topic, take, stock=stock)
    await app.start()
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for index in range(records):
            await producer.send(topic, b"%.6f" % time.perf_counter(), partition=index % PARTITIONS)
            await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        while len(delays_ms) < records:
            await asyncio.sleep(0.05)
    await app.stop()
    percentiles = statistics.quantiles(delays_ms[50:], n=100)
    return percentiles[49], percentiles[98]


def _app(servers: str, topic: str, take: Any, *, stock: bool) -> faust.App:
    app = faust.App(
        f"benchmark-{topic}",
        broker=f"kafka://{servers}",
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_request_timeout=20.0,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
    )
    if stock:
        app.transport = StockTransport(app.conf.broker_consumer, app)
        source = app.topic(topic, value_type=bytes, value_serializer="raw")
    else:
        use_record_chunks(app)
        source = app.topic(topic, schema=record_schema())

    @app.agent(source)
    async def agent(stream: Any) -> None:
        async for value in stream:
            take(value)

    return app


async def _topic(servers: str) -> str:
    name = f"benchmark-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    await admin.close()
    return name


async def _fill(servers: str, topic: str, records: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=1 << 20) as producer:
        for start in range(0, records, 500):
            batch = producer.create_batch()
            for _ in range(min(500, records - start)):
                batch.append(key=None, value=b"x" * VALUE_BYTES, timestamp=None)
            await producer.send_batch(batch, topic, partition=start // 500 % PARTITIONS)


if __name__ == "__main__":
    uvloop.run(main())
