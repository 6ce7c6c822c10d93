"""The budget ledger in Redis or Valkey: each method is one script.

All keys share a hash tag, so that one script may touch them all on a cluster too:

    <app>:{budgets}:epoch                  hash: id, server (whose run it began in), m partitions missing,
                                           x:<holder> 0 expected, 1 registered
    <app>:{budgets}:d:<day>                hash: campaign -> "budget committed spent", for who reads them all
    <app>:{budgets}:c:<day>:<campaign>     hash: d:, r:, s:, m:<holder> drawn, returned, spent, moved; sums over
                                           holders: t committed, S spent, n who hold something, M moved,
                                           H drawn and not returned over HTTP; b budget, f seen, u unknown
                                           (see `_Book` of the ledger in memory)

Sums are kept beside the parts, so a draw costs the same with three holders and with three hundred. Money
passes through Lua's floats, which are exact to 2^53; written with `%.0f`, because `tostring` turns 10^14
into 1e+14. Names come from outside, since chance within a script is the same each time.

The day's hash tells that a campaign's hash is missing that was there. A server names its run anew when it
starts, and so does a replica that takes over: either may have lost the last writes.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping

from streams.budgets.base import HTTP_HOLDER, CampaignDay, Draw, Drawn, Entry, Totals, Want, check_amounts
from streams.settings import Settings
from streams.stores.redis_client import Client, Script, connect, faults

# A campaign's day must not expire alone while it lasts: a day, and late notices.
_SHORTEST_TTL_MS = 3 * 86_400_000

# KEYS: epoch, then for each campaign's day: d, c
# ARGV: name for a new epoch, ttl, holder, epoch asked for, 1 if the holder answers over HTTP, …
_COMMON = """
local call = redis.call
local ttl, holder, asked, is_http = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
local function text(number) return string.format('%.0f', number) end

local function begin(server)
  call('UNLINK', KEYS[1])
  call('HSET', KEYS[1], 'id', ARGV[1], 'server', server)
  return ARGV[1]
end

local function epoch(first, step)
  local server = string.match(call('INFO', 'server'), 'run_id:(%w+)') or ''
  local found = call('HMGET', KEYS[1], 'id', 'server')
  local id = found[1]
  if not id or found[2] ~= server then id = begin(server) end
  for i = 2, #KEYS, 2 do
    local campaign = ARGV[first + (i / 2 - 1) * step]
    if call('HEXISTS', KEYS[i + 1], 't') == 0 and call('HEXISTS', KEYS[i], campaign) == 1 then
      id = begin(server)
      call('HSET', KEYS[i + 1], 't', 0)
      call('PEXPIRE', KEYS[i + 1], ttl)
    end
  end
  call('PEXPIRE', KEYS[1], ttl)
  return id
end

local function missing() return tonumber(call('HGET', KEYS[1], 'm') or 1) end

local function load(key)
  local v = call('HMGET', key, 'd:' .. holder, 'r:' .. holder, 's:' .. holder, 'm:' .. holder,
    't', 'S', 'n', 'M', 'H', 'b', 'f', 'u')
  for i = 1, 12 do v[i] = tonumber(v[i] or 0) end
  return {d = v[1], r = v[2], s = v[3], m = v[4],
    t = v[5], S = v[6], n = v[7], M = v[8], H = v[9], b = v[10], f = v[11], u = v[12]}
end

local function holds(d, r, s, m) return d + m - r > s and 1 or 0 end

local function set(book, d, r, s, m)
  book.t = book.t + math.max(d - r, s - m) - math.max(book.d - book.r, book.s - book.m)
  book.S = book.S + s - book.s
  book.n = book.n + holds(d, r, s, m) - holds(book.d, book.r, book.s, book.m)
  book.M = book.M + m - book.m
  if is_http then book.H = book.H + (d - r) - (book.d - book.r) end
  book.d, book.r, book.s, book.m = d, r, s, m
end

local function learn(book, d, r, s, m)
  d, r, s, m = math.max(d, book.d), math.max(r, book.r), math.max(s, book.s), math.max(m, book.m)
  if is_http then book.u = math.max(0, book.u - math.max(0, (d - r) - (book.d - book.r))) end
  set(book, d, r, s, m)
end

local function committed(book) return book.t + math.max(book.u, book.M - book.H) end

local function save(i, campaign, book)
  call('HSET', KEYS[i + 1], 'd:' .. holder, text(book.d), 'r:' .. holder, text(book.r), 's:' .. holder, text(book.s),
    'm:' .. holder, text(book.m), 't', text(book.t), 'S', text(book.S), 'n', text(book.n), 'M', text(book.M),
    'H', text(book.H), 'b', text(book.b), 'f', text(book.f), 'u', text(book.u))
  call('HSET', KEYS[i], campaign, text(book.b) .. ' ' .. text(committed(book)) .. ' ' .. text(book.S))
  call('PEXPIRE', KEYS[i + 1], ttl)
  call('PEXPIRE', KEYS[i], ttl)
end
"""

# ARGV: … then for each: campaign, micros, unit, budget, received
_DRAW = """
local id = epoch(6, 5)
if id ~= asked or missing() > 0 then return {id, missing()} end
local answer = {id, 0}
for i = 2, #KEYS, 2 do
  local a = 6 + (i / 2 - 1) * 5
  local micros, unit, received = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 4])
  local book = load(KEYS[i + 1])
  book.b = tonumber(ARGV[a + 3])
  set(book, math.max(book.d, received), book.r, book.s, book.m)
  book.u, book.f = math.max(book.u, book.f - book.t, book.M - book.H), 0
  local left, granted, knows_less = book.b - committed(book), 0, book.d > received
  if not knows_less and left > 0 then
    local sharing = book.n + 1 - holds(book.d, book.r, book.s, book.m)
    local overdrawn = math.max(0, book.s - book.m - (book.d - book.r))
    granted = math.min(micros, overdrawn + math.min(left, math.max(unit, math.floor(left / (2 * sharing)))))
    set(book, book.d + granted, book.r, book.s, book.m)
  end
  save(i, ARGV[a], book)
  answer[#answer + 1] = book.d
  answer[#answer + 1] = granted
  answer[#answer + 1] = committed(book)
  for _, known in ipairs({book.r, book.s, book.m}) do answer[#answer + 1] = knows_less and known or 0 end
end
return answer
"""

# ARGV: … then for each: campaign, and the entry: received, returned, spent, seen, moved
_REPORT = """
epoch(6, 6)
for i = 2, #KEYS, 2 do
  local a = 6 + (i / 2 - 1) * 6
  local book = load(KEYS[i + 1])
  learn(book, tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), tonumber(ARGV[a + 5]))
  save(i, ARGV[a], book)
end
"""

# ARGV: … number of expected, the expected, then as in a report
_REGISTER = """
local count = tonumber(ARGV[6])
local id = epoch(7 + count, 6)
if id ~= asked then return {id, missing()} end
local waiting = missing() > 0
for i = 2, #KEYS, 2 do
  local a = 7 + count + (i / 2 - 1) * 6
  local book = load(KEYS[i + 1])
  learn(book, tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), tonumber(ARGV[a + 5]))
  if waiting then book.f = math.max(book.f, tonumber(ARGV[a + 4])) end
  save(i, ARGV[a], book)
end
for i = 7, 6 + count do
  if call('HEXISTS', KEYS[1], 'x:' .. ARGV[i]) == 0 then
    call('HSET', KEYS[1], 'x:' .. ARGV[i], 0, 'm', tonumber(call('HGET', KEYS[1], 'm') or 0) + 1)
  end
end
if call('HGET', KEYS[1], 'x:' .. holder) == '0' then
  call('HSET', KEYS[1], 'x:' .. holder, 1, 'm', missing() - 1)
end
return {id, missing()}
"""


def open_ledger(settings: Settings) -> RedisLedger:
    """Make the ledger that the configuration names; connects on first use."""
    ttl_ms = max(settings.redis.state_ttl_ms, _SHORTEST_TTL_MS)
    return RedisLedger(connect(settings.redis), prefix=settings.app, ttl_ms=ttl_ms)


class RedisLedger:
    """Keeps budgets in Redis or Valkey, single or cluster.

    Parameters
    ----------
    prefix
        Put before every key; the app's name.
    ttl_ms
        Time to live of every key since it was last written; three days at least.
    """

    def __init__(self, client: Client, *, prefix: str, ttl_ms: int) -> None:
        if ttl_ms < _SHORTEST_TTL_MS:
            raise ValueError(f"Expected ttl_ms of at least {_SHORTEST_TTL_MS}, got {ttl_ms}")
        self._client = client
        self._prefix = prefix
        self._ttl_ms = ttl_ms
        self._draw = Script(client, _COMMON + _DRAW)
        self._report = Script(client, _COMMON + _REPORT)
        self._register = Script(client, _COMMON + _REGISTER)

    def _key(self, rest: str) -> str:
        return f"{self._prefix}:{{budgets}}:{rest}"

    def _keys(self, places: Iterable[CampaignDay]) -> list[str]:
        keys = [self._key("epoch")]
        for campaign, day in places:
            keys += (self._key(f"d:{day}"), self._key(f"c:{day}:{campaign}"))
        return keys

    def _arguments(self, holder: str, epoch: str) -> list[str | int]:
        return [uuid.uuid4().hex, self._ttl_ms, holder, epoch, int(holder.startswith(HTTP_HOLDER))]

    async def draw(self, holder: str, epoch: str, wants: Mapping[CampaignDay, Want]) -> Draw:
        arguments = self._arguments(holder, epoch)
        for place, want in wants.items():
            check_amounts(place, want)
            arguments += (place.campaign, *want)
        found, missing, *numbers = await self._draw(self._keys(wants), arguments)
        drawn = {}
        for (place, want), (total, granted, committed, *known) in zip(
            wants.items(), zip(*[iter(numbers)] * 6, strict=True), strict=False
        ):
            drawn[place] = Drawn(total, granted, committed, max(0, want.budget - committed), *known)
        return Draw(found.decode(), missing, drawn)

    async def report(self, holder: str, entries: Mapping[CampaignDay, Entry]) -> None:
        arguments = self._arguments(holder, "")
        for place, entry in entries.items():
            check_amounts(place, entry)
            arguments += (place.campaign, *entry)
        await self._report(self._keys(entries), arguments)

    async def register(
        self, holder: str, epoch: str, entries: Mapping[CampaignDay, Entry], *, expected: Collection[str]
    ) -> Draw:
        arguments = [*self._arguments(holder, epoch), len(expected), *expected]
        for place, entry in entries.items():
            check_amounts(place, entry)
            arguments += (place.campaign, *entry)
        found, missing = await self._register(self._keys(entries), arguments)
        return Draw(found.decode(), missing, {})

    async def spent_total(self, campaign: str, day: str) -> int:
        with faults():
            (spent,) = await self._client.hmget(self._key(f"c:{day}:{campaign}"), ["S"])
        return int(spent or 0)

    async def totals(self, day: str) -> dict[str, Totals]:
        with faults():
            found = await self._client.hgetall(self._key(f"d:{day}"))
        return {campaign.decode(): Totals(*map(int, numbers.split())) for campaign, numbers in found.items()}

    async def close(self) -> None:
        await self._client.aclose()
