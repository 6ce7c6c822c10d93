"""Some of the breakages of `make test-faults`, which runs them all, and each more often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faults.breakages import BREAKAGES, Breakage, by_name
from faults.trial import Trial
from site_under_test import Site, shop_events

from streams.admin import create_topics


@pytest.mark.parametrize(
    ("name", "kind", "delivery"),
    [
        ("kill -9 between publishing and storing", "embedded", "at_least_once"),
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
