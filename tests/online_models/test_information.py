"""What is known of weights travels with them, where a ranking asks for it, and only there."""

from __future__ import annotations

from models_topic import FEW, Learner, Log, Reader, Truth, assert_right


def test_where_no_ranking_asks_records_are_what_they_were() -> None:
    truth: Truth = {}
    told, untold = Learner(1, truth), Learner(1, truth, informed=False)
    for learner in (told, untold):
        learner.learn(50)
    names = {key for key, value in told.publish() if b'"information":' in value}
    before = [value for _, value in untold.publish()]

    assert names == {f"click/block/{block}/0".encode() for block in range(FEW)}
    assert all(b"information" not in value for value in before)


def test_a_scorer_that_asks_follows_a_learner_that_was_not_told_yet() -> None:
    # the learner:  not told   told, from its checkpoint
    truth: Truth = {}
    log, reader, learner = Log(), Reader(), Learner(1, truth, informed=False)
    known = []
    for informed in (False, True):
        learner = learner.restarted(learner.checkpoint(), informed=informed)
        learner.learn(9)
        log.append(learner.publish())
        reader.read(log)
        known.append((reader.replica.version, reader.replica.uncertainty() is not None))
        assert_right(reader, truth, informed=None)

    assert known == [(9, False), (18, True)]


def test_information_of_a_version_that_came_without_it_is_complete_after_a_turn_of_the_blocks() -> None:
    # not told: 9 18 | told, from 9: 18' (all blocks, passed over: 18 is there) 27 36 45 54
    truth: Truth = {}
    log, reader, learner = Log(), Reader(), Learner(1, truth, informed=False)
    learner.learn(9)
    log.append(learner.publish())
    told = learner.restarted(learner.checkpoint(), informed=True)
    learner.learn(9)
    log.append(learner.publish())
    known = []
    for _ in range(FEW + 1):
        told.learn(9)
        log.append(told.publish())
        reader.read(log)
        known.append((reader.replica.version, reader.replica.information is not None))
        assert_right(reader, truth, informed=None)

    assert known == [(18, False), (27, False), (36, False), (45, False), (54, True)]


def test_a_replica_is_as_uncertain_as_the_learner() -> None:
    truth: Truth = {}
    log, learner, reader = Log(), Learner(7, truth), Reader()
    learner.learn(300)
    log.append(learner.publish())
    reader.read(log)
    expected, found = learner.model.uncertainty(), reader.replica.uncertainty()

    assert found is not None
    assert found.prior_precision == expected.prior_precision == 3.0
    names = [*learner.model.names, "never met"]
    assert [*map(found.information_of, names)] == [*map(expected.information_of, names)]
    assert Reader(asking=False).replica.uncertainty() is None
