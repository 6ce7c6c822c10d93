"""Pacers' states as bytes, with what they are."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from schemas.codec import UNDECODABLE, BadRecord, undecodable
from schemas.dead_letters import INVALID

FORMAT = 1

S = TypeVar("S", bound=Struct)


class _Saved(Struct, array_like=True):
    kind: str
    format: int
    state: msgspec.Raw


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Saved).decode


def packed(kind: str, state: Struct) -> bytes:
    """Return a state as bytes; floats keep every bit."""
    return _pack(_Saved(kind, FORMAT, msgspec.Raw(_pack(state))))


def unpacked(blob: bytes, kind: str, to: type[S]) -> S:
    """Return the state of what `packed` gave; raises BadRecord if it is another pacer's."""
    try:
        saved = _unpack(blob)
        if (saved.kind, saved.format) != (kind, FORMAT):
            raise BadRecord(INVALID, f"pacing: expected {kind} {FORMAT}, got {saved.kind} {saved.format}")
        return msgspec.msgpack.decode(saved.state, type=to)
    except UNDECODABLE as error:
        raise BadRecord(INVALID, f"pacing: {undecodable(error)}") from None
