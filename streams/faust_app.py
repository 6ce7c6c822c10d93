"""The Faust app of a worker: consumer group, connection and agents; no tables, no producer work of its own."""

from __future__ import annotations

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.tables import TableManager
from faust.types.auth import CredentialsT

from online_models.features.durations import parse_duration_ms
from streams.sections import KafkaSettings
from streams.settings import Settings
from streams.transport import (
    OnRevoked,
    OnTruncated,
    StartOffsets,
    Transport,
    TransportOptions,
    use_record_chunks,
)

# A worker that only learns lets examples gather, up to so long and so many bytes. One that comes alone costs it, and
# the broker, several times as much as one among many.
_GATHERED_MS, _GATHERED_BYTES = 100, 65_536
_BYTES_OF_EXAMPLE = {"none": 200, "gzip": 20}  # fewer than one takes


class _NoTables(TableManager):
    """Faust waits a second at each start for tables to be declared. We have none."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


def make_faust_app(
    settings: Settings,
    *,
    start_offsets: StartOffsets,
    on_revoked: OnRevoked,
    on_truncated: OnTruncated | None = None,
) -> tuple[faust.App, Transport]:
    """Build the app; its agents are attached by the caller."""
    kafka = settings.kafka
    max_wait_ms, min_bytes = _gathering(settings)
    app = faust.App(
        group_of(settings),
        broker=[f"kafka://{address.strip()}" for address in kafka.bootstrap_servers.split(",")],
        broker_credentials=_credentials(kafka),
        broker_session_timeout=parse_duration_ms(kafka.session_timeout) / 1000,
        broker_heartbeat_interval=parse_duration_ms(kafka.heartbeat) / 1000,
        broker_request_timeout=max(
            parse_duration_ms(kafka.request_timeout), parse_duration_ms(kafka.session_timeout) + 1000
        )
        / 1000,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        store="memory://",
        TableManager=_NoTables,
        autodiscover=False,
        topic_allow_declare=False,  # topics are made by `streamscore topics create`, with the settings of the file
        topic_disable_leader=True,
        stream_wait_empty=False,  # what is not acknowledged is simply read again
        web_enabled=False,  # streams.web serves instead, also while no partition is assigned
    )
    transport = use_record_chunks(
        app,
        options=TransportOptions(
            chunk_records=settings.worker.chunk_records,
            fetch_max_wait_ms=max_wait_ms,
            fetch_min_bytes=min_bytes,
            # In a transaction with the outputs; a commit from here could come late and move the offset back.
            committed_elsewhere=frozenset({settings.topics.events.name} if settings.exactly_once else ()),
        ),
        start_offsets=start_offsets,
        on_revoked=on_revoked,
        on_truncated=on_truncated,
    )
    return app, transport


def _gathering(settings: Settings) -> tuple[int, int]:
    """Return for how many ms, and up to how many bytes, the broker lets records gather before it answers a fetch."""
    max_wait_ms, min_bytes = parse_duration_ms(settings.kafka.fetch_max_wait), settings.kafka.fetch_min_bytes
    if settings.worker.role == "learning":
        # Scorers with a backlog wait for the next version of a model: what makes one must not be waited for here.
        learning, size = settings.learning, _BYTES_OF_EXAMPLE[settings.kafka.compression]
        max_wait_ms = max(max_wait_ms, min(_GATHERED_MS, parse_duration_ms(learning.publish_interval) // 10))
        min_bytes = max(min_bytes, min(_GATHERED_BYTES, size * learning.publish_examples))
    return max_wait_ms, min_bytes


def group_of(settings: Settings) -> str:
    """Name the consumer group; a group whose members read different topics would be assigned unevenly."""
    return f"{settings.app}.learning" if settings.worker.role == "learning" else settings.app


def _credentials(kafka: KafkaSettings) -> CredentialsT | None:
    context = kafka.ssl_context()
    if kafka.security_protocol.startswith("SASL"):
        return SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return SSLCredentials(context=context) if context else None
