"""Some of the breakages of `make test-faults`, which runs them all, and each more often."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from faults import streams as fed_streams
from faults.breakages import BREAKAGES, Breakage, by_name
from faults.oracle import Verdict, judge, read_topic
from faults.run import Outcome, Place, kept
from faults.trial import Trial
from msgspec import structs
from site_under_test import Site, shop_events

from online_models.crowd import CROWD
from schemas.codec import decode_example, decode_score, decode_user_state, encode_json, encode_user_state
from streams.admin import create_topics
from streams.out_records import OutRecord
from streams.output import KafkaOutput
from streams.settings import Settings


@pytest.mark.parametrize(
    ("name", "kind", "delivery"),
    [
        # All others, on both brokers: `make test-faults`.
        ("kill -9 between commit and storing", "kafka", "exactly_once"),
        ("pause beyond the session, beside another worker", "kafka", "at_least_once"),
    ],
)
def test_what_is_left_is_what_an_undisturbed_core_would_have_left(
    name: str, kind: str, delivery: Any, request: pytest.FixtureRequest, unique: Any
) -> None:
    broker = request.getfixturevalue(f"{kind}_broker")
    breakage: Breakage = by_name(name)
    trial = Trial(
        broker.bootstrap_servers,
        lambda: breakage.stream(5),
        name=unique("fault"),
        seed=3,
        delivery=delivery,
        session_s=breakage.session_s,
    )

    verdict = trial.run(breakage.break_it)

    assert verdict.events > 500
    assert (verdict.lost, verdict.state_equal, verdict.model_equal, verdict.remarks) == (0, True, True, [])
    if delivery == "exactly_once":
        assert verdict.duplicates == 0


def test_every_breakage_has_a_name_of_its_own() -> None:
    assert len({one.name for one in BREAKAGES}) == len(BREAKAGES)


@pytest.mark.parametrize(
    "broken",
    [
        Outcome(lost=1, recoveries_s=[1.0]),
        Outcome(state_equal=False, recoveries_s=[1.0]),
        Outcome(model_equal=False, recoveries_s=[1.0]),
        Outcome(duplicates=1, recoveries_s=[1.0]),
        Outcome(recoveries_s=[1.0, 11.1]),
        Outcome(recoveries_s=[]),
    ],
)
def test_a_row_that_breaks_a_promise_is_told(broken: Outcome) -> None:
    where = Place("kill -9 in a transaction", "kafka", "exactly_once")

    assert kept(where, Outcome(recoveries_s=[10.9]))
    assert not kept(where, broken)


def test_a_zombie_may_not_write_what_others_may_repeat() -> None:
    twice = Outcome(duplicates=1, recoveries_s=[1.0])

    assert kept(Place("broker silent, produce times out", "kafka", "at_least_once"), twice)
    assert not kept(Place("pause beyond the session, the only worker", "kafka", "at_least_once"), twice)


class TamperedTrial(Trial):
    """Nothing breaks; then one thing after another is put wrong, and each time the judge is asked."""

    async def judged(self, fed_ids: list[str]) -> Verdict:
        settings = self.site.settings
        self.found = {
            "nothing": await judge(settings, fed_ids),
            "an event that never arrived": await judge(settings, [*fed_ids, "never"]),
        }
        with self.redis() as client:
            for name, put_wrong in STORED.items():
                with put_wrong(client, settings):
                    self.found[name] = await judge(settings, fed_ids)
        await self._tamper_with_the_log(settings, fed_ids)
        return self.found["nothing"]

    async def _tamper_with_the_log(self, settings: Settings, fed_ids: list[str]) -> None:
        topics = settings.topics
        score = next(iter((await read_topic(settings, topics.scores.name)).values()))[0]
        # The latest: its visitor still remembers the id, however long the stream was, so it asks for no score.
        event = next(iter((await read_topic(settings, topics.events.name)).values()))[-1]
        examples = [one for some in (await read_topic(settings, topics.examples.name)).values() for one in some]
        learned = [one for one in examples if decode_example(one.value).objective != CROWD][-1]
        unknown = structs.replace(decode_score(score.value), score_id="nobody:click")
        example = decode_example(learned.value)
        later = structs.replace(example, offset=example.offset + 10**6, label=not example.label)
        output = KafkaOutput(settings)
        await output.start()
        for name, topic, partition, value in (
            ("a score twice", topics.scores.name, score.partition, score.value),
            ("a score of nothing", topics.scores.name, score.partition, encode_json(unknown)),
            ("an example of nothing", topics.examples.name, learned.partition, encode_json(later)),
            ("an event that nobody has read", topics.events.name, event.partition, event.value),
            ("poison that nobody has refused", topics.events.name, event.partition, b"no json"),
        ):
            await output.publish({(topic, partition): [OutRecord(score.key, value)]})
            self.found[name] = await judge(settings, fed_ids)
        await output.stop()


@contextlib.contextmanager
def another_user_state(client: redis.Redis, settings: Settings) -> Iterator[None]:
    key = min(client.scan_iter(match=f"{settings.app}:*:u:*"))
    before = client.get(key)
    user = decode_user_state(before)
    client.set(key, encode_user_state(structs.replace(user, last_ts=user.last_ts + 1)))
    yield
    client.set(key, before)


@contextlib.contextmanager
def another_timer(client: redis.Redis, settings: Settings) -> Iterator[None]:
    key = min(client.scan_iter(match=f"{settings.app}:*:t"))
    [user] = client.zrange(key, 0, 0)
    client.zincrby(key, 1, user)
    yield
    client.zincrby(key, -1, user)


@contextlib.contextmanager
def an_earlier_offset(client: redis.Redis, settings: Settings) -> Iterator[None]:
    key = min(client.scan_iter(match=f"{settings.app}:*:p"))
    client.hincrby(key, "o", -1)
    yield
    client.hincrby(key, "o", 1)


@contextlib.contextmanager
def no_checkpoint(client: redis.Redis, settings: Settings) -> Iterator[None]:
    key = min(client.scan_iter(match=f"{settings.app}:blob:*:click"))
    client.rename(key, "aside")
    yield
    client.rename("aside", key)


STORED = {
    "another state of a user": another_user_state,
    "another timer": another_timer,
    "an earlier offset": an_earlier_offset,
    "no checkpoint": no_checkpoint,
}


def test_the_judge_finds_whatever_is_wrong(embedded_broker: Any, unique: Any) -> None:
    trial = TamperedTrial(embedded_broker.bootstrap_servers, fed_streams.shop, name=unique("judged"), seed=3)

    trial.run(lambda trial: None)

    found = {name: (one.lost, one.duplicates, one.state_equal, one.model_equal) for name, one in trial.found.items()}
    assert found == {
        "nothing": (0, 0, True, True),
        "an event that never arrived": (1, 0, True, True),
        "another state of a user": (0, 0, False, True),
        "another timer": (0, 0, False, True),
        "an earlier offset": (0, 0, False, True),
        "no checkpoint": (0, 0, True, False),
        # What is wrong in the log stays there.
        "a score twice": (0, 1, True, True),
        "a score of nothing": (0, 1, False, True),
        "an example of nothing": (0, 1, False, False),
        "an event that nobody has read": (0, 1, False, False),
        "poison that nobody has refused": (1, 1, False, False),
    }


async def test_exactly_once_is_refused_where_there_are_no_transactions(
    tmp_path: Path, embedded_broker: Any, valkey_url: str, unique: Any
) -> None:
    site = Site(tmp_path, "shop", embedded_broker.bootstrap_servers, valkey_url, unique("site"))
    site.environment["STREAMSCORE_DELIVERY"] = "exactly_once"
    site.reload()
    await create_topics(site.settings)
    await site.feed(shop_events(10))

    ended = site.command("worker", within_s=60)

    assert ended.returncode == 1
    assert "needs Kafka's transactions, which this broker does not offer" in ended.stderr
    assert "delivery: at_least_once" in ended.stderr
