"""The OpenAPI document says what the API takes and answers, and nothing that does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from schemas import samples
from schemas.codec import encode_json
from schemas.events import SYSTEM_EVENTS
from schemas.openapi import ROUTES, openapi

DOCUMENT = openapi()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for one in node.values():
            yield from references(one)
    elif isinstance(node, list):
        for one in node:
            yield from references(one)


def validator(name: str) -> Draft202012Validator:
    """Return what checks a value against one of the document's schemas."""
    return Draft202012Validator({**DOCUMENT, "$ref": f"#/components/schemas/{name}"})


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        node: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node


def test_every_route_has_an_operation_of_its_own() -> None:
    found = {(method, path): one for path, methods in DOCUMENT["paths"].items() for method, one in methods.items()}

    assert set(found) == {(route.method, route.path) for route in ROUTES}
    assert len({one["operationId"] for one in found.values()}) == len(ROUTES)


@pytest.mark.parametrize(
    "event", [one for one in samples.EVENTS if not isinstance(one, SYSTEM_EVENTS)], ids=lambda one: one.type
)
def test_every_event_can_be_sent_and_needs_neither_id_nor_time(event: Any) -> None:
    body = orjson.loads(encode_json(event))
    for name in ("event_id", "ts"):
        del body[name]

    validator("Event").validate(body)
    validator("EventsBody").validate([body, body])


def test_what_only_workers_write_is_not_in_it() -> None:
    assert not validator("Event").is_valid({"type": "tick", "ts": 1_767_225_600_000})
    assert "Answered" not in DOCUMENT["components"]["schemas"]
    assert "answered" not in DOCUMENT["components"]["schemas"]["RankBody"]["properties"]


def test_a_rank_request_needs_a_visitor_and_candidates() -> None:
    rank = validator("RankBody")

    assert rank.is_valid({"user_id": "u", "candidates": ["a", {"item_id": "b", "price": 5}]})
    assert not rank.is_valid({"user_id": "u"})
    assert not rank.is_valid({"candidates": ["a"]})
    assert not rank.is_valid({"user_id": "u", "candidates": [{"price": 5}]})
