"""The Faust agent that tutorials write: a typed record, a get and a set for each event, `topic.send`."""

from __future__ import annotations

import sys

import faust
import orjson
from redis.asyncio import Redis
from river import linear_model, optim

from benchmarks.peers.features import EMPTY, extract, fold

servers, redis_url, source, target, group = sys.argv[1:]


class Event(faust.Record, serializer="json"):
    """What the agent reads."""

    type: str
    event_id: str
    user_id: str
    ts: int
    category: str
    price: float
    position: int
    device: str
    depth: float = 0.0


app = faust.App(
    group,
    broker=f"kafka://{servers}",
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
    broker_request_timeout=20.0,
)
events = app.topic(source, value_type=Event)
scores = app.topic(target, value_serializer="json")
model = linear_model.LogisticRegression(optimizer=optim.SGD(0.05))
redis = Redis.from_url(redis_url)


@app.agent(events)
async def score(stream):  # type: ignore[no-untyped-def]
    """Score each event, then learn whether it was a click."""
    async for event in stream:
        stored = await redis.get(f"{group}:{event.user_id}")
        state = orjson.loads(stored) if stored else list(EMPTY)
        seen = event.asdict()
        seen["type"] = event.type
        fold(state, seen)
        x = extract(state, seen)
        p = model.predict_proba_one(x)[True]
        model.learn_one(x, event.type == "click")
        await redis.set(f"{group}:{event.user_id}", orjson.dumps(state), ex=86_400)
        await scores.send(key=event.user_id, value={"event_id": event.event_id, "user_id": event.user_id, "score": p})


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--loglevel=error", "--without-web"]
    app.main()
