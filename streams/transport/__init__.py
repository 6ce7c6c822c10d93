"""The record-batch transport for Faust; docs/transport.md explains how to use it."""

from streams.transport.chunk import RecordChunk, RecordSchema, record_schema
from streams.transport.driver import OnRevoked, OnTruncated, StartOffsets, Transport, use_record_chunks
from streams.transport.options import TransportOptions
from streams.transport.status import PartitionStatus

__all__ = [
    "OnRevoked",
    "OnTruncated",
    "PartitionStatus",
    "RecordChunk",
    "RecordSchema",
    "StartOffsets",
    "Transport",
    "TransportOptions",
    "record_schema",
    "use_record_chunks",
]
