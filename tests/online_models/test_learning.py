from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from online_models.distribution import make_distributor
from online_models.estimators import SparseFTRL
from online_models.learning import LearningCore, Publication
from online_models.replica import LinearReplica, ReplicaSet
from schemas.codec import BadRecord
from schemas.examples import Example, Use


def a_core(*, lineage: str = "one", publish_examples: int = 10) -> LearningCore:
    model = SparseFTRL()
    return LearningCore(
        "click",
        lineage=lineage,
        estimator=model,
        distributor=make_distributor("click", lineage=lineage, estimator=model),
        publish_examples=publish_examples,
    )


def an_example(offset: int, *, seq: int = 0, label: bool = True, use: Use = "both", **features: float) -> Example:
    return Example(
        objective="click",
        score_id=f"events-0-{offset}:click",
        ts=offset,
        label=label,
        features=features or {"a": 1.0, f"item={offset % 3}": 1.0},
        score=0.25,
        model_version=0,
        topic="events",
        partition=0,
        offset=offset,
        seq=seq,
        released_ts=offset,
        use=use,
    )


def stream(count: int) -> list[tuple[int, Example]]:
    return [(at, an_example(at, label=at % 3 == 0)) for at in range(count)]


def test_a_version_is_the_offset_behind_the_last_example_that_it_has_learned() -> None:
    core = a_core()

    publications = core.step(stream(25))

    assert [one.version for one in publications] == [10, 20]
    assert core.publish_pending().version == 25  # type: ignore[union-attr]
    assert core.publish_pending() is None


def test_scores_are_judged_as_they_were_published_whatever_has_been_learned() -> None:
    core = a_core()
    core.step([(0, an_example(0, label=False)), (1, an_example(1, use="learn")), (2, an_example(2, use="judge"))])

    progress = core.progress()

    assert (progress.n, progress.positives, progress.learned) == (2, 1, 2)
    assert progress.mean_score == 0.25


def test_what_a_crash_has_repeated_is_dropped_also_when_half_of_it_had_arrived() -> None:
    # A scorer wrote examples 7.0, 7.1, crashed, and wrote 7.0, 7.1, 7.2, 8.0.
    written = [an_example(7, seq=0), an_example(7, seq=1), *(an_example(7, seq=seq) for seq in range(3)), an_example(8)]
    core = a_core()

    core.step(list(enumerate(written)))

    assert (core.learned, core.repeated) == (4, 2)


def test_a_restored_learner_knows_what_each_source_has_released() -> None:
    def released(partition: int, offset: int) -> Example:
        return structs.replace(an_example(offset), topic="shop-1", partition=partition)

    core, restored = a_core(), a_core()
    core.step([(0, released(0, 7)), (1, released(12, 3))])
    assert restored.restore(core.checkpoint())

    restored.step([(2, released(0, 7)), (3, released(12, 3)), (4, released(0, 8)), (5, released(1, 3))])

    assert (restored.learned, restored.repeated) == (4, 2)
    assert msgspec.msgpack.decode(core.checkpoint())[7] == {"shop-1-0": [7, 0], "shop-1-12": [3, 0]}


def test_examples_that_were_read_before_are_passed_over() -> None:
    core = a_core()
    core.step(stream(12))

    assert core.step(stream(12)) == []
    assert core.learned == 12


def test_a_learner_goes_on_from_its_checkpoint_bit_for_bit() -> None:
    straight, first, second = a_core(), a_core(), a_core()
    undisturbed = straight.step(stream(17)) + straight.step(stream(40))

    before = first.step(stream(17))
    assert second.restore(first.checkpoint())
    after = second.step(stream(40))

    assert [one.version for one in undisturbed] == [one.version for one in before + after] == [10, 20, 30, 40]
    assert second.progress() == straight.progress()
    x = {"a": 1.0, "item=1": 1.0}
    scores = [scored(publications, x) for publications in (undisturbed, before + after, after)]
    assert scores[0] == scores[1] == scores[2]
    assert scores[0][0] == 40


def scored(publications: list[Publication], x: dict[str, float]) -> tuple[int, object]:
    replica = LinearReplica(lineage="one", name="ftrl", prior=0.5)
    followers = ReplicaSet({"click": replica})
    for publication in publications:
        for _, value in publication.records:
            followers.apply(value)
    return replica.version, replica.score_one(x, 3)


def test_a_checkpoint_of_other_features_keeps_its_place_and_not_its_model() -> None:
    old, new = a_core(), a_core(lineage="another")
    old.step(stream(17))

    assert not new.restore(old.checkpoint())

    assert (new.next_offset, new.learned, new.progress().n) == (17, 0, 0)


@pytest.mark.parametrize("blob", [b"", b"garbage", b"\x90", b"\xdc\x00\x20\x01\xa1\xff"])
def test_what_is_no_checkpoint_is_refused(blob: bytes) -> None:
    with pytest.raises(BadRecord):
        a_core().restore(blob)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e12])
def test_a_number_that_a_model_would_never_get_over_is_not_learned(poison: float) -> None:
    core = a_core()

    core.step([(0, an_example(0, price=poison)), (1, an_example(1))])

    assert (core.refused, core.learned, core.next_offset) == (1, 1, 2)
