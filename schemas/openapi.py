"""The HTTP API as an OpenAPI 3.1 document, made from the structs that it sends and takes."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import msgspec

from schemas import api
from schemas.events import SCHEMA_VERSION, SYSTEM_EVENTS, Event, RankRequest

VISITOR_EVENTS = [kind for kind in get_args(Event) if kind not in SYSTEM_EVENTS]
ANSWERS = [
    api.EventsAnswer,
    api.RankAnswer,
    api.BidAnswer,
    api.CampaignsAnswer,
    api.ScoreAnswer,
    api.ScoreFound,
    api.FeaturesAnswer,
    api.ModelsAnswer,
    api.SegmentsAnswer,
    api.LookalikesBody,
    api.LookalikesAnswer,
    api.Problem,
]
# Filled in where they are missing.
_FILLED = ("event_id", "ts")


class Route(NamedTuple):
    """What the document says of a route."""

    method: str
    path: str
    about: str
    answer: type[msgspec.Struct]
    takes: str = ""
    status: str = "200"
    query: tuple[str, str, tuple[str, ...]] | None = None  # a parameter: name, what it is, values; the first by default


ROUTES = [
    Route(
        "post",
        "/v1/rank",
        "Which of some items to show a visitor now.",
        api.RankAnswer,
        "RankBody",
        query=("answer", "Whether the answer waits until it is in the log.", (api.LOGGED, api.AT_ONCE)),
    ),
    Route("post", "/v1/bid", "What to bid for an impression, and for whom.", api.BidAnswer, "BidRequest"),
    Route("get", "/v1/campaigns", "How the campaigns stand today.", api.CampaignsAnswer),
    Route("post", "/v1/events", "Write an event, or up to 500, to the log.", api.EventsAnswer, "EventsBody", "202"),
    Route("post", "/v1/score", "What an event would be scored with; leaves no trace.", api.ScoreAnswer, "Event"),
    Route("get", "/v1/scores/{score_id}", "A published score, its reasons, and its event.", api.ScoreFound),
    Route("get", "/v1/users/{user_id}/features", "What is known of a visitor.", api.FeaturesAnswer),
    Route("get", "/v1/segments", "What sets visitors apart.", api.SegmentsAnswer),
    Route("post", "/v1/lookalikes", "How much visitors are like a group.", api.LookalikesAnswer, "LookalikesBody"),
    Route("get", "/v1/models", "Which models this worker scores with.", api.ModelsAnswer),
]
_PROBLEMS = {
    "400": "Something is wrong with the request.",
    "401": "A token is missing or not known.",
    "403": "Not from this address or origin.",
    "404": "There is no such score, or nothing is known of this visitor.",
    "413": "Too long.",
    "503": "Kafka or Redis is away, or too much is asked at once; nothing was written. Ask again.",
}


def openapi() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamscore",
            "version": str(SCHEMA_VERSION),
            "description": "What a worker answers over HTTP. `event_id` and `ts` are filled in where they are missing.",
        },
        "security": [{"bearer": []}, {}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "access_token": {"type": "apiKey", "in": "query", "name": "access_token"},
            },
            "schemas": _schemas(),
        },
    }


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in ROUTES:
        operation: dict[str, Any] = {
            "summary": route.about,
            "operationId": f"{route.method}_{route.path.removeprefix('/v1/').split('/')[0]}",
            "responses": {
                route.status: {"description": "Done.", "content": _content(route.answer.__name__)},
                **{code: _problem(code) for code in _PROBLEMS if code != "404" or "{" in route.path},
            },
        }
        if route.takes:
            operation["requestBody"] = {"required": True, "content": _content(route.takes)}
        if route.path == "/v1/events":
            operation["security"] = [{"bearer": []}, {"access_token": []}, {}]
        if "{" in route.path:
            name = route.path.partition("{")[2].partition("}")[0]
            operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]
        if route.query:
            name, about, values = route.query
            schema = {"type": "string", "enum": list(values), "default": values[0]}
            operation["parameters"] = [{"name": name, "in": "query", "description": about, "schema": schema}]
        paths.setdefault(route.path, {})[route.method] = operation
    return paths


def _problem(code: str) -> dict[str, Any]:
    return {"description": _PROBLEMS[code], "content": _content(api.Problem.__name__)}


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name)}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> dict[str, Any]:
    _, found = msgspec.json.schema_components([*VISITOR_EVENTS, *ANSWERS], ref_template="#/components/schemas/{name}")
    del found["Answered"]
    found["ScoreFound"]["properties"]["event"] = _ref("Event")
    for kind in VISITOR_EVENTS:
        schema = found[kind.__name__]
        schema["properties"].pop("answered", None)
        schema["required"] = [name for name in schema["required"] if name not in _FILLED]
    request = found[RankRequest.__name__]
    body = {
        **request,
        "title": "RankBody",
        "properties": {name: one for name, one in request["properties"].items() if name != "type"},
        "required": [*(name for name in request["required"] if name != "type"), "candidates"],
    }
    event = {
        "title": "Event",
        "anyOf": [_ref(kind.__name__) for kind in VISITOR_EVENTS],
        "discriminator": {
            "propertyName": "type",
            "mapping": {kind.type: _ref(kind.__name__)["$ref"] for kind in VISITOR_EVENTS},
        },
    }
    events = {
        "title": "EventsBody",
        "anyOf": [_ref("Event"), {"type": "array", "items": _ref("Event"), "maxItems": 500}],
    }
    return dict(sorted({**found, "RankBody": body, "Event": event, "EventsBody": events}.items()))
