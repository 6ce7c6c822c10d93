from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from builders import T0, a_click, a_page_view, a_purchase, a_scroll, an_add_to_cart, an_impression
from jsonschema import Draft202012Validator

from schemas import dead_letters, samples
from schemas.codec import (
    BadRecord,
    decode_bid,
    decode_campaign,
    decode_event,
    decode_example,
    decode_metric,
    decode_model_record,
    decode_score,
    encode_json,
)
from schemas.documents import (
    ASYNCAPI,
    DEAD,
    FOLDER,
    MESSAGES,
    RECEIVES,
    SENDS,
    asyncapi,
    documents,
    json_schema,
)
from schemas.events import EVENT_TYPES, SCHEMA_VERSION, SYSTEM_EVENTS, EventBase
from schemas.examples import Example
from schemas.metrics import Accounting, Progress
from schemas.models import ModelManifest
from schemas.scores import Score

DECODERS = {
    "scores": decode_score,
    "bids": decode_bid,
    "campaigns": decode_campaign,
    "examples": decode_example,
    "models": decode_model_record,
    "metrics": decode_metric,
}
REQUIRED: dict[str, Any] = {
    "item_id": "i1",
    "depth": 0.5,
    "bid_id": "b1",
    "win_price": 1.5,
    "granted": True,
    "name": "video_play",
}


def one_of_each() -> list[EventBase]:
    made = []
    for kind in EventBase.__subclasses__():
        needed = {field.name for field in msgspec.structs.fields(kind) if field.required}
        fields = {name: value for name, value in REQUIRED.items() if name in needed}
        made.append(kind(event_id="e1", user_id="u1", ts=T0, **fields))
    return made


def test_the_written_documents_say_what_the_types_say() -> None:
    written = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}

    assert written == documents(), "run `make schemas`"


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(json_schema(name))


def test_every_event_type_is_accepted_by_schema_and_codec_alike() -> None:
    validator = Draft202012Validator(json_schema("events"))

    written = [one for one in MESSAGES["events"].samples if isinstance(one, SYSTEM_EVENTS)]
    events = [*one_of_each(), *written]

    assert {event.type for event in events} == {*EVENT_TYPES, *(kind.type for kind in SYSTEM_EVENTS)}
    for event in events:
        encoded = encode_json(event)
        validator.validate(orjson.loads(encoded))
        assert decode_event(encoded, record_ts_ms=event.ts) == event


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "page_view", "event_id": "e", "user_id": "u"},
        {"type": "page_view", "event_id": "", "user_id": "u", "ts": T0},
        {"type": "page_view", "event_id": "e", "user_id": "u" * 129, "ts": T0},
        {"type": "click", "event_id": "e", "user_id": "u", "ts": T0},
        {"type": "scroll", "event_id": "e", "user_id": "u", "ts": T0, "depth": 1.5},
        {"type": "page_view", "event_id": "e", "user_id": "u", "ts": T0, "price": -1},
        {"type": "page_view", "event_id": "e", "user_id": "u", "ts": T0, "schema_version": 99},
        {"type": "page_view", "event_id": "e", "user_id": "u", "ts": T0, "properties": {"a": [1]}},
        {"type": "no_such_type", "event_id": "e", "user_id": "u", "ts": T0},
    ],
)
def test_what_the_codec_refuses_the_schema_refuses(wrong: dict[str, Any]) -> None:
    assert not Draft202012Validator(json_schema("events")).is_valid(wrong)
    with pytest.raises(BadRecord):
        decode_event(orjson.dumps(wrong), record_ts_ms=T0)


def test_unknown_fields_are_no_fault() -> None:
    grown = {"type": "page_view", "event_id": "e", "user_id": "u", "ts": T0, "new_field": {"deep": [1]}}

    assert Draft202012Validator(json_schema("events")).is_valid(grown)
    assert decode_event(orjson.dumps(grown), record_ts_ms=T0).ts == T0


def test_an_event_of_a_newer_version_is_refused_and_the_detail_says_which_are_read() -> None:
    newer = {"type": "page_view", "event_id": "e", "user_id": "u", "ts": T0, "schema_version": SCHEMA_VERSION + 1}

    with pytest.raises(BadRecord) as refused:
        decode_event(orjson.dumps(newer), record_ts_ms=T0)

    assert refused.value.reason == dead_letters.INVALID
    assert refused.value.detail == f"Expected `int` <= {SCHEMA_VERSION} - at `$.schema_version`"


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_message_without_a_version_is_of_version_1(name: str) -> None:
    # Also where the current version is higher: what is on the topics without one was written by version 1.
    for sample in MESSAGES[name].samples:
        assert {field.name: field.default for field in msgspec.structs.fields(sample)}["schema_version"] == 1


def test_every_event_type_has_a_sample_that_decodes() -> None:
    assert {event.type for event in samples.EVENTS} == {*EVENT_TYPES, *(kind.type for kind in SYSTEM_EVENTS)}
    for event in samples.EVENTS:
        assert decode_event(encode_json(event), record_ts_ms=event.ts) == event


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_every_kind_of_message_has_a_sample_that_decodes(name: str) -> None:
    kinds = set(getattr(MESSAGES[name].kind, "__args__", [MESSAGES[name].kind]))

    assert {type(sample) for sample in MESSAGES[name].samples} == kinds
    for sample in MESSAGES[name].samples:
        assert DECODERS[name](encode_json(sample)) == sample


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_the_examples_of_a_schema_are_valid_by_it(name: str) -> None:
    schema = json_schema(name)

    assert len(schema["examples"]) == len(MESSAGES[name].samples)
    for example in schema["examples"]:
        Draft202012Validator(schema).validate(example)


def test_the_sample_of_a_dead_letter_is_refused_for_the_reason_in_its_headers() -> None:
    headers = {name: value.decode() for name, value in samples.DEAD.headers}

    with pytest.raises(BadRecord) as refused:
        decode_event(samples.DEAD.value or b"", record_ts_ms=int(headers[dead_letters.TIME_HEADER]))

    assert refused.value.reason == headers[dead_letters.REASON_HEADER]
    assert refused.value.detail == headers[dead_letters.DETAIL_HEADER]


def test_what_the_worker_writes_fits_its_schemas() -> None:
    score = Score(
        score_id="events-0-1:click", event_id="e", user_id="u", ts=T0, objective="click", score=0.5, model="ftrl",
        model_version=3, reasons=[("a", 0.5)], topic="events", partition=0, offset=1, source_ts=T0, flags=["cold"],
    )  # fmt: skip
    example = Example(
        objective="click", score_id="events-0-1:click", ts=T0, label=True, features={"a": 1.0}, score=0.5,
        model_version=3, topic="events", partition=0, offset=2, seq=0, released_ts=T0,
    )  # fmt: skip
    accounting = Accounting(
        topic="events", partition=0, first_offset=0, next_offset=3, events=3, scored=1, dead=1,
        ignored={"tick": 1}, scores=1, examples=0, stream_time_ms=T0,
    )  # fmt: skip
    progress = Progress(
        objective="click", version=3, n=1, positives=0, learned=1, refused=0, log_loss=0.5,
        base_log_loss=0.6, auc=None, mean_score=0.5,
    )  # fmt: skip
    manifest = ModelManifest(
        **{  # type: ignore[arg-type]
            field.name: {"objective": "click", "lineage": "l", "model": "ftrl", "version": 3}.get(field.name, 0)
            for field in msgspec.structs.fields(ModelManifest)
            if field.required
        }
    )
    for name, message in [
        ("scores", score), ("examples", example), ("metrics", accounting), ("metrics", progress), ("models", manifest),
    ]:  # fmt: skip
        Draft202012Validator(json_schema(name)).validate(orjson.loads(encode_json(message)))


def test_the_asyncapi_document_names_every_topic_and_its_references_lead_somewhere() -> None:
    document = asyncapi()

    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == {*MESSAGES, DEAD}
    references = list(_references(document))
    assert len(references) > 15
    for reference in references:
        file, _, pointer = reference.partition("#")
        if file:
            assert (FOLDER / file).exists()
            continue
        found: Any = document
        for part in pointer.strip("/").split("/"):
            found = found[part]
    assert (FOLDER / ASYNCAPI).exists()


def test_the_asyncapi_document_has_an_operation_for_each_direction_of_each_topic() -> None:
    document = asyncapi()

    found = {
        (operation["action"], document["channels"][operation["channel"]["$ref"].split("/")[-1]]["address"])
        for operation in document["operations"].values()
    }

    assert found == {("receive", name) for name in RECEIVES} | {("send", name) for name in SENDS}


def test_every_message_of_the_asyncapi_document_has_a_key_and_examples_that_fit_its_payload() -> None:
    for message in asyncapi()["components"]["messages"].values():
        assert message["bindings"]["kafka"]["key"]["type"] == "string"
        assert message["examples"]
        if message["name"] == DEAD:
            for example in message["examples"]:
                Draft202012Validator(message["headers"]).validate(example["headers"])
            continue
        file = FOLDER / message["payload"]["schema"]["$ref"]
        validator = Draft202012Validator(orjson.loads(file.read_bytes()))
        for example in message["examples"]:
            validator.validate(example["payload"])


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_builders_make_what_schemas_accept() -> None:
    validator = Draft202012Validator(json_schema("events"))

    for event in (a_page_view(), an_impression(), a_click(), an_add_to_cart(), a_purchase(), a_scroll()):
        validator.validate(orjson.loads(encode_json(event)))
