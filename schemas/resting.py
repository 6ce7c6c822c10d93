"""Accumulators of a visitor who has left, in as few bytes as they take without losing a bit.

While a visitor is there, a state is written with each batch and has to be packed fast: msgpack, in C. Once the visitor
has left it is written once and kept for weeks, so a slower, tighter form pays: times as their distance to the visitor's
last event, prices as cents, heights and means without the two bytes that most of them begin with, equal texts once.

The form is of nested values: None, booleans, ints, floats, texts, bytes, lists and dicts. What is read is equal to what
was written, floats bit for bit. Each value begins with a byte that says what it is:

    00-7f  the int itself                 c3     int of up to eight bytes, unsigned: their number, then they
    80-9f  text of 0 to 31 bytes          c4     a negative int, likewise, as -1 - n
    a0-af  list of 0 to 15                c5-c7  int of two, three, four bytes, unsigned
    b0-bf  dict of 0 to 15                c8     time: milliseconds before the base, as an unsigned value
    c0     None                           c9     float: cents, as an unsigned value
    c1 c2  False, True                    ca     float: a whole number, as an unsigned value
    cd     a text that came before        cb     float of eight bytes
    ce     list of 16-bit numbers         cc     float of which the first two bytes are those of the one before
    cf     longer: what, length, content  d0-ff  float: two bytes of 40 5x, 40 6x, 40 7x, then six

Before the first float of cb stands one that begins with two zeros.

Refused: zlib on msgpack (one sixth larger, no faster than this: most bytes are digits of floats, which have no
pattern), and float32 (half of the digits, but then a score would depend on whether its visitor had been away).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import copysign
from typing import Any

# The first byte; another one is another form.
VERSION = 1
_DOUBLE = struct.Struct(">d")
_DOUBLE_OF = _DOUBLE.unpack
# Decayed sums of half-lives of a week, two and a month lie here until 2030 (see `online_models.features.decay`):
# 64 to 512. What lies elsewhere takes a byte or two more.
_COMMON = {0x40_50 + n: 0xD0 + n for n in range(48)}
_COMMON_OF = {tag: first.to_bytes(2, "big") for first, tag in _COMMON.items()}
# Beyond these an int is no time, and a float is not worth being tried as a whole number or as cents.
_MOST_MS_AGO = 1 << 48
_MOST_CENTS = 1 << 31
_MOST_DEPTH = 32
_KIN: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int),
    (float, float),
    (str, str),
    (list, list),
    (tuple, list),
    (dict, dict),
)


def pack(value: Any, base_ms: int) -> bytes:
    """Pack a value.

    Parameters
    ----------
    value
        Nested None, bool, int (of 64 bits), float, str, bytes, list and dict.
    base_ms
        Epoch ms, to be the same when it is unpacked. Times shortly before it take few bytes.

    Raises
    ------
    TypeError
        Another type is in it.
    """
    writer = _Writer(base_ms)
    writer.put(value)
    return bytes(writer.out)


def unpack(blob: bytes, base_ms: int) -> Any:
    """Unpack what `pack` has packed; raises ValueError where the bytes are not of this form."""
    if not blob or blob[0] != VERSION:
        raise ValueError("Expected packed accumulators of form 1")
    reader = _Reader(blob, base_ms)
    try:
        value = reader.take(_MOST_DEPTH)
    except (IndexError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"Packed accumulators are cut off or damaged ({type(error).__name__})") from None
    if reader.at != len(blob):
        raise ValueError("Bytes follow on the packed accumulators")
    return value


class _Writer:
    def __init__(self, base_ms: int) -> None:
        self.out = bytearray((VERSION,))
        self._base_ms = base_ms
        self._texts: dict[str, int] = {}
        self._first_two = 0

    def put(self, value: Any) -> None:
        kind = type(value)
        if kind is int:
            if 0 <= value < 128:
                self.out.append(value)
            else:
                self._put_int(value)
        elif kind is float:
            self._put_float(value)
        elif kind is list:
            self._put_list(value)
        elif kind is str:
            self._put_text(value)
        elif value is None:
            self.out.append(0xC0)
        elif kind is dict:
            self._put_length(0xB0, 16, len(value))
            for key, one in value.items():
                self.put(key)
                self.put(one)
        elif kind is bool:
            self.out.append(0xC2 if value else 0xC1)
        elif kind is bytes:
            self._put_length(0xC0, 0, len(value))
            self.out += value
        else:
            self._put_kin(value)

    def _put_kin(self, value: Any) -> None:
        """Put a value of a type that is derived from one of ours, as msgpack would."""
        for kind, plain in _KIN:
            if isinstance(value, kind):
                self.put(plain(value))
                return
        raise TypeError(f"Expected None, bool, int, float, str, bytes, list or dict, got {type(value).__name__}")

    def _put_int(self, value: int) -> None:
        out = self.out
        ago_ms = self._base_ms - value
        if value < 0:
            out.append(0xC4)
            self._put_bytes(-1 - value)
        elif value <= 0xFFFF:
            out.append(0xC5)
            out += value.to_bytes(2, "big")
        elif value <= 0xFFFFFF:
            out.append(0xC6)
            out += value.to_bytes(3, "big")
        elif value <= 0xFFFFFFFF:
            out.append(0xC7)
            out += value.to_bytes(4, "big")
        elif 0 <= ago_ms < _MOST_MS_AGO:
            out.append(0xC8)
            self._put_unsigned(ago_ms)
        else:
            out.append(0xC3)
            self._put_bytes(value)

    def _put_bytes(self, value: int) -> None:
        size = (value.bit_length() + 7) // 8
        self.out.append(size)
        self.out += value.to_bytes(size, "big")

    def _put_unsigned(self, value: int) -> None:
        """Put seven bits a byte, the lowest first."""
        out = self.out
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)

    def _put_float(self, value: float) -> None:
        out = self.out
        if 0.0 <= value < _MOST_CENTS:
            cents = round(value * 100.0)
            if cents / 100.0 == value and copysign(1.0, value) > 0.0:
                whole, rest = divmod(cents, 100)
                out.append(0xC9 if rest else 0xCA)
                self._put_unsigned(cents if rest else whole)
                return
        packed = _DOUBLE.pack(value)
        first_two = packed[0] << 8 | packed[1]
        tag = _COMMON.get(first_two)
        if tag is not None:
            out.append(tag)
            out += packed[2:]
        elif first_two == self._first_two:
            out.append(0xCC)
            out += packed[2:]
        else:
            self._first_two = first_two
            out.append(0xCB)
            out += packed

    def _put_text(self, value: str) -> None:
        known = self._texts.get(value)
        if known is not None:
            self.out.append(0xCD)
            self._put_unsigned(known)
            return
        self._texts[value] = len(self._texts)
        encoded = value.encode()
        self._put_length(0x80, 32, len(encoded))
        self.out += encoded

    def _put_list(self, value: list[Any]) -> None:
        if len(value) > 3 and _are_hashes(value):
            self.out.append(0xCE)
            self._put_unsigned(len(value))
            self.out += struct.pack(f">{len(value)}H", *value)
            return
        self._put_length(0xA0, 16, len(value))
        put, append = self.put, self.out.append
        for one in value:
            if type(one) is int and 0 <= one < 128:  # most of them; without a call
                append(one)
            else:
                put(one)

    def _put_length(self, tag: int, most: int, length: int) -> None:
        if length < most:
            self.out.append(tag + length)
        else:
            self.out += bytes((0xCF, tag))
            self._put_unsigned(length)


def _are_hashes(value: list[Any]) -> bool:
    """Tell whether a list is of numbers of 16 bits, most of which need them."""
    large = 0
    for one in value:
        if type(one) is not int or not 0 <= one <= 0xFFFF:
            return False
        large += one > 127
    return 2 * large > len(value)


class _Reader:
    def __init__(self, blob: bytes, base_ms: int) -> None:
        self.at = 1
        self._blob = blob
        self._base_ms = base_ms
        self._texts: list[str] = []
        self._first_two = b"\x00\x00"  # as the writer begins: of a float next to zero they are not written

    def take(self, deeper: int) -> Any:
        tag = self._blob[self.at]
        self.at += 1
        if tag < 0x80:
            return tag
        if tag >= 0xD0:
            at = self.at
            self.at = at + 6
            return _DOUBLE_OF(_COMMON_OF[tag] + self._blob[at : at + 6])[0]
        if tag < 0xA0:
            return self._text(tag & 31)
        if tag < 0xC0:
            return self._sized(tag & 0xF0, tag & 15, deeper)
        if tag == 0xCF:
            return self._sized(self._byte(), self._unsigned(), deeper)
        return _TAKEN[tag](self)

    def _sized(self, tag: int, length: int, deeper: int) -> Any:
        """Take what is as long as was said; what it is stands in the upper bits."""
        if tag == 0x80:
            return self._text(length)
        if length > len(self._blob):
            raise IndexError
        if not deeper:
            raise ValueError("Packed accumulators are nested too deeply")
        take, blob, deeper = self.take, self._blob, deeper - 1
        if tag == 0xA0:
            values: list[Any] = []
            for _ in range(length):
                byte = blob[self.at]
                if byte < 0x80:  # most of them; without a call
                    self.at += 1
                    values.append(byte)
                else:
                    values.append(take(deeper))
            return values
        if tag == 0xB0:
            return {take(deeper): take(deeper) for _ in range(length)}
        if tag == 0xC0:
            return self._bytes(length)
        raise KeyError(tag)

    def _text(self, size: int) -> str:
        at = self.at
        self.at = at + size
        if self.at > len(self._blob):
            raise IndexError
        text = self._blob[at : self.at].decode()
        self._texts.append(text)
        return text

    def _byte(self) -> int:
        byte = self._blob[self.at]
        self.at += 1
        return byte

    def _bytes(self, size: int) -> bytes:
        found = self._blob[self.at : self.at + size]
        if len(found) < size:
            raise IndexError
        self.at += size
        return found

    def _int(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), "big")

    def _unsigned(self) -> int:
        blob, at = self._blob, self.at
        value, shift = 0, 0
        while (byte := blob[at]) > 127:
            value |= (byte & 127) << shift
            shift += 7
            at += 1
        self.at = at + 1
        return value | byte << shift

    def _float(self) -> float:
        packed = self._bytes(8)
        self._first_two = packed[:2]
        return _DOUBLE.unpack(packed)[0]  # type: ignore[no-any-return]

    def _like_before(self) -> float:
        return _DOUBLE.unpack(self._first_two + self._bytes(6))[0]  # type: ignore[no-any-return]

    def _time(self) -> int:
        return self._base_ms - self._unsigned()

    def _numbers(self) -> list[int]:
        length = self._unsigned()
        return list(struct.unpack(f">{length}H", self._bytes(2 * length)))

    def _text_before(self) -> str:
        return self._texts[self._unsigned()]


_TAKEN: dict[int, Callable[[_Reader], Any]] = {
    0xC0: lambda reader: None,
    0xC1: lambda reader: False,
    0xC2: lambda reader: True,
    0xC3: lambda reader: reader._int(reader._byte()),
    0xC4: lambda reader: -1 - reader._int(reader._byte()),
    0xC5: lambda reader: reader._int(2),
    0xC6: lambda reader: reader._int(3),
    0xC7: lambda reader: reader._int(4),
    0xC8: _Reader._time,
    0xC9: lambda reader: reader._unsigned() / 100.0,
    0xCA: lambda reader: float(reader._unsigned()),
    0xCB: _Reader._float,
    0xCC: _Reader._like_before,
    0xCD: _Reader._text_before,
    0xCE: _Reader._numbers,
}
