from __future__ import annotations

import pytest
from builders import a_page_view, a_purchase, an_add_to_cart, an_event

from online_models.features.basket import MAX_ITEMS
from schemas.events import RemoveFromCart
from tests.online_models.features.timelines import Visitor

BASKET = {"items": {"basket": "items"}, "pieces": {"basket": "pieces"}, "value": {"basket": "value"}}


def a_removal(item_id: str, at_ms: int = 0, **fields: object) -> RemoveFromCart:
    return an_event(RemoveFromCart, at_ms, item_id=item_id, **fields)  # type: ignore[no-any-return]


def test_a_basket_is_filled_changed_and_bought() -> None:
    visitor = Visitor(BASKET)

    def holds(event: object) -> tuple[object, ...]:
        return tuple(visitor.does(event).values())  # type: ignore[arg-type]

    assert holds(a_page_view()) == (0, 0, 0.0)
    assert holds(an_add_to_cart("shoe", price=50.0)) == (1, 1, 50.0)
    assert holds(an_add_to_cart("sock", price=4.0, quantity=3)) == (2, 4, 62.0)
    assert holds(an_add_to_cart("sock", price=5.0)) == (2, 5, 70.0)  # at the latest price
    assert holds(a_removal("sock", quantity=1)) == (2, 4, 65.0)
    assert holds(a_removal("shoe")) == (1, 3, 15.0)
    assert holds(a_removal("hat")) == (1, 3, 15.0)
    assert holds(a_purchase()) == (0, 0, 0.0)


def test_an_emptied_basket_costs_nothing() -> None:
    visitor = Visitor(BASKET)

    visitor.does(an_add_to_cart("shoe", quantity=0))
    assert visitor.slots[1] is None
    visitor.does(an_add_to_cart("shoe", quantity=2))
    visitor.does(a_removal("shoe", quantity=5))
    assert visitor.slots[1] is None


def test_an_unknown_price_counts_as_zero() -> None:
    visitor = Visitor(BASKET)

    assert visitor.does(an_add_to_cart("shoe"))["value"] == 0.0


@pytest.mark.parametrize("more", [1, 50])
def test_a_basket_is_bounded_and_forgets_what_lies_there_longest(more: int) -> None:
    visitor = Visitor(BASKET)

    for number in range(MAX_ITEMS + more):
        values = visitor.does(an_add_to_cart(f"i{number}", number))

    assert values["items"] == MAX_ITEMS
    assert f"i{MAX_ITEMS + more - 1}" in visitor.slots[1]
    assert "i0" not in visitor.slots[1]
