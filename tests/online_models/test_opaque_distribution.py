"""Models that travel whole and signed: whole or not at all, forwards only, and from us."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from online_models.distribution import OpaqueDistributor, make_distributor
from online_models.estimators import build
from online_models.replica import OpaqueReplica, ReplicaSet
from schemas.models import ModelRecord, OpaquePart

OBJECTIVE, LINEAGE = "click", "1f0c"
KEY = b"sixteen bytes or more"
RIVERS = {"name": "logistic_regression", "scale": "standard"}


def learned(n: int) -> Any:
    model = build(RIVERS, key=KEY)
    rng = random.Random(8)
    for _ in range(n):
        x = {"a": rng.random(), "b": rng.random()}
        model.learn_one(x, x["a"] > 0.5)
    return model


def replica(key: bytes = KEY) -> ReplicaSet:
    return ReplicaSet({OBJECTIVE: OpaqueReplica(lineage=LINEAGE, spare=build(RIVERS, key=key), prior=0.5)})


def test_the_replica_scores_as_the_learner_and_says_why() -> None:
    model, replicas = learned(300), replica()
    records = OpaqueDistributor(OBJECTIVE, lineage=LINEAGE, model=model, max_bytes=500).publish(300)
    for _, value in records:
        replicas.apply(value)
    p, reasons = replicas[OBJECTIVE].score_one({"a": 0.9, "b": 0.1}, 2)

    assert len(records) > 3
    assert replicas[OBJECTIVE].version == 300
    assert p == model.predict_proba_one({"a": 0.9, "b": 0.1})[True] > 0.6
    assert replicas[OBJECTIVE].score_one({"a": 0.9, "b": 0.1}, 0) == (p, [])
    assert reasons[0][0] == "a"
    assert reasons[0][1] > 0.5


def test_an_unfinished_publication_leaves_the_one_before() -> None:
    distributor = OpaqueDistributor(OBJECTIVE, lineage=LINEAGE, model=learned(300), max_bytes=500)
    compacted: dict[bytes, bytes] = {}
    for version in (300, 301, 302, 303):
        records = distributor.publish(version)
        for key, value in records if version < 303 else records[:2]:
            compacted.pop(key, None)  # the last value of a key stands where it was written
            compacted[key] = value
    replicas = replica()

    for value in compacted.values():
        replicas.apply(value)

    assert replicas[OBJECTIVE].version == 302


def test_versions_do_not_go_back() -> None:
    distributor = make_distributor(OBJECTIVE, lineage=LINEAGE, estimator=learned(50))
    replicas = replica()
    for version in (50, 40, 50):
        for _, value in distributor.publish(version):
            replicas.apply(value)

    assert (replicas[OBJECTIVE].version, replicas.unreadable) == (50, 0)


@pytest.mark.parametrize("forged", ["another key", "a changed byte"])
def test_what_is_not_signed_by_us_is_refused(forged: str) -> None:
    replicas = replica(b"another key of 16 bytes") if forged == "another key" else replica()
    for _, value in make_distributor(OBJECTIVE, lineage=LINEAGE, estimator=learned(50)).publish(50):
        record = msgspec.json.decode(value, type=ModelRecord)
        if forged == "a changed byte" and isinstance(record, OpaquePart):
            record.body = record.body[:-1] + bytes([record.body[-1] ^ 1])
        replicas.apply(msgspec.json.encode(record))

    assert (replicas[OBJECTIVE].version, replicas.unreadable) == (0, 1)
    assert replicas[OBJECTIVE].score_one({"a": 1.0}, 1) == (0.5, [])
