"""What an operator orders of campaigns: records on the topic `campaigns`, which every worker follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from online_models.bidding.campaigns import Checked
from online_models.bidding.desks import Desks
from online_models.errors import ConfigError
from schemas.api import CampaignState
from schemas.campaigns import Campaign
from schemas.codec import encode_json
from streams.budgets import Ledger
from streams.campaign_feed import Told, told_by
from streams.campaign_sizes import why_too_large
from streams.campaign_states import known_campaigns, states_of
from streams.out_records import OutRecord
from streams.output import KafkaOutput, partition_for_key
from streams.reading import read_to_end, reader
from streams.settings import Settings


class Refused(ValueError):
    """Nothing was changed; the message says why, and what to do."""


def desks_of(settings: Settings) -> Desks:
    """Return what checks campaigns; raises Refused where nobody bids."""
    desks = settings.desks(granted=True)
    if desks is None:
        raise Refused("There is no section `bidding:` in the configuration, so nobody bids; see docs/configuration.md")
    return desks


def check_of(settings: Settings) -> Callable[[Campaign], Checked]:
    """Return what checks a campaign before it is ordered, its size too; raises Refused where nobody bids."""
    desks = desks_of(settings)

    def check(campaign: Campaign) -> Checked:
        checked = desks.check(campaign)
        why = why_too_large(campaign, settings.worker.max_event_bytes)
        if why:
            raise ConfigError((), why)
        return checked

    return check


async def read_told(settings: Settings, *, of_any_size: bool = True) -> dict[str, Told]:
    """Return what the topic holds, by name; raises TopicMissing and Unavailable.

    Parameters
    ----------
    of_any_size
        False: as workers take it, see `told_by`.
    """
    most = None if of_any_size else settings.worker.max_event_bytes
    told: dict[str, Told] = {}
    async with reader(settings.kafka, [settings.topics.campaigns.name]) as consumer:
        async for records in read_to_end(consumer):
            for record in records:
                name = (record.key or b"").decode(errors="replace")
                if name:
                    told[name] = told_by(name, record.value, record.offset + 1, max_event_bytes=most)
    return told


class Standing(NamedTuple):
    """How a campaign stands.

    Attributes
    ----------
    declared
        As it counts; None: it is wrong or gone.
    differs
        Whether the configuration declares it, and what counts is a record of the topic that says something else.
    """

    state: CampaignState
    declared: Campaign | None
    differs: bool


async def standings(settings: Settings, ledger: Ledger) -> list[Standing]:
    """Return how all campaigns stand at this moment.

    Raises
    ------
    Refused, TopicMissing, Unavailable
    """
    desks, declared = desks_of(settings), _of_configuration(settings)
    known = known_campaigns(declared.values(), await read_told(settings, of_any_size=False), desks.check)
    states = await states_of(known, ledger, time.time_ns() // 1_000_000)
    return [_standing(state, known[state.campaign].campaign, declared.get(state.campaign)) for state in states]


def _standing(state: CampaignState, counts: Checked | None, configured: Campaign | None) -> Standing:
    declared = counts.declared if counts else None
    return Standing(state, declared, configured is not None and state.version > 0 and declared != configured)


def is_configured(name: str, settings: Settings) -> bool:
    """Tell whether the configuration declares a campaign, which counts only while the topic has no record of it.

    There is no way back: partitions keep what the topic has told last, and take a record without value for a campaign
    that is gone.
    """
    return name in _of_configuration(settings)


async def put(campaigns: Sequence[Campaign], settings: Settings) -> dict[str, bool]:
    """Declare campaigns; return by name whether that changed anything.

    They are to be checked before. Whatever stands on the topic in the same words is not written again.

    Raises
    ------
    TopicMissing, Unavailable
    """
    told = await read_told(settings)
    changed = {one.campaign: one != _told_of(told, one.campaign) for one in campaigns}
    await _write({one.campaign: one for one in campaigns if changed[one.campaign]}, settings)
    return changed


async def set_active(name: str, active: bool, settings: Settings) -> bool:
    """Let a campaign bid or not, all else as it was declared last; return whether that changed anything.

    Raises
    ------
    Refused
        There is no such campaign, or what is declared is wrong.
    TopicMissing, Unavailable
    """
    check = check_of(settings)
    told = await read_told(settings)
    found = _campaign(name, told, settings)
    if found.active == active:
        return False
    found = replace(found, active=active)
    if active:
        try:
            check(found)
        except ConfigError as error:
            raise Refused(
                f"{name} is wrong and would not bid: {error}; mend it: streamscore campaigns put FILE"
            ) from None
    await _write({name: found}, settings)
    return True


async def remove(name: str, settings: Settings) -> None:
    """Take a campaign away.

    Raises
    ------
    Refused
        There is no such campaign, or the configuration declares it and would bring it back.
    TopicMissing, Unavailable
    """
    desks_of(settings)
    if name in _of_configuration(settings):
        raise Refused(
            f"{name} is declared in the configuration; take it out there and restart the workers, or stop it: "
            f"streamscore campaigns pause {name}; or change it: streamscore campaigns put FILE"
        )
    told = await read_told(settings)
    if name not in told or (told[name].campaign is None and not told[name].why):
        raise Refused(_no_such(name, told, settings))
    await _write({name: None}, settings)


def _of_configuration(settings: Settings) -> dict[str, Campaign]:
    return {one.campaign: one for one in settings.bidding.campaigns} if settings.bidding else {}


def _told_of(told: Mapping[str, Told], name: str) -> Campaign | None:
    return told[name].campaign if name in told else None


def _campaign(name: str, told: Mapping[str, Told], settings: Settings) -> Campaign:
    """Return a campaign as it was declared last; raises Refused."""
    if name in told and told[name].why:
        why = told[name].why
        raise Refused(
            f"What stands on the topic for {name} cannot be read: {why}; mend it: streamscore campaigns put FILE"
        )
    found = _told_of(told, name) if name in told else _of_configuration(settings).get(name)
    if found is None:
        raise Refused(_no_such(name, told, settings))
    return found


def _no_such(name: str, told: Mapping[str, Told], settings: Settings) -> str:
    gone = {one for one, said in told.items() if said.campaign is None and not said.why}
    known = sorted({*told, *_of_configuration(settings)} - gone)
    return f"There is no campaign {name!r}; known: {', '.join(known) or 'none'}"


async def _write(declarations: Mapping[str, Campaign | None], settings: Settings) -> None:
    if not declarations:
        return
    topic = settings.topics.campaigns.name
    output = KafkaOutput(settings)
    await output.start()
    try:
        partitions = await output.partitions(topic)
        batches: dict[tuple[str, int], list[OutRecord]] = {}
        for name, declared in declarations.items():
            key = name.encode()
            record = OutRecord(key, None if declared is None else encode_json(declared))
            batches.setdefault((topic, partition_for_key(key, partitions)), []).append(record)
        await output.publish(batches)
    finally:
        await output.stop()
