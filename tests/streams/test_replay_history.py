"""Models as they were: any version, in any order, equals learning the examples before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.estimators import build
from online_models.learning import LearningCore
from schemas.codec import encode_json
from schemas.examples import Example
from streams.new_models import new_cores
from streams.replay import history
from streams.replay.history import ExampleSpool, ModelHistory, PastReplica, VersionLost
from streams.settings import parse_settings

SETTINGS = parse_settings(
    """
features: {item: {field: item_id}, clicks: {count: click}}
objectives: {click: {trigger: impression, outcome: click, match: item, window: 30m, prior: 0.2}}
""",
    {},
)
OBJECTIVE = SETTINGS.objectives[0]
COUNT = 120


def an_example(offset: int) -> Example:
    return Example(
        objective="click" if offset % 3 else "purchase",
        score_id=f"events-0-{offset}:click",
        ts=offset,
        label=offset % 4 == 0,
        features={f"item={offset % 5}": 1.0, "clicks": float(offset % 7)},
        score=0.5,
        model_version=0,
        topic="events",
        partition=0,
        offset=offset - offset % 10,  # ten examples of one record, and a repeat below
        seq=offset % 10,
        released_ts=offset,
    )


EXAMPLES = [(offset, an_example(offset if offset % 11 else max(0, offset - 20))) for offset in range(COUNT)]


@contextmanager
def spool(start: int = 0) -> Iterator[ExampleSpool]:
    with closing(ExampleSpool(None)) as kept:
        kept.put([(offset, encode_json(one)) for offset, one in EXAMPLES if offset >= start])
        kept.put([(COUNT, b"unreadable"), (COUNT + 1, None)])
        yield kept


def learned(version: int) -> LearningCore:
    core = next(new_cores([OBJECTIVE], SETTINGS))
    core.step([(offset, one) for offset, one in EXAMPLES if offset < version and one.objective == "click"])
    return core


@given(versions=st.lists(st.integers(1, COUNT), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_version_is_the_model_that_has_learned_all_before_it(versions: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch, spool() as kept:
        patch.setattr(history, "_SNAPSHOT_EVERY", 25)
        models = ModelHistory(OBJECTIVE, SETTINGS, kept)

        for version in versions:
            assert models.model_at(version).to_bytes() == learned(version)._estimator.to_bytes()


def test_going_forward_learns_each_example_once() -> None:
    with spool() as kept:
        models = ModelHistory(OBJECTIVE, SETTINGS, kept)
        for version in range(1, COUNT):
            models.model_at(version)

    assert models.learned == sum(one.objective == "click" for _, one in EXAMPLES[: COUNT - 1])


def test_versions_before_the_oldest_example_come_from_a_checkpoint_or_are_said_to_be_lost() -> None:
    checkpoint = learned(50).checkpoint()
    lost = r"Version 45 of click .*oldest example kept is 40, the checkpoint is at 50"
    with spool(40) as kept:
        with_checkpoint = ModelHistory(OBJECTIVE, SETTINGS, kept, oldest=40, checkpoint=checkpoint)

        assert with_checkpoint.model_at(90).to_bytes() == learned(90)._estimator.to_bytes()
        with pytest.raises(VersionLost, match=lost):
            with_checkpoint.model_at(45)
        with pytest.raises(VersionLost, match="there is no checkpoint"):
            ModelHistory(OBJECTIVE, SETTINGS, kept, oldest=40).model_at(90)


def test_a_replica_of_the_past_scores_as_the_live_one_and_is_cold_before_the_first_version() -> None:
    x = {"item=1": 1.0, "clicks": 2.0, "never seen": 1.0}

    with spool() as kept:
        replica = PastReplica(ModelHistory(OBJECTIVE, SETTINGS, kept), SETTINGS)
        cold = replica.score_one(x, 3)
        replica.go_to(100)

    assert cold == (0.2, [])
    expected = build(OBJECTIVE.model)
    expected.restore(learned(100)._estimator.to_bytes())
    assert replica.score_one(x, 3)[0] == expected.predict_proba_one(x)[True]
    assert {name for name, _ in replica.score_one(x, 3)[1]} == {"item=1", "clicks"}


def test_versions_go_on_where_another_log_has_taken_the_place_of_the_first() -> None:
    core, straight = learned(50), learned(50)
    core.go_on(0, topic="examples", partition=0)
    later = [(offset - 50, one) for offset, one in EXAMPLES if offset >= 50]
    core.step([(offset, one) for offset, one in later if offset < 20 and one.objective == "click"])
    version, checkpoint = core.version, core.checkpoint()
    straight.step([(offset, one) for offset, one in EXAMPLES if offset < 90 and one.objective == "click"])
    with closing(ExampleSpool(None)) as kept:
        kept.put([(offset, encode_json(one)) for offset, one in later])
        models = ModelHistory(OBJECTIVE, SETTINGS, kept, oldest=0, checkpoint=checkpoint)

        assert version == 50 + core.next_offset
        assert models.model_at(version).to_bytes() == core._estimator.to_bytes()
        assert models.model_at(90).to_bytes() == straight._estimator.to_bytes()
        with pytest.raises(VersionLost, match=rf"Version 45 .* exchanged at version 50, .* checkpoint is at {version}"):
            models.model_at(45)


def test_a_checkpoint_changes_nothing_where_all_examples_are_kept() -> None:
    with spool() as kept:
        models = ModelHistory(OBJECTIVE, SETTINGS, kept, oldest=0, checkpoint=learned(50).checkpoint())

        assert models.model_at(45).to_bytes() == learned(45)._estimator.to_bytes()


def test_what_an_objective_has_left_in_another_partition_is_not_taken_for_this_one_s() -> None:
    with closing(ExampleSpool(None)) as kept:
        kept.put([(0, encode_json(an_example(1)))], belongs=lambda objective: objective != "click")
        kept.put([(0, encode_json(an_example(4)))], belongs=lambda objective: objective == "click")

        assert [example.offset + example.seq for _, example in kept.between("click", 0, 9)] == [4]
