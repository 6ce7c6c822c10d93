"""Naive Bayes: River's numbers, at a cost that does not grow with the features met."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import naive_bayes

from online_models.estimators.naive_bayes import NaiveBayes
from schemas.codec import BadRecord

vectors = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([0.0, 1.0, 2.5, -1.0]), max_size=6)
streams = st.lists(st.tuples(vectors, st.booleans()), min_size=1, max_size=60)


@given(streams, st.sampled_from([0.1, 1.0, 3.0]))
def test_it_predicts_what_rivers_does(stream: list[tuple[dict[str, float], bool]], alpha: float) -> None:
    own, rivers = NaiveBayes(alpha=alpha), naive_bayes.BernoulliNB(alpha=alpha)
    seen = set()
    for x, y in stream:
        if len(seen) == 2:
            expected = min(max(rivers.predict_proba_one(x)[True], 1e-6), 1 - 1e-6)
            assert own.predict_proba_one(x)[True] == pytest.approx(expected, abs=1e-6)  # River adds 1e-9 to each factor
        own.learn_one(x, y)
        rivers.learn_one(x, y)
        seen.add(y)


@given(streams, st.integers(0, 60))
def test_restored_it_goes_on_bit_for_bit(stream: list[tuple[dict[str, float], bool]], cut: int) -> None:
    whole, first, second = NaiveBayes(), NaiveBayes(), NaiveBayes()
    for x, y in stream:
        whole.learn_one(x, y)
    for x, y in stream[:cut]:
        first.learn_one(x, y)
        first.predict_proba_one(x)
    second.restore(first.to_bytes())
    for x, y in stream[cut:]:
        second.learn_one(x, y)

    assert second.to_bytes() == whole.to_bytes()
    for x, _ in stream:
        assert second.predict_proba_one(x) == whole.predict_proba_one(x)


def test_it_takes_on_no_more_features_than_it_may() -> None:
    model = NaiveBayes(max_features=2)

    model.learn_one({"a": 1.0, "b": 1.0, "c": 1.0}, True)
    model.learn_one({"d": 1.0}, False)

    assert model.names == ["a", "b"]
    assert 0 < model.predict_proba_one({"c": 1.0})[True] < 1


def spoilt(**changes: Any) -> bytes:
    model = NaiveBayes()
    model.learn_one({"a": 1.0}, True)
    if "counts" in changes:
        model._classes[1].counts = changes["counts"]
    return NaiveBayes(alpha=2.0).to_bytes() if "alpha" in changes else model.to_bytes()


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (b"", "model: "),
        (spoilt()[:-1], "model: "),
        (spoilt(alpha=2.0), "expected the parameters"),
        (spoilt(counts=[]), "expected a count"),
        (spoilt(counts=[7]), "expected a count"),
        (b"\x95\x02" + spoilt()[2:], "expected format 1, got 2"),
    ],
)
def test_what_is_not_its_own_is_refused_and_changes_nothing(blob: bytes, why: str) -> None:
    model = NaiveBayes()
    model.learn_one({"z": 1.0}, False)
    before = model.to_bytes()

    with pytest.raises(BadRecord, match=why):
        model.restore(blob)

    assert model.to_bytes() == before
