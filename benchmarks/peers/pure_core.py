"""Our own core over the same events in memory: no Kafka, no Redis, bytes to bytes, learning included."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from benchmarks.peers.workload import PARTITIONS, SCORING_YAML, START_MS, VISITORS, events
from online_models.parts import in_parts, result_of
from online_models.records import decode_batch
from online_models.scoring import ScoringCore
from online_models.step import Collected
from schemas.codec import decode_example, encode_json, encode_user_state
from schemas.user_state import UserState
from streams.garbage import looked_at_once
from streams.new_models import new_cores, new_replicas
from streams.settings import parse_settings

CHUNK = 500


class _Record(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def measure(count: int, *, learning: bool = False) -> tuple[float, float]:
    """Return events a second, and CPU seconds for a million events.

    Without learning the models come as a worker gets them: published by a learner of before, at the same places.
    """
    settings = parse_settings(SCORING_YAML, {})
    logs = logs_of(count)
    published: list[list[bytes]] = [] if learning else run(settings, logs, None)
    with looked_at_once():
        started, cpu = time.perf_counter(), time.process_time()
        run(settings, logs, None if learning else published)
        return count / (time.perf_counter() - started), (time.process_time() - cpu) / count * 1e6


def logs_of(count: int, *, visitors: int = VISITORS) -> list[list[_Record]]:
    """Return the records of each partition."""
    logs: list[list[_Record]] = [[] for _ in range(PARTITIONS)]
    for number, key, value in events(count, visitors=visitors):
        logs[number].append(_Record(len(logs[number]), START_MS + count, key, value))
    return logs


def run(settings: Any, logs: list[list[_Record]], models: list[list[bytes]] | None) -> list[list[bytes]]:
    """Go through the logs in turns; learn, or take up these models, chunk by chunk. Return the models of each chunk."""
    replicas = new_replicas(settings)
    (learner,) = new_cores(settings.objectives, settings)
    topic = settings.topics.events.name
    cores = [
        ScoringCore(
            topic=topic, partition=number, features=settings.features, objectives=settings.objectives, replicas=replicas
        )
        for number in range(PARTITIONS)
    ]
    users: list[dict[str, UserState]] = [{} for _ in cores]
    used: list[list[bytes]] = []
    next_example = 0
    for start in range(0, max(map(len, logs)), CHUNK):
        for number, core in enumerate(cores):
            records = logs[number][start : start + CHUNK]
            if not records:
                continue
            batch = decode_batch(records, topic=topic, partition=number)
            core.users_of(batch.events)
            out = Collected(users[number])
            examples: list[bytes] = []
            for part in in_parts(core, batch, out):
                for score in part.scores:
                    encode_json(score)
                examples += [encode_json(example) for example in part.examples]
            for user in result_of(core, batch, out).changed_users.values():
                encode_user_state(user)
            if models is None:
                decoded = [(next_example + place, decode_example(value)) for place, value in enumerate(examples)]
                next_example += len(decoded)
                used.append([value for one in learner.step(decoded) for _, value in one.records])
            else:
                used.append(models[len(used)])
            for value in used[-1]:
                replicas.apply(value)
    return used
