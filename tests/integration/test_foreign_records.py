"""What others wrote to our topics, in whatever encoding, is shown, compared and fed back; no command ends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from conftest import Broker
from headers import put_batch
from msgspec.structs import replace
from site_under_test import Site, fed_and_accounted, shop_events
from typer.testing import CliRunner

from schemas import dead_letters as why
from schemas import samples
from schemas.codec import encode_json
from streams.admin import create_topics
from streams.cli.main import app
from streams.reading import read_until_quiet, reader

LATIN = b'{"type":"search","event_id":"e","user_id":"v-81","ts":1790000000000,"query":"caf\xe9"}'
Header = tuple[str, bytes | None]


@pytest.fixture
def site(tmp_path: Path, broker: Broker, valkey_url: str, unique: Callable[[str], str]) -> Site:
    site = Site(tmp_path, "shop", broker.bootstrap_servers, valkey_url, unique("foreign"))
    asyncio.run(create_topics(site.settings))
    return site


def put(site: Site, topic: str, values: Sequence[bytes | None], headers: Sequence[Header] = ()) -> None:
    async def produce() -> None:
        async with AIOKafkaProducer(**site.settings.kafka.client_kwargs()) as producer:
            for value in values:
                await producer.send_and_wait(topic, value, key=b"\xff", headers=list(headers), partition=0)

    asyncio.run(produce())


def values_on(site: Site, topic: str) -> list[bytes | None]:
    async def read() -> list[bytes | None]:
        async with reader(site.settings.kafka, [topic]) as consumer:
            return [one.value async for records in read_until_quiet(consumer, quiet_s=1.0) for one in records]

    return asyncio.run(read())


def said(site: Site, *words: str) -> str:
    done = CliRunner().invoke(app, words, env={**site.environment, "COLUMNS": "300"})
    assert done.exception is None, done.exception
    return done.output


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_dead_letters_that_are_not_utf8_are_listed_fed_back_and_shown(site: Site) -> None:
    dead, events = site.settings.topics.dead.name, site.settings.topics.events.name
    ours = why.dead_letter(
        key=b"k", value=LATIN, reason=why.NOT_JSON, detail="Expected UTF-8", source="events[0]@5", source_ts_ms=1
    )
    put(site, dead, [LATIN, b"\xff\xfe\x00"], ours.headers)
    put(site, dead, [LATIN], [(why.REASON_HEADER, None), (why.SOURCE_HEADER, b"\xff[/x]")])

    listed = said(site, "dead", "list")
    said(site, "dead", "redrive", "--yes")
    tailed = said(site, "tail", "dead", "--from-start", "-n", "3")
    tailed_as_json = said(site, "tail", "events", "--from-start", "-n", "3", "--json")

    assert "2 not_json" in listed
    assert "events[0]@5" in listed
    assert sorted(value or b"" for value in values_on(site, events)) == sorted([LATIN, LATIN, b"\xff\xfe\x00"])
    assert tailed.count("caf\N{REPLACEMENT CHARACTER}") == 2
    assert tailed_as_json.count("caf\N{REPLACEMENT CHARACTER}") == 2


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_what_is_no_score_is_named_and_passed_over(site: Site) -> None:
    scores = site.settings.topics.scores.name
    score = samples.SCORES[0]
    fine, far = encode_json(score), encode_json(replace(score, ts=10**30))
    put(site, scores, [fine.replace(b"v-81", b"caf\xe9"), None, far, fine])

    shown = said(site, "tail", "scores", "--from-start", "-n", "4").splitlines()

    assert shown[0] == "unreadable: Expected UTF-8, got text in another encoding"
    assert shown[1].startswith("unreadable: ")
    assert shown[2].startswith("1" + "0" * 30 + " ms ")
    assert shown[3].startswith("2026-")


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_a_header_name_that_is_not_utf8_holds_up_neither_a_worker_nor_a_command(site: Site) -> None:
    events, bad = site.settings.topics.events.name, {b"%d" % number: number in (2, 3) for number in range(5)}
    asyncio.run(put_batch(site.settings.kafka.client_kwargs(), events, dict.fromkeys(bad, False)))
    asyncio.run(put_batch(site.settings.kafka.client_kwargs(), events, bad))
    try:
        site.start_worker()
        report = asyncio.run(fed_and_accounted(site, shop_events(200)))
        logs = site.logs()
    finally:
        site.end()

    assert (report["events"], report["unaccounted"]) == (200, 0)
    assert f"{events}[0]@7 has a header whose name is not UTF-8" in logs
    assert "ended with an error" not in logs
    assert [one for one in values_on(site, events) if one in bad] == [*bad, *bad]
    tailed = said(site, "tail", "events", "--from-start", "-n", "210", "--json").splitlines()
    assert [one for one in tailed if one.encode() in bad] == [*"0123401234"]
    assert "10 invalid" in said(site, "dead", "list")
