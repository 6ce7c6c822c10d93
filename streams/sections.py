"""The sections of scoring.yaml that tell a process about its surroundings: what each key means, and its default."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Meta, Struct

from online_models.features.durations import parse_duration_ms


def check_durations(section: Struct, *keys: str, low: str = "1ms", high: str = "52000w") -> None:
    """Raise ValueError unless these settings of a section are durations within bounds, which are within."""
    for key in keys:
        try:
            found = parse_duration_ms(getattr(section, key))
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        if not parse_duration_ms(low) <= found <= parse_duration_ms(high):
            raise ValueError(f"{key}: Expected a duration from {low} to {high}, got {getattr(section, key)!r}")


class UnusableFile(ValueError):
    """A file that a setting names is not there, or is none of its kind; found when a connection is to be made."""


def look_at_files(section: str, settings: Struct, *keys: str) -> None:
    """Raise UnusableFile unless the files that these settings name are there and may be read."""
    for key in keys:
        name = getattr(settings, key)
        if not name:
            continue
        try:
            with Path(name).open("rb"):
                pass
        except OSError as error:
            raise UnusableFile(f"{section}.{key}: {name}: {error.strerror}") from None


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings that stand under one key of scoring.yaml; unknown keys are refused."""


class KafkaSettings(Section, frozen=True):
    """How to reach Kafka. ``sasl_username`` and ``sasl_password`` are read from the environment."""

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_check_hostname: bool = True
    session_timeout: str = "10s"
    heartbeat: str = "2s"
    fetch_max_wait: str = "20ms"
    fetch_min_bytes: Positive = 1
    request_timeout: str = "30s"
    compression: Literal["none", "gzip"] = "none"

    def __post_init__(self) -> None:
        check_durations(self, "session_timeout", "heartbeat", "request_timeout", low="10ms", high="1d")
        check_durations(self, "fetch_max_wait", low="0s", high="1d")
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(
                f"{self.security_protocol} needs STREAMSCORE_KAFKA_SASL_USERNAME and STREAMSCORE_KAFKA_SASL_PASSWORD"
            )
        if 2 * parse_duration_ms(self.heartbeat) > parse_duration_ms(self.session_timeout):
            raise ValueError(
                f"heartbeat: Expected at most half of session_timeout ({self.session_timeout}), better a fifth, got "
                f"{self.heartbeat}: a member that is heard of too late keeps the whole group rebalancing"
            )

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context of the connection, None without TLS; raises UnusableFile."""
        if not self.security_protocol.endswith("SSL"):
            return None
        look_at_files("kafka", self, "ssl_cafile", "ssl_certfile", "ssl_keyfile")
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            context.check_hostname = self.ssl_check_hostname
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except (ssl.SSLError, OSError) as error:
            raise UnusableFile(f"kafka.ssl_cafile, ssl_certfile or ssl_keyfile: {error}") from None
        return context

    def client_kwargs(self) -> dict[str, Any]:
        """Return the connection arguments that every aiokafka client takes."""
        kwargs: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": parse_duration_ms(self.request_timeout),
        }
        if self.security_protocol.endswith("SSL"):
            kwargs["ssl_context"] = self.ssl_context()
        if self.security_protocol.startswith("SASL"):
            kwargs |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return kwargs


class RedisSettings(Section, frozen=True):
    """How to reach Redis or Valkey; ``rediss://`` for TLS. Username and password come from the environment."""

    url: str = "redis://127.0.0.1:6379/0"
    username: str | None = None
    password: str | None = None
    cluster: bool = False
    ssl_cafile: str | None = None
    timeout: str = "5s"
    state_ttl: str = "60d"

    def __post_init__(self) -> None:
        check_durations(self, "timeout", low="10ms", high="1d")
        check_durations(self, "state_ttl", low="1s")
        if not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("Expected a URL such as redis://host:6379/0, rediss://… for TLS, or unix://…")
        if re.search(r"//[^/@]*:[^/@]+@", self.url):
            raise ValueError("Take the password out of the URL and set STREAMSCORE_REDIS_PASSWORD")
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"url: {error}; expected such as redis://host:6379/0") from None
        if {"password", "username"} & set(parse_qs(parts.query)):
            raise ValueError(
                "Take username and password out of the URL and set STREAMSCORE_REDIS_USERNAME and "
                "STREAMSCORE_REDIS_PASSWORD"
            )

    def look_at_certificates(self) -> None:
        """Raise UnusableFile where TLS is declared and its file cannot be read."""
        if self.url.startswith("rediss://"):
            look_at_files("redis", self, "ssl_cafile")

    @property
    def state_ttl_ms(self) -> int:
        return parse_duration_ms(self.state_ttl)

    @property
    def timeout_s(self) -> float:
        return parse_duration_ms(self.timeout) / 1000


Positive = Annotated[int, Meta(ge=1)]


class TopicSettings(Section, frozen=True):
    """A topic's name and what it is created with."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
    partitions: Positive = 4
    replication: Positive = 1
    retention: str | None = None

    def __post_init__(self) -> None:
        if self.retention is not None:
            check_durations(self, "retention", low="1s")


def _topic(name: str, partitions: int = 4) -> Any:
    return msgspec.field(default_factory=lambda: TopicSettings(name=name, partitions=partitions))


class Topics(Section, frozen=True):
    """The topics of the design. Scores and dead letters go to the partition of their event."""

    events: TopicSettings = _topic("events")
    scores: TopicSettings = _topic("scores")
    examples: TopicSettings = _topic("examples", 1)
    bids: TopicSettings = _topic("bids")
    campaigns: TopicSettings = _topic("campaigns", 1)
    models: TopicSettings = _topic("models", 1)
    metrics: TopicSettings = _topic("metrics", 1)
    dead: TopicSettings = _topic("events.dead", 1)

    def __post_init__(self) -> None:
        names = [one.name for one in self.all()]
        if {".", ".."} & set(names):
            raise ValueError("Kafka has no topics called `.` or `..`")
        if len(set(names)) < len(names):
            raise ValueError("Every topic needs a name of its own")

    def all(self) -> list[TopicSettings]:
        """Return the topics in the order of the data flow."""
        return [
            self.events,
            self.scores,
            self.examples,
            self.models,
            self.metrics,
            self.dead,
            *self.of_bidding(),
        ]

    def of_bidding(self) -> list[TopicSettings]:
        """Return those that only bidding needs."""
        return [self.bids, self.campaigns]


class LearningSettings(Section, frozen=True):
    """When models are sent to the scorers, and when the learner's own state is kept."""

    publish_examples: Positive = 1000
    publish_interval: str = "1s"
    checkpoint_interval: str = "10s"

    def __post_init__(self) -> None:
        check_durations(self, "publish_interval", "checkpoint_interval")


# Short enough to be typed, long enough not to be guessed over HTTP.
_SHORTEST_TOKEN = 16


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


Role = Literal["all", "scoring", "learning", "serving"]


class WorkerSettings(Section, frozen=True):
    """The worker process.

    Attributes
    ----------
    role
        "all": scores, and learns where it is the learner. "scoring", "learning": only that, so that each gets
        cores of its own; a deployment has both kinds or workers of role "all". "serving": only answers over HTTP, and
        is no member of a group, so that no answer waits for a batch.
    http_tokens
        Who has one of these, separated by commas, may use the HTTP API; read from the environment.
    http_origins
        Origins whose pages may, separated by commas; ``*``: all.
    http_most_at_once
        So many requests of a route may be under way; more are turned away with 503.
    site
        Serve the demo's page at ``/site``, and fill in missing times from the stream, whose time is simulated there.
    """

    role: Role = "all"
    chunk_records: Positive = 500
    cache_users: Positive = 100_000
    max_event_bytes: Positive = 65_536
    idle_tick: str = "10s"
    stall_timeout: str = "120s"
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Meta(ge=0, le=65535)] = 6066
    http_tokens: str | None = None
    http_origins: str = ""
    http_most_at_once: Positive = 1000
    site: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    n_reasons: Annotated[int, Meta(ge=0, le=20)] = 3

    def __post_init__(self) -> None:
        check_durations(self, "idle_tick", low="0s", high="1d")
        check_durations(self, "stall_timeout", low="1s")
        for origin in self.http_origin_list:
            if not re.fullmatch(r"\*|https?://[^/\s]+", origin):
                raise ValueError(f"http_origins: expected `*` or origins such as https://shop.example, got {origin!r}")
        if any(len(token) < _SHORTEST_TOKEN for token in self.http_token_list):
            raise ValueError(f"http_tokens: expected tokens of at least {_SHORTEST_TOKEN} characters")

    @property
    def http_token_list(self) -> list[str]:
        return _listed(self.http_tokens or "")

    @property
    def http_origin_list(self) -> list[str]:
        return _listed(self.http_origins)
