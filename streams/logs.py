"""Structured logs: one JSON object a line, or plain text for a terminal.

Fields go in ``extra={"fields": {...}}`` or by `log_event`. A user's id or payload, and anything
secret, never enters a log line; record locators do.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson


class JsonFormatter(logging.Formatter):
    """Render a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """Render a record as a readable line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s%(pairs)s")

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        record.pairs = "".join(f" {key}={value}" for key, value in fields.items())
        return super().format(record)


class _LastWords(logging.Handler):
    """Remembers the latest message."""

    said = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.said = record.getMessage()


_kafka_client = _LastWords()


def quiet_kafka_client(*, aloud: bool = False) -> None:
    """Keep what aiokafka logs to ourselves: it repeats every connection error some ten times a second.

    Parameters
    ----------
    aloud
        Log it all the same, and remember it.
    """
    client = logging.getLogger("aiokafka")
    client.setLevel(logging.WARNING)
    client.handlers[:] = [_kafka_client]
    client.propagate = aloud


def kafka_client_said() -> str:
    """Return the latest complaint of the quieted client: why a connection failed stands nowhere else."""
    return _kafka_client.said


def configure_logging(level: str, format_: str) -> None:
    """Send all logs to standard error in one format; libraries speak from WARNING on, aiokafka at DEBUG only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format_ == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("streamscore").setLevel(level)
    quiet_kafka_client(aloud=level == "DEBUG")


def log_event(logger: logging.Logger, level: int, event: str, **fields: object) -> None:
    """Log a fixed sentence with its variable parts as fields."""
    logger.log(level, event, extra={"fields": fields})
