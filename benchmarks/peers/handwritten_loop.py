"""The loop that an engineer writes who knows aiokafka: one MGET and MSET a batch, `send_batch`, uvloop.

It reads a batch, loads its visitors, scores and learns, stores, publishes, waits for the acknowledgements, commits.
"""

from __future__ import annotations

import sys

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from redis.asyncio import Redis
from river import linear_model, optim

from benchmarks.peers.features import EMPTY, extract, fold

BATCH = 500
servers, redis_url, source, target, group = sys.argv[1:]


async def main() -> None:
    """Score until ended."""
    redis = Redis.from_url(redis_url)
    model = linear_model.LogisticRegression(optimizer=optim.SGD(0.05))
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1000,
    )
    async with consumer, AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=1 << 20) as producer:
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=200, max_records=BATCH)).items():
                events = [orjson.loads(record.value) for record in records]
                keys = [f"{group}:{event['user_id']}" for event in events]
                distinct = list(dict.fromkeys(keys))
                stored = await redis.mget(distinct)
                states = {
                    key: orjson.loads(blob) if blob else list(EMPTY) for key, blob in zip(distinct, stored, strict=True)
                }
                batch = producer.create_batch()
                for key, event in zip(keys, events, strict=True):
                    state = states[key]
                    fold(state, event)
                    x = extract(state, event)
                    p = model.predict_proba_one(x)[True]
                    model.learn_one(x, event["type"] == "click")
                    value = orjson.dumps({"event_id": event["event_id"], "user_id": event["user_id"], "score": p})
                    batch.append(key=event["user_id"].encode(), value=value, timestamp=None)
                await redis.mset({key: orjson.dumps(state) for key, state in states.items()})
                await (await producer.send_batch(batch, target, partition=tp.partition))
            await consumer.commit()


if __name__ == "__main__":
    uvloop.run(main())
