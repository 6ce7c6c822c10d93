"""Where a partition begins when the store holds nothing of it: a broker that is away is asked again."""

from __future__ import annotations

import pytest
import yaml
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError, TopicAuthorizationFailedError

from streams.configs import shipped_config
from streams.embedded import free_port
from streams.output import OutputRefused
from streams.rebuild import committed_offset, replay_from, telling
from streams.settings import Settings, parse_settings
from streams.stores import Unavailable


@pytest.fixture
def settings() -> Settings:
    declared = yaml.safe_load(shipped_config("shop").read_text())
    return parse_settings(yaml.safe_dump(declared), {"STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"})


async def test_a_broker_that_is_away_is_an_outage(settings: Settings) -> None:
    with pytest.raises(Unavailable, match="Kafka: "):
        await replay_from(settings, "events", 0)
    with pytest.raises(Unavailable, match="Kafka: "):
        await committed_offset(settings, TopicPartition("events", 0))


@pytest.mark.parametrize(
    ("fault", "meant"),
    [
        (GroupCoordinatorNotAvailableError(), Unavailable),
        (ConnectionResetError(), Unavailable),
        (TopicAuthorizationFailedError("events"), OutputRefused),
    ],
)
def test_what_the_broker_answers_is_told_as_what_it_means(fault: Exception, meant: type[Exception]) -> None:
    with pytest.raises(meant), telling():
        raise fault


def test_a_fault_of_our_own_stays_what_it_is() -> None:
    with pytest.raises(KeyError), telling():
        raise KeyError
