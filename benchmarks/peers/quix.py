"""Quix Streams with River, with a get and a set in the store for each event, or (``stateless``) without any state."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
from quixstreams import Application
from redis import Redis
from river import linear_model, optim

from benchmarks.peers.features import EMPTY, extract, fold

servers, redis_url, source, target, group, kind = sys.argv[1:]
redis = Redis.from_url(redis_url)
model = linear_model.LogisticRegression(optimizer=optim.SGD(0.05))


def scored(event: dict[str, Any]) -> dict[str, Any]:
    """Score an event, then learn whether it was a click."""
    if kind == "stateless":
        state = list(EMPTY)
        fold(state, event)
    else:
        key = f"{group}:{event['user_id']}"
        stored = redis.get(key)
        state = orjson.loads(stored) if stored else list(EMPTY)
        fold(state, event)
        redis.set(key, orjson.dumps(state), ex=86_400)
    x = extract(state, event)
    p = model.predict_proba_one(x)[True]
    model.learn_one(x, event["type"] == "click")
    return {"event_id": event["event_id"], "user_id": event["user_id"], "score": p}


if __name__ == "__main__":
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        loglevel=logging.ERROR,
        auto_create_topics=False,
        use_changelog_topics=False,
    )
    frame = app.dataframe(app.topic(source, value_deserializer="json", key_deserializer="bytes"))
    frame = frame.apply(scored)
    frame.to_topic(app.topic(target, value_serializer="json"))
    app.run()
