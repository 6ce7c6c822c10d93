from __future__ import annotations

from typing import Any

from builders import a_page_view

from online_models.features import FeatureSet, compile_features
from online_models.features.memo import Memo
from tests.online_models.features.timelines import EVERYTHING, Visitor

BASE: dict[str, Any] = {
    "item": {"field": "item_id"},
    "country": {"field": "country"},
    "price": {"field": "price", "transform": "sqrt"},
    "tier": {"field": "quantity", "bins": [2, 5]},
    "hour": {"hour": "cyclic"},
}


def crossed(members: list[str], **fields: Any) -> dict[str, float]:
    features = compile_features({**BASE, "x": {"cross": members}})
    event = a_page_view(**fields)
    return features.vectorizer(["x"])(features.extract(features.new_slots(), event))


def test_categories_cross_by_value() -> None:
    assert crossed(["item", "country"], item_id="i1", country="de") == {"item=i1*country=de": 1.0}


def test_three_features_cross_with_bins_and_cycles_as_categories() -> None:
    assert crossed(["tier", "item", "hour"], item_id="i1", quantity=3) == {"tier=2..5*item=i1*hour=22": 1.0}


def test_a_number_multiplies_as_the_model_sees_it() -> None:
    assert crossed(["price", "item"], item_id="i1", price=9.0) == {"price*item=i1": 3.0}
    assert crossed(["item", "price"], item_id="i1", price=9.0) == {"price*item=i1": 3.0}


def test_two_numbers_multiply() -> None:
    features = compile_features({"a": {"field": "price"}, "b": {"field": "depth"}, "x": {"cross": ["a", "b"]}})

    assert features.vectorize([3.0, 0.5]) == {"a": 3.0, "b": 0.5, "a*b": 1.5}


def test_a_cross_is_missing_where_a_member_is() -> None:
    assert crossed(["item", "country"], item_id="i1") == {}
    assert crossed(["price", "item"], item_id="i1") == {}


def test_a_cross_may_stand_before_its_members_and_stores_nothing() -> None:
    features = compile_features({"x": {"cross": ["item", "country"]}, **BASE})

    assert features.names == ["x", *BASE]
    assert len(features.extract(features.new_slots(), a_page_view())) == len(BASE)


def caches_of(features: FeatureSet) -> list[Memo]:
    return [value for value in features.vectorize.__globals__.values() if isinstance(value, Memo)]  # type: ignore[attr-defined]


def test_every_cache_of_names_is_bounded_and_a_full_one_changes_no_result() -> None:
    features = compile_features(EVERYTHING)
    caches = caches_of(features)
    assert len(caches) > 10
    for cache in caches:
        cache._limit = 3
    roomy, tight = Visitor(EVERYTHING), Visitor(features)

    for number in range(50):
        event = a_page_view(number, item_id=f"i{number % 7}", category=f"c{number % 5}", price=number % 4)

        assert tight.shows(event) == roomy.shows(event)
        assert all(len(cache) <= 3 for cache in caches)


def test_a_memo_makes_each_result_once_until_it_is_full() -> None:
    made: list[int] = []

    def double(number: int) -> int:
        made.append(number)
        return 2 * number

    memo = Memo(double, limit=2)

    assert [memo[number] for number in (1, 2, 1, 3, 1)] == [2, 4, 2, 6, 2]
    assert made == [1, 2, 3, 1]
