"""Names of reasons: which feature they are about, and what of them may be shown."""

from __future__ import annotations

import pytest

from online_models.features import compile_features
from online_models.reasons import ReasonNames

NAMES = ReasonNames(
    compile_features(
        {
            "item": {"field": "item_id"},
            "price": {"field": "price"},
            "words": {"field": "query"},
            "category": {"field": "category"},
            "item_x_category": {"cross": ["item", "category"]},
            "price_x_item": {"cross": ["price", "item"]},
            "words_x_category": {"cross": ["words", "category"]},
        }
    )
)


@pytest.mark.parametrize(
    ("reason", "feature"),
    [
        ("price", "price"),
        ("item=sku-7", "item"),
        ("item=sku-7*category=shoes", "item_x_category"),
        ("price*item=sku-7", "price_x_item"),
        ("item=a*b", "item"),  # values can hold anything
        ("item=a*b*category=x=y", "item_x_category"),
        ("words=cheap*shoes", "words"),
    ],
)
def test_a_reason_is_about_a_declared_feature(reason: str, feature: str) -> None:
    assert NAMES.feature(reason) == feature


def test_a_visitor_s_own_words_are_not_shown_alone_or_in_a_cross() -> None:
    assert NAMES.shown("words=a diagnosis") == "words=…"
    assert NAMES.shown("words=a diagnosis*category=shoes") == "words_x_category=…"
    assert NAMES.shown("words=a*diagnosis=b") == "words=…"
    assert NAMES.shown("category=shoes") == "category=shoes"


def test_features_are_weighed_by_their_mean_share_over_all_scores() -> None:
    reasons = [[("item=a", 0.5), ("price", -0.25)], [("item=b", -1.5)], [], []]

    assert [tuple(one) for one in NAMES.weights(reasons, 5)] == [("item", 0.5, 0.5), ("price", 0.0625, 0.25)]
    assert [one.feature for one in NAMES.weights(reasons, 1)] == ["item"]
    assert NAMES.weights([], 5) == []
