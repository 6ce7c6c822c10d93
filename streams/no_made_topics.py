"""Keeps brokers from making topics that we only ask for.

By Kafka's default (`auto.create.topics.enable`) a topic that is asked for by name is made, with one partition and the
broker's own retention: `models` and `campaigns` would not be compacted, and lose what is old. aiokafka's clients, when
they ask where a topic lies, leave it at that; the protocol lets a client say no.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import aiokafka.client
from aiokafka.protocol.metadata import MetadataRequest

_module: Any = aiokafka.client


def forbid() -> None:
    """Have all clients of this process say no."""
    _module.MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)
