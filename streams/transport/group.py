"""Our place in the consumer group, as aiokafka's coordinator knows it, and what keeps us out of it for good.

aiokafka keeps such a fault for whoever asks for records next, and does nothing until then. Without partitions nobody
asks, so who may not join would stand still in silence. What is looked at here is private to aiokafka;
`tests/streams/test_group.py` does so with its real coordinator.
"""

from __future__ import annotations

from enum import Enum

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError, InconsistentGroupProtocolError, InvalidSessionTimeoutError
from aiokafka.protocol.commit import OffsetCommitRequest


class Place(Enum):
    """How far we have come; a member may have no partitions, where there are more members than those."""

    NO_COORDINATOR = "no broker coordinates the group"
    JOINING = "the group has not taken us in yet"
    MEMBER = "a member, as of the last answer"


class GroupRefused(RuntimeError):
    """The group will not take us in as we are; says why, and what to do."""


def place_of(coordinator: GroupCoordinator) -> Place:
    """Tell the place without asking anybody. Who was a member stays one until the coordinator denies it."""
    if coordinator.generation != OffsetCommitRequest.DEFAULT_GENERATION_ID:
        return Place.MEMBER
    return Place.NO_COORDINATOR if coordinator.coordinator_id is None else Place.JOINING


def check_group(coordinator: GroupCoordinator) -> None:
    """Raise what the coordinator has kept for us, if anything; GroupRefused where it can be said what to do."""
    try:
        coordinator.check_errors()
    except (GroupAuthorizationFailedError, InvalidSessionTimeoutError, InconsistentGroupProtocolError) as error:
        raise GroupRefused(_what_to_do(coordinator, error)) from error


def _what_to_do(coordinator: GroupCoordinator, error: Exception) -> str:
    group = coordinator.group_id
    if isinstance(error, GroupAuthorizationFailedError):
        return f"Kafka does not let us into the consumer group {group}; give this user Read on the group"
    if isinstance(error, InvalidSessionTimeoutError):
        return (
            f"Kafka refuses the session timeout of {coordinator._session_timeout_ms / 1000:g} s for the consumer group "
            f"{group}; set kafka.session_timeout within the brokers' group.min.session.timeout.ms and "
            "group.max.session.timeout.ms"
        )
    return f"The consumer group {group} has members that are none of ours; choose another name for `app`"
