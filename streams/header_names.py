"""Header names that are not UTF-8: replaced in what the broker sends, before aiokafka reads it.

Kafka's protocol says that names are UTF-8, and no broker looks. aiokafka decodes them as it takes records out of a
batch, and what that raises stands in the way for ever: the batch comes again, and nothing behind the record can be
reached. We read no headers of others. So each wrong byte of a name becomes a question mark, and the record is one like
any other, with its offset, key and value untouched. Passing the whole batch over would lose its good records.

A batch that aiokafka can read is left as it is; reading it once more to see that costs half a microsecond a record.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Any

from aiokafka import codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

# Of a batch in the format that has headers (2): the length counts what follows it, the checksum what follows that.
_LENGTH_AT, _LENGTH_ENDS, _MAGIC_AT, _CRC_AT, _ATTRIBUTES_AT, _COUNT_AT, _RECORDS_AT = 8, 12, 16, 17, 21, 57, 61
_CODEC, _CONTROL = 0x07, 0x20
_DECODERS = {1: codec.gzip_decode, 2: codec.snappy_decode, 3: codec.lz4_decode, 4: codec.zstd_decode}
_WRONG = bytes(byte if byte < 0x80 else ord("?") for byte in range(256))


def is_unreadable_name(error: BaseException) -> bool:
    """Tell whether this is what aiokafka raises of a header's name; without its compiled part it wraps it."""
    wrapped = error.__cause__ if isinstance(error, CorruptRecordException) else error
    return isinstance(wrapped, UnicodeDecodeError)


def replace_unreadable_names(fetcher: Any) -> bool:
    """Have what a fetcher of aiokafka's gets from now on mended; False: it is already."""
    if isinstance(fetcher._client, _Mending):
        return False
    fetcher._client = _Mending(fetcher._client)
    return True


class _Mending:
    """The client of a fetcher, but for what it gets."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        response = await self._client.send(node_id, request, **options)
        if response is not None and response.API_KEY == 1:  # of a fetch; the fetcher asks for offsets, too
            response.topics = [
                (topic, [(*said, readable(records) if records else records) for *said, records in partitions])
                for topic, partitions in response.topics
            ]
        return response


def readable(records: bytes) -> bytes:
    """Return batches as they are if aiokafka can read them, else with readable names; what is damaged stays so."""
    with contextlib.suppress(Exception):  # of what is damaged: aiokafka finds it again, and says so
        if not _has_readable_names(records):
            return b"".join(map(_with_readable_names, _batches(records)))
    return records


def _has_readable_names(records: bytes) -> bool:
    try:
        batches = MemoryRecords(records)
        while (batch := batches.next_batch()) is not None:
            for _ in batch:
                pass
    except Exception as error:
        return not is_unreadable_name(error)
    return True


def _batches(records: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(records):
        length = struct.unpack_from(">i", records, at + _LENGTH_AT)[0] if len(records) - at >= _LENGTH_ENDS else 0
        end = at + _LENGTH_ENDS + length if length > 0 else len(records)
        found.append(records[at:end])  # the last one may be cut off
        at = end
    return found


def _with_readable_names(batch: bytes) -> bytes:
    whole = len(batch) > _RECORDS_AT and len(batch) == _LENGTH_ENDS + struct.unpack_from(">i", batch, _LENGTH_AT)[0]
    if not whole or batch[_MAGIC_AT] != 2:
        return batch
    head, body = bytearray(batch[:_RECORDS_AT]), batch[_RECORDS_AT:]
    (attributes,) = struct.unpack_from(">h", batch, _ATTRIBUTES_AT)
    if attributes & _CONTROL or struct.unpack_from(">I", batch, _CRC_AT)[0] != calc_crc32c(batch[_ATTRIBUTES_AT:]):
        return batch
    if attributes & _CODEC:
        body = _DECODERS[attributes & _CODEC](body)
        struct.pack_into(">h", head, _ATTRIBUTES_AT, attributes & ~_CODEC)
    mended = bytearray(body)
    at = 0
    for _ in range(struct.unpack_from(">i", batch, _COUNT_AT)[0]):
        at = _mend_record(mended, at)
    struct.pack_into(">i", head, _LENGTH_AT, _RECORDS_AT - _LENGTH_ENDS + len(mended))
    struct.pack_into(">I", head, _CRC_AT, calc_crc32c(bytes(head[_ATTRIBUTES_AT:] + mended)))
    return bytes(head + mended)


def _mend_record(records: bytearray, at: int) -> int:
    """Make the header names of the record at a place readable; return where the next one begins."""
    length, at = _varint(records, at)
    if length < 0:
        raise ValueError("Expected a record's length")
    end = at + length
    at += 1  # attributes
    for _ in ("timestamp", "offset"):
        _, at = _varint(records, at)
    for _ in ("key", "value"):
        _, at = _bytes(records, at)
    headers, at = _varint(records, at)
    for _ in range(headers):
        begin, at = _bytes(records, at)
        try:
            records[begin:at].decode()
        except UnicodeDecodeError:
            records[begin:at] = records[begin:at].translate(_WRONG)
        _, at = _bytes(records, at)
    return end


def _bytes(records: bytearray, at: int) -> tuple[int, int]:
    """Return where the bytes begin and end whose length stands at a place; null has none."""
    length, begin = _varint(records, at)
    return begin, begin + max(0, length)


def _varint(records: bytearray, at: int) -> tuple[int, int]:
    """Return the number at a place, and where it ends; raises IndexError, where aiokafka's own reads on."""
    raw = shift = 0
    while (byte := records[at]) & 0x80:
        raw |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    raw |= byte << shift
    return (raw >> 1) ^ -(raw & 1), at + 1
