"""scoring.yaml and the environment, read once at the start and passed down as plain values.

Every setting of the sections `kafka`, `redis`, `worker` and `learning` can be overridden by the
variable ``STREAMSCORE_<SECTION>_<KEY>``. Passwords and keys come from the environment only, so that
the file can be shown, and are masked wherever settings are printed.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta, Struct

from online_models.errors import ConfigError
from online_models.estimators import build
from online_models.features import FeatureSet, compile_features
from online_models.features.durations import parse_duration_ms
from online_models.objectives import Objective, parse_objectives
from streams.yaml_lines import Document

PREFIX = "STREAMSCORE_"
MASKED = "********"


class _Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings that stand under one key of scoring.yaml; unknown keys are refused."""


class KafkaSettings(_Section, frozen=True):
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
    request_timeout: str = "30s"
    compression: Literal["none", "gzip"] = "none"

    def __post_init__(self) -> None:
        _check_durations(self, "session_timeout", "heartbeat", "fetch_max_wait", "request_timeout")
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(
                f"{self.security_protocol} needs STREAMSCORE_KAFKA_SASL_USERNAME and STREAMSCORE_KAFKA_SASL_PASSWORD"
            )

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context of the connection, None without TLS."""
        if not self.security_protocol.endswith("SSL"):
            return None
        context = ssl.create_default_context(cafile=self.ssl_cafile)
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_certfile:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
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


class RedisSettings(_Section, frozen=True):
    """How to reach Redis or Valkey; ``rediss://`` for TLS. Username and password come from the environment."""

    url: str = "redis://127.0.0.1:6379/0"
    username: str | None = None
    password: str | None = None
    cluster: bool = False
    ssl_cafile: str | None = None
    timeout: str = "5s"
    state_ttl: str = "60d"

    def __post_init__(self) -> None:
        _check_durations(self, "timeout", "state_ttl")
        if not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("Expected a URL such as redis://host:6379/0, rediss://… for TLS, or unix://…")
        if re.search(r"//[^/@]*:[^/@]+@", self.url):
            raise ValueError("Take the password out of the URL and set STREAMSCORE_REDIS_PASSWORD")

    @property
    def state_ttl_ms(self) -> int:
        return parse_duration_ms(self.state_ttl)

    @property
    def timeout_s(self) -> float:
        return parse_duration_ms(self.timeout) / 1000


Positive = Annotated[int, Meta(ge=1)]


class TopicSettings(_Section, frozen=True):
    """A topic's name and what it is created with."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
    partitions: Positive = 4
    replication: Positive = 1
    retention: str | None = None

    def __post_init__(self) -> None:
        if self.retention is not None:
            _check_durations(self, "retention")


def _topic(name: str, partitions: int = 4) -> Any:
    return msgspec.field(default_factory=lambda: TopicSettings(name=name, partitions=partitions))


class Topics(_Section, frozen=True):
    """The topics of the design. Scores and dead letters go to the partition of their event."""

    events: TopicSettings = _topic("events")
    scores: TopicSettings = _topic("scores")
    examples: TopicSettings = _topic("examples", 1)
    models: TopicSettings = _topic("models", 1)
    metrics: TopicSettings = _topic("metrics", 1)
    dead: TopicSettings = _topic("events.dead", 1)

    def __post_init__(self) -> None:
        names = [one.name for one in self.all()]
        if len(set(names)) < len(names):
            raise ValueError("Every topic needs a name of its own")

    def all(self) -> list[TopicSettings]:
        """Return the topics in the order of the data flow."""
        return [self.events, self.scores, self.examples, self.models, self.metrics, self.dead]


class LearningSettings(_Section, frozen=True):
    """When models are sent to the scorers, and when the learner's own state is kept."""

    publish_examples: Positive = 1000
    publish_interval: str = "1s"
    checkpoint_interval: str = "10s"

    def __post_init__(self) -> None:
        _check_durations(self, "publish_interval", "checkpoint_interval")


class WorkerSettings(_Section, frozen=True):
    """The worker process."""

    chunk_records: Positive = 500
    cache_users: Positive = 100_000
    max_event_bytes: Positive = 65_536
    idle_tick: str = "10s"
    stall_timeout: str = "120s"
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Meta(ge=0, le=65535)] = 6066
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    n_reasons: Annotated[int, Meta(ge=0, le=20)] = 3

    def __post_init__(self) -> None:
        _check_durations(self, "idle_tick", "stall_timeout")


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that a process of streamscore is told from outside."""

    app: str
    kafka: KafkaSettings
    redis: RedisSettings
    topics: Topics
    learning: LearningSettings
    worker: WorkerSettings
    features: FeatureSet
    objectives: list[Objective]
    model_key: bytes | None

    def lineage(self, objective: Objective) -> str:
        """Return the identity of an objective's model: models of another lineage are not mixed with it."""
        declared = orjson.dumps(
            [
                self.features.hash,
                objective.feature_names(self.features.names),
                objective.labels,
                dict(objective.model),
            ],
            option=orjson.OPT_SORT_KEYS,
        )
        return blake2b(declared, digest_size=6).hexdigest()

    def masked(self) -> dict[str, Any]:
        """Return the plain settings for printing, secrets masked."""
        shown = msgspec.to_builtins(
            {name: getattr(self, name) for name in ("app", "kafka", "redis", "topics", "learning", "worker")}
        )
        for section, key in (("kafka", "sasl_password"), ("redis", "password")):
            if shown[section][key] is not None:
                shown[section][key] = MASKED
        shown["objectives"] = [one.name for one in self.objectives]
        shown["features"] = self.features.hash
        return dict(shown)


_SECTIONS: dict[str, type[_Section]] = {
    "kafka": KafkaSettings,
    "redis": RedisSettings,
    "topics": Topics,
    "learning": LearningSettings,
    "worker": WorkerSettings,
}
_FROM_ENVIRONMENT_ONLY = {
    ("kafka", "sasl_username"),
    ("kafka", "sasl_password"),
    ("redis", "username"),
    ("redis", "password"),
}
# Read elsewhere: signs models that only pickle can carry; the tests' own switch.
_OTHER_VARIABLES = {"MODEL_KEY", "REQUIRE_KAFKA", "CONFIG"}


class InvalidSettings(ValueError):
    """The configuration is wrong; `problems` lists all that was found, as ``file:line: message``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Read and check a configuration.

    Raises
    ------
    InvalidSettings
        With every problem found and its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSettings([f"{path}: cannot be read: {error.strerror}"]) from None
    return parse_settings(text, environment, name=str(path))


def parse_settings(text: str, environment: Mapping[str, str], *, name: str = "scoring.yaml") -> Settings:
    """Check the text of a configuration; see `load_settings`."""
    try:
        document = Document(text)
    except ConfigError as error:
        raise InvalidSettings([f"{name}: {error}"]) from None
    reader = _Reader(document, environment)
    settings = reader.settings()
    if reader.errors or settings is None:
        raise InvalidSettings([f"{name}:{document.line(error.path)}: {error}" for error in reader.errors])
    return settings


class _Reader:
    """Collects the errors of all sections, so that one run of `check` shows them all."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self.document = document
        self.environment = environment
        self.errors: list[ConfigError] = []

    def settings(self) -> Settings | None:
        top = self.document.value
        allowed = {"app", "features", "objectives", *_SECTIONS}
        for key in top:
            if key not in allowed:
                self.errors.append(
                    ConfigError((str(key),), f"Unknown key; expected one of: {', '.join(sorted(allowed))}")
                )
        sections = {name: self.section(name, kind) for name, kind in _SECTIONS.items()}
        self.check_variables()
        features = self.features()
        objectives = self.objectives(features) if features else []
        if self.errors:
            return None
        return Settings(
            app=self.app(),
            features=features,  # type: ignore[arg-type]
            objectives=objectives,
            model_key=self.model_key(),
            **sections,  # type: ignore[arg-type]
        )

    def model_key(self) -> bytes | None:
        key = self.environment.get(f"{PREFIX}MODEL_KEY")
        return key.encode() if key else None

    def app(self) -> str:
        app = self.document.value.get("app", "streamscore")
        return str(app)

    def section(self, name: str, kind: type[_Section]) -> _Section | None:
        declared = self.document.value.get(name) or {}
        if not isinstance(declared, dict):
            self.errors.append(ConfigError((name,), "Expected a mapping"))
            return None
        values: dict[str, Any] = dict(declared)
        if kind is Topics:
            values = {key: _named_topic(value, key) for key, value in values.items()}
        for key in declared:
            if (name, key) in _FROM_ENVIRONMENT_ONLY:
                self.errors.append(
                    ConfigError(
                        (name, key), f"Set {PREFIX}{name.upper()}_{key.upper()} instead; secrets stay out of files"
                    )
                )
        values |= dict(self.overrides(name, kind))
        texts = {field.name for field in msgspec.structs.fields(kind) if field.type is str}
        for key in texts & set(values):
            if isinstance(values[key], int | float):  # `5` where `5s` was meant: let the duration's own error say so
                values[key] = str(values[key])
        try:
            return msgspec.convert(values, kind, strict=False)
        except msgspec.ValidationError as error:
            self.errors.append(_from_msgspec(name, error))
            return None

    def overrides(self, name: str, kind: type[_Section]) -> Iterator[tuple[str, str]]:
        for key in kind.__struct_fields__:
            value = self.environment.get(f"{PREFIX}{name.upper()}_{key.upper()}")
            if value is not None and kind is not Topics:
                yield key, value

    def check_variables(self) -> None:
        known = {
            f"{section.upper()}_{key.upper()}" for section, kind in _SECTIONS.items() for key in kind.__struct_fields__
        }
        for variable in self.environment:
            if variable.startswith(PREFIX) and variable[len(PREFIX) :] not in known | _OTHER_VARIABLES:
                self.errors.append(
                    ConfigError((), f"The environment variable {variable} is not known; is it misspelt?")
                )

    def features(self) -> FeatureSet | None:
        declared = self.document.value.get("features")
        if not isinstance(declared, dict) or not declared:
            self.errors.append(
                ConfigError(("features",), "Expected at least one feature, such as `item: {field: item_id}`")
            )
            return None
        try:
            return compile_features(declared)
        except ConfigError as error:
            path = error.path if error.path[:1] == ("features",) else ("features", *error.path)
            self.errors.append(ConfigError(path, error.message))
            return None

    def objectives(self, features: FeatureSet) -> list[Objective]:
        declared = self.document.value.get("objectives")
        bodies = [{name: body} for name, body in declared.items()] if isinstance(declared, dict) else [declared]
        found: list[Objective] = []
        key = self.model_key()
        for body in bodies or [None]:
            try:
                [one] = parse_objectives(body, features=features)
            except ConfigError as error:
                self.errors.append(error.under("objectives"))
                continue
            try:
                build(one.model, key=key)
            except ConfigError as error:
                self.errors.append(error.under("objectives", one.name, "model"))
            found.append(one)
        return found


def _named_topic(value: object, key: str) -> object:
    """Let `events: clicks` stand for `events: {name: clicks}`, and a missing name be the default's."""
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, dict) and "name" not in value:
        default = getattr(Topics(), key, None)
        return {"name": default.name, **value} if default else value
    return value


def _check_durations(section: Struct, *keys: str) -> None:
    for key in keys:
        try:
            parse_duration_ms(getattr(section, key))
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None


def _from_msgspec(section: str, error: msgspec.ValidationError) -> ConfigError:
    """Turn msgspec's ``… - at `$.a[0].b` `` into a path."""
    message, _, place = str(error).partition(" - at `$")
    path = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]`]+", place)]
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        return ConfigError((section, *path, unknown[1]), "Unknown key")
    key = re.match(r"(\w+): ", message)
    return ConfigError((section, *path, *([key[1]] if key and not path else [])), message.strip(" `"))
