"""The wire contract as documents: JSON Schema for each message and the report, AsyncAPI for topics, OpenAPI for HTTP.

Generated from the structs, so that they cannot say anything else; a test holds the written files
against them. ``python -m schemas.documents`` writes them anew.
"""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson
from msgspec import Struct

from schemas import dead_letters as why
from schemas import samples
from schemas.bids import Bid
from schemas.campaigns import Campaign
from schemas.events import SCHEMA_VERSION, Event
from schemas.examples import Example
from schemas.metrics import Metric
from schemas.models import ModelRecord
from schemas.openapi import openapi
from schemas.report import Report
from schemas.scores import Score

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent / "json"
ASYNCAPI = "asyncapi.json"
OPENAPI = "openapi.json"

# AsyncAPI 3.0 takes payloads to be of its own dialect (draft 07) unless their format is named.
PAYLOAD_FORMAT = "application/schema+json;version=draft-2020-12"
KAFKA_BINDING = "0.5.0"


class Topic(NamedTuple):
    """What the documents say of a topic or a file that carries JSON."""

    kind: Any
    about: str
    key: str
    samples: tuple[Struct, ...]


MESSAGES: dict[str, Topic] = {
    "events": Topic(
        Event,
        "The clickstream: what visitors do. Producers write it; the worker adds ticks, campaigns and budgets.",
        "user_id; what the worker writes has none",
        samples.EVENTS,
    ),
    "scores": Topic(Score, "A prediction for each trigger and objective.", "user_id", samples.SCORES),
    "bids": Topic(Bid, "A decision for each bid request, also where no bid is made.", "user_id", samples.BIDS),
    "campaigns": Topic(Campaign, "What advertisers pay for; compacted.", "campaign", samples.CAMPAIGNS),
    "examples": Topic(Example, "Labelled triggers, on their way to the learner.", "objective", samples.EXAMPLES),
    "models": Topic(ModelRecord, "Changed weights and manifests; compacted.", "objective/kind/…", samples.MODELS),
    "metrics": Topic(
        Metric, "Where events went, and how good the scores were.", "topic-partition, or objective", samples.METRICS
    ),
}
# Files that are read by others; no topic carries them.
FILES: dict[str, Topic] = {
    "report": Topic(Report, "How good the scores of a replay were, beside the simple rules.", "", (samples.REPORT,)),
}
DEAD = "events.dead"
# What a worker does, which is the application that the document describes.
RECEIVES = ("events", "examples", "models", "campaigns")
SENDS = ("events", "scores", "bids", "examples", "models", "metrics", DEAD)


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a topic's messages, or of a file."""
    topic = MESSAGES.get(name) or FILES[name]
    schema = _made_alike(msgspec.json.schema(topic.kind))
    examples = [_plain(sample) for sample in topic.samples]
    return {"$schema": DIALECT, "title": name, "description": topic.about, **schema, "examples": examples}


def _made_alike(node: Any) -> Any:
    """Return a schema that is the same on every Python, which unindents docstrings from 3.13 on, and every msgspec."""
    if isinstance(node, dict):
        return {
            key: cleandoc(value) if key == "description" and isinstance(value, str) else _made_alike(value)
            for key, value in node.items()
        }
    if not isinstance(node, list):
        return node
    # Older versions of msgspec put the null of a choice first.
    return sorted(map(_made_alike, node), key=lambda one: one == {"type": "null"})


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of all topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "streamscore",
            "version": str(SCHEMA_VERSION),
            "description": "Topics of streamscore, as a worker sees them. Names are the defaults; "
            "a configuration may give others.",
        },
        "defaultContentType": "application/json",
        "channels": {_id(name): _channel(name) for name in [*MESSAGES, DEAD]},
        "operations": {
            **{f"receive_{_id(name)}": _operation("receive", name) for name in RECEIVES},
            **{f"send_{_id(name)}": _operation("send", name) for name in SENDS},
        },
        "components": {
            "messages": {**{_id(name): _message(name) for name in MESSAGES}, _id(DEAD): _dead_message()},
        },
    }


def _id(name: str) -> str:
    return name.replace(".", "_")


def _plain(message: Struct) -> dict[str, Any]:
    """Return a message as a reader of its JSON finds it."""
    found: dict[str, Any] = orjson.loads(msgspec.json.encode(message))
    return found


def _channel(name: str) -> dict[str, Any]:
    about = MESSAGES[name].about if name in MESSAGES else "Records that were refused, byte for byte."
    compacted = {"topicConfiguration": {"cleanup.policy": ["compact"]}} if name in ("models", "campaigns") else {}
    return {
        "address": name,
        "description": about,
        "messages": {_id(name): {"$ref": f"#/components/messages/{_id(name)}"}},
        "bindings": {"kafka": {**compacted, "bindingVersion": KAFKA_BINDING}},
    }


def _operation(action: str, name: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{_id(name)}"}}


def _message(name: str) -> dict[str, Any]:
    topic = MESSAGES[name]
    return {
        "name": name,
        "summary": topic.about,
        "payload": {"schemaFormat": PAYLOAD_FORMAT, "schema": {"$ref": f"./{name}.json"}},
        "bindings": _key(topic.key),
        "examples": [{"name": _kind(sample), "payload": _plain(sample)} for sample in topic.samples],
    }


def _key(about: str) -> dict[str, Any]:
    return {"kafka": {"key": {"type": "string", "description": about}, "bindingVersion": KAFKA_BINDING}}


def _kind(message: Struct) -> str:
    return str(message.__struct_config__.tag or type(message).__name__.lower())


def _dead_message() -> dict[str, Any]:
    headers = {
        why.REASON_HEADER: {"type": "string", "enum": list(why.REASONS)},
        why.DETAIL_HEADER: {"type": "string", "description": "What was expected and where; no value of the record."},
        why.SOURCE_HEADER: {"type": "string", "description": "topic[partition]@offset of the refused record."},
        why.TIME_HEADER: {"type": "string", "description": "Its Kafka timestamp, epoch ms."},
    }
    omitted = {"type": "string", "description": "The value's size, where the topic did not take it; it is empty then."}
    sample = samples.DEAD
    return {
        "name": DEAD,
        "summary": "A refused record: its key and value untouched, the reason in headers.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {**headers, why.OMITTED_HEADER: omitted},
            "required": list(headers),
        },
        "payload": {"description": "The original bytes, whatever they are."},
        "bindings": _key("As it was; may be missing."),
        "examples": [
            {
                "name": "a_time_in_words",
                "headers": {name: value.decode() for name, value in sample.headers},
                "payload": (sample.value or b"").decode(),
            }
        ],
    }


def documents() -> dict[str, bytes]:
    """Return every document by its file name."""
    found = {f"{name}.json": json_schema(name) for name in [*MESSAGES, *FILES]}
    found[ASYNCAPI] = asyncapi()
    found[OPENAPI] = _made_alike(openapi())
    return {name: orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n" for name, content in found.items()}


def main() -> None:
    """Write all documents."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in documents().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
