"""The wire contract as documents: JSON Schema for each message, AsyncAPI 3 for the topics.

Generated from the structs, so that they cannot say anything else; a test holds the written files
against them. ``python -m schemas.documents`` writes them anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson

from schemas import dead_letters as why
from schemas.events import SCHEMA_VERSION, Event
from schemas.examples import Example
from schemas.metrics import Metric
from schemas.models import ModelRecord
from schemas.scores import Score

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent / "json"
ASYNCAPI = "asyncapi.json"

# File name -> (type, what the messages are, key of the records).
MESSAGES: dict[str, tuple[Any, str, str]] = {
    "events": (Event, "The clickstream: what visitors do. Producers write it.", "user_id"),
    "scores": (Score, "A prediction for each trigger and objective.", "user_id"),
    "examples": (Example, "Labelled triggers, on their way to the learner.", "objective"),
    "models": (ModelRecord, "Changed weights and manifests; compacted.", "objective/kind/…"),
    "metrics": (Metric, "Where events went, and how good the scores were.", "topic-partition, or objective"),
}
DEAD = "events.dead"


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a topic's messages."""
    kind, about, _ = MESSAGES[name]
    schema = msgspec.json.schema(kind)
    return {"$schema": DIALECT, "title": name, "description": about, **schema}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of all topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "streamscore",
            "version": str(SCHEMA_VERSION),
            "description": "Topics of streamscore. Names are the defaults; a configuration may give others.",
        },
        "defaultContentType": "application/json",
        "channels": {_id(name): _channel(name) for name in [*MESSAGES, DEAD]},
        "operations": _operations(),
        "components": {
            "messages": {**{_id(name): _message(name) for name in MESSAGES}, _id(DEAD): _dead_message()},
        },
    }


def _id(name: str) -> str:
    return name.replace(".", "_")


def _channel(name: str) -> dict[str, Any]:
    about = MESSAGES[name][1] if name in MESSAGES else "Records that were refused, byte for byte."
    bindings = {"kafka": {"topicConfiguration": {"cleanup.policy": ["compact"]}}} if name == "models" else {}
    return {
        "address": name,
        "description": about,
        "messages": {_id(name): {"$ref": f"#/components/messages/{_id(name)}"}},
        **({"bindings": bindings} if bindings else {}),
    }


def _message(name: str) -> dict[str, Any]:
    _, about, key = MESSAGES[name]
    return {
        "name": name,
        "summary": about,
        "payload": {"$ref": f"./{name}.json"},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}}},
    }


def _dead_message() -> dict[str, Any]:
    headers = {
        why.REASON_HEADER: {"type": "string", "enum": list(why.REASONS)},
        why.DETAIL_HEADER: {"type": "string", "description": "What was expected and where; no value of the record."},
        why.SOURCE_HEADER: {"type": "string", "description": "topic[partition]@offset of the refused record."},
        why.TIME_HEADER: {"type": "string", "description": "Its Kafka timestamp, epoch ms."},
    }
    return {
        "name": DEAD,
        "summary": "A refused record: its key and value untouched, the reason in headers.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "properties": headers, "required": list(headers)},
        "payload": {"description": "The original bytes, whatever they are."},
    }


def _operations() -> dict[str, Any]:
    receives = {"events": "receive", "examples": "receive", "models": "receive"}
    sends = {"scores": "send", "examples": "send", "models": "send", "metrics": "send", DEAD: "send"}
    return {
        f"{action}_{_id(name)}": {"action": action, "channel": {"$ref": f"#/channels/{_id(name)}"}}
        for direction in (receives, sends)
        for name, action in direction.items()
    }


def documents() -> dict[str, bytes]:
    """Return every document by its file name."""
    found = {f"{name}.json": json_schema(name) for name in MESSAGES}
    found[ASYNCAPI] = asyncapi()
    return {name: orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n" for name, content in found.items()}


def main() -> None:
    """Write all documents."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in documents().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
