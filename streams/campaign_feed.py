"""Follows the compacted topic `campaigns`: what runs, as it was told last.

What is read here reaches the partitions as records of their own log
(`streams.budgets.clerk`), so that a replay meets a change at the same event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from aiokafka.structs import ConsumerRecord

from schemas.campaigns import Campaign
from schemas.codec import BadRecord, decode_campaign
from streams.campaign_sizes import fitting, why_too_large
from streams.logs import log_event
from streams.retry import Outages
from streams.settings import Settings
from streams.topic_feed import TopicFeed

logger = logging.getLogger("streamscore.campaigns")


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


class CampaignFeed(TopicFeed):
    """Keeps the campaigns up to date; until it is read, one may be running that was paused.

    Attributes
    ----------
    campaigns
        By name; those of the topic only.
    revision
        Grows with each change.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_failure: Callable[[BaseException], None] = lambda error: None,
        outages: Outages | None = None,
    ) -> None:
        topic = settings.topics.campaigns.name
        super().__init__(settings.kafka, topic, self._take_record, on_failure=on_failure, outages=outages)
        self.revision = 0
        self._max_event_bytes = settings.worker.max_event_bytes
        self.campaigns: dict[str, Told] = {}

    def _take_record(self, record: ConsumerRecord) -> None:
        name, version = (record.key or b"").decode(errors="replace"), record.offset + 1
        known = self.campaigns.get(name)
        if not name or len(name) > 128 or (known is not None and version <= known.version):
            return
        told = told_by(name, record.value, version, max_event_bytes=self._max_event_bytes)
        if told.why:
            log_event(logger, logging.ERROR, "a campaign is wrong and does not bid", campaign=name, why=told.why)
        self.campaigns[name] = told
        self.revision += 1


def told_by(name: str, value: bytes | None, version: int, *, max_event_bytes: int | None = None) -> Told:
    """Read what a record says of a campaign; without a value it is taken away.

    Parameters
    ----------
    max_event_bytes
        What the partitions' logs take: a campaign above that does not bid, anywhere. None: as it stands on the topic.
    """
    if value is None:
        return Told(version, None)
    try:
        campaign = decode_campaign(value)
    except BadRecord as bad:
        return Told(version, None, bad.detail)
    if campaign.campaign != name:
        return Told(version, None, "Expected the key of the record to be the campaign's name")
    if max_event_bytes is None:
        return Told(version, campaign)
    why = why_too_large(campaign, max_event_bytes)
    return Told(version, None, why) if why else Told(version, fitting(campaign, max_event_bytes))
