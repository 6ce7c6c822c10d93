"""Turns expected errors into one sentence that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from streams.settings import InvalidSettings


class UserError(Exception):
    """Something that the user can put right; the message says how."""


@contextmanager
def friendly(status: int = 1) -> Iterator[None]:
    """End the process with a status and a plain sentence on an expected error."""
    from aiokafka.errors import KafkaConnectionError, KafkaError

    from streams.logs import kafka_client_said
    from streams.reading import TopicMissing
    from streams.sections import UnusableFile
    from streams.stores import Unavailable

    try:
        yield
    except InvalidSettings as error:
        _end(str(error), status)
    except (UserError, TopicMissing, UnusableFile) as error:
        _end(str(error), status)
    except KafkaConnectionError as error:
        said = kafka_client_said() or error
        _end(f"Kafka cannot be reached: {said}. Is the address in kafka.bootstrap_servers right?", status)
    except (KafkaError, Unavailable) as error:
        _end(f"{type(error).__name__}: {error}", status)
    except KeyboardInterrupt:
        sys.exit(130)


def _end(message: str, status: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
