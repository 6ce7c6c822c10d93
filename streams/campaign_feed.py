"""Follows the compacted topic `campaigns`: what runs, as it was told last.

Every worker reads all of it, without a group. What is read here reaches the partitions as records of their own log
(`streams.budgets.clerk`), so that a replay meets a change at the same event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import NamedTuple

from aiokafka.errors import KafkaError

from schemas.campaigns import Campaign
from schemas.codec import BadRecord, decode_campaign
from streams.cancelling import cancel_until_done
from streams.logs import log_event
from streams.reading import reader
from streams.settings import Settings

logger = logging.getLogger("streamscore.campaigns")

_RETRY_S = 2.0
_CATCH_UP_S = 20.0


class Told(NamedTuple):
    """A campaign as its last record has it.

    Attributes
    ----------
    version
        The record's offset, plus one.
    campaign
        None: it was taken away, or cannot be read.
    why
        Why it cannot; empty otherwise.
    """

    version: int
    campaign: Campaign | None
    why: str = ""


class CampaignFeed:
    """Keeps the campaigns up to date.

    Attributes
    ----------
    campaigns
        By name; those of the topic only.
    revision
        Grows with each change.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.revision = 0
        self.campaigns: dict[str, Told] = {}

    async def start(self) -> None:
        """Read what is there, then go on in the background; at most 20 s are waited for the first."""
        self._task = asyncio.create_task(self._run(), name="campaign feed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._caught_up.wait(), _CATCH_UP_S)

    @property
    def is_read(self) -> bool:
        """Whether what was on the topic at the start is known: until then a campaign may be one that was paused."""
        return self._caught_up.is_set()

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            await cancel_until_done([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, RuntimeError) as error:
                log_event(logger, logging.WARNING, "campaign topic is away, trying again", why=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        async with reader(self._settings.kafka, [self._settings.topics.campaigns.name]) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        self._take(record.key, record.value, record.offset + 1)
                if not self._caught_up.is_set():
                    positions = [await consumer.position(one) >= end for one, end in ends.items()]
                    if all(positions):
                        self._caught_up.set()

    def _take(self, key: bytes | None, value: bytes | None, version: int) -> None:
        name = (key or b"").decode(errors="replace")
        known = self.campaigns.get(name)
        if not name or len(name) > 128 or (known is not None and version <= known.version):
            return
        told = told_by(name, value, version)
        if told.why:
            log_event(logger, logging.ERROR, "a campaign is wrong and does not bid", campaign=name, why=told.why)
        self.campaigns[name] = told
        self.revision += 1


def told_by(name: str, value: bytes | None, version: int) -> Told:
    """Read what a record says of a campaign; without a value it is taken away."""
    if value is None:
        return Told(version, None)
    try:
        campaign = decode_campaign(value)
    except BadRecord as bad:
        return Told(version, None, bad.detail)
    if campaign.campaign != name:
        return Told(version, None, "Expected the key of the record to be the campaign's name")
    return Told(version, campaign)
