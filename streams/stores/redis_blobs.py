"""Checkpoints in Redis: large values that are replaced whole or not at all.

A checkpoint may be tens of megabytes. In one command it would hold up every other partition's
writes, and miss a time limit that suits small ones. So it travels in pieces to a key of its own,
which then takes the place of the old one in a single step, if that is still the one expected:

    <app>:blob:<name>                        hash: v token, n number of pieces, b0, b1, … the pieces
    <app>:{<app>:blob:<name>}:<token>        the same while it is being sent; gone soon if that ends

The hash tag of the second is the whole name of the first, so both lie in one slot of a cluster.
"""

from __future__ import annotations

from streams.failpoints import failpoint
from streams.stores.base import Fenced, Unavailable
from streams.stores.redis_client import Client, Script, faults
from streams.stores.writes import WriteNames

# A command of this size takes a server about a millisecond.
_PIECE_BYTES = 1 << 20
# Renewed with each piece; longer than any time limit of a command.
_UPLOAD_TTL_MS = 600_000
# Each time another writer has replaced the checkpoint while it was read; they do that every few seconds.
_READS = 5

# KEYS: upload   ARGV: field, piece, ttl
_SEND = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""

# KEYS: checkpoint, upload   ARGV: expected token, token, pieces, ttl
_REPLACE = """
local found = redis.call('HGET', KEYS[1], 'v') or ''
if found == ARGV[2] or found ~= ARGV[1] then
  redis.call('UNLINK', KEYS[2])
  return {found == ARGV[2] and 1 or 0, found}
end
if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[3]) then return {-1, found} end
redis.call('HSET', KEYS[2], 'v', ARGV[2], 'n', ARGV[3])
redis.call('RENAME', KEYS[2], KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, ARGV[2]}
"""


class RedisBlobs:
    """Loads and replaces checkpoints; see `StateStore`."""

    def __init__(self, client: Client, *, prefix: str, ttl_ms: int) -> None:
        self._client = client
        self._prefix = prefix
        self._ttl_ms = ttl_ms
        self._names = WriteNames()
        self._send = Script(client, _SEND)
        self._replace = Script(client, _REPLACE)

    def _key(self, name: str) -> str:
        return f"{self._prefix}:blob:{name}"

    async def load(self, name: str) -> tuple[bytes, str] | None:
        """Return (bytes, token), None if there is none."""
        for _ in range(_READS):
            token, pieces = await self._fields(name, "v", "n")
            if token is None:
                return None
            blob = await self._pieces(name, token, int(pieces or 0))
            if blob is not None:
                return blob, token.decode()
        raise Unavailable(f"store: checkpoint {name} was replaced each time it was read")

    async def _pieces(self, name: str, token: bytes, count: int) -> bytes | None:
        found = []
        for number in range(count):
            token_now, piece = await self._fields(name, "v", f"b{number}")
            if token_now != token or piece is None:
                return None
            found.append(piece)
        return b"".join(found)

    async def _fields(self, name: str, *fields: str) -> list[bytes | None]:
        with faults():
            return list(await self._client.hmget(self._key(name), list(fields)))

    async def save(self, name: str, blob: bytes, *, expected_token: str | None) -> str:
        """Replace the checkpoint that has the expected token; return the token of the one written."""
        token = self._names.name(name, (blob, expected_token))
        key = self._key(name)
        upload = f"{self._prefix}:{{{key}}}:{token}"
        starts = range(0, len(blob), _PIECE_BYTES) or range(1)
        for number, start in enumerate(starts):
            await self._send([upload], [f"b{number}", blob[start : start + _PIECE_BYTES], _UPLOAD_TTL_MS])
            failpoint("checkpointing")
        done, found = await self._replace([key, upload], [expected_token or "", token, len(starts), self._ttl_ms])
        if done < 0:
            raise Unavailable(f"store: it has lost a part of checkpoint {name} that was being sent")
        self._names.answered(name)
        if not done:
            raise Fenced(name, expected=expected_token, found=found.decode() or None)
        return token
