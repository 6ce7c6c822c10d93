"""Batches of records with header names that no client of ours would write."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer, codec
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

# Of the same length; the first one stands in a batch until it is built.
_GOOD, BAD_NAME = "header-name", b"caf\xe9\xff-\xed\xa0\x80\xc0x"
MENDED_NAME = "caf??-????x"
# By the number of the codec; those that are installed.
COMPRESSED = {0: bytes, 1: codec.gzip_encode}
COMPRESSED |= {2: codec.snappy_encode} if codec.has_snappy() else {}
COMPRESSED |= {3: codec.lz4_encode} if codec.has_lz4() else {}
COMPRESSED |= {4: codec.zstd_encode} if codec.has_zstd() else {}


def a_batch(
    values: Mapping[bytes | None, bool] | Mapping[bytes, bool],
    *,
    first_offset: int = 0,
    codec_number: int = 0,
    timestamp: int = 1_000,
    step_ms: int = 1,
    key: bytes | None = b"key",
) -> bytes:
    """Build a batch of values; those that are said to be bad have a header whose name is not UTF-8.

    Timestamps go on, or back, by `step_ms`.
    """
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=1_000_000,
    )
    for offset, (value, bad) in enumerate(values.items()):
        more = [(_GOOD, b"\xff"), (_GOOD, None)] if bad else []
        builder.append(offset, timestamp + offset * step_ms, key, value, [("a", b"1"), *more])
    batch = bytes(builder.build()).replace(_GOOD.encode(), BAD_NAME)
    return with_records(batch, COMPRESSED[codec_number](batch[61:]), codec_number, first_offset)


def with_records(batch: bytes, records: bytes, codec_number: int, first_offset: int) -> bytes:
    """Return a batch with other records behind its head, and the right lengths and checksum."""
    changed = bytearray(batch[:61] + records)
    struct.pack_into(">q", changed, 0, first_offset)
    struct.pack_into(">i", changed, 8, len(changed) - 12)
    struct.pack_into(">h", changed, 21, codec_number)
    struct.pack_into(">I", changed, 17, calc_crc32c(bytes(changed[21:])))
    return bytes(changed)


async def put_batch(kafka: dict[str, Any], topic: str, values: dict[bytes, bool], *, partition: int = 0) -> None:
    """Write a batch as `a_batch` builds it to a topic."""
    async with AIOKafkaProducer(**kafka) as producer:
        batch = producer.create_batch()
        for value in values:
            batch.append(key=None, value=value, timestamp=None)
        batch._build()
        batch._buffer = bytearray(a_batch(values, timestamp=time.time_ns() // 1_000_000))
        await (await producer.send_batch(batch, topic, partition=partition))
