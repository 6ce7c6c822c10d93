"""The HTTP API under `/v1/`: what a site sends and asks.

Bodies are JSON whatever their content type says, because a beacon says `text/plain`. `event_id` and `ts` are filled in
where they are missing. What is wrong is answered with 400 and why; 503 means that Kafka or Redis is away, or that too
much is asked at once: ask again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from aiohttp import hdrs, web
from msgspec import Raw, Struct

import schemas
from schemas.api import (
    AT_ONCE,
    LOGGED,
    CampaignsAnswer,
    EventsAnswer,
    LookalikesBody,
    ModelsAnswer,
    ModelState,
    RefusedEvent,
    ScoreFound,
)
from schemas.codec import BadRecord, decode_event, encode_json
from schemas.dead_letters import INVALID, NOT_JSON, TOO_DEEP, UNKNOWN_TYPE
from schemas.events import SYSTEM_EVENTS, BidRequest, EventBase, PageView, RankRequest
from streams.output import KafkaOutput
from streams.replay.published import NoSuchScore, parse_score_id, published_score, record_at
from streams.replay.spec import SpecError
from streams.stores import Unavailable
from streams.web.access import refused
from streams.web.answers import Answers, NoSuchRanking
from streams.web.audience import NoSegments
from streams.web.bidding import NoBidding

if TYPE_CHECKING:
    from streams.app import Worker

MOST_BODY_BYTES = 1 << 20
MOST_EVENTS = 500
# A body of the largest size over a slow line; whoever takes longer gets 408.
_BODY_S = 10.0
# So many times as many requests as may be under way may still be sending their bodies.
_READING = 4
# Finding a score means to read `scores` from its event's time on.
_SEARCH_S = 5.0


class Api:
    """Handlers of the routes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._max_event_bytes = worker.settings.worker.max_event_bytes
        self._most_at_once = worker.settings.worker.http_most_at_once
        # Not the worker's: what a site sends has nothing to do with our place in the group, nor with transactions.
        self._output = KafkaOutput(worker.settings)
        self._answers: Answers | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [
            web.post("/v1/events", self._guarded(self._events)),
            web.post("/v1/rank", self._guarded(self._rank)),
            web.post("/v1/bid", self._guarded(self._bid)),
            web.get("/v1/campaigns", self._guarded(self._campaigns)),
            web.post("/v1/score", self._guarded(self._score)),
            web.get("/v1/scores/{score_id}", self._guarded(self._published)),
            web.get("/v1/users/{user_id}/features", self._guarded(self._features)),
            web.get("/v1/segments", self._guarded(self._segments)),
            web.post("/v1/lookalikes", self._guarded(self._lookalikes)),
            web.get("/v1/models", self._guarded(self._models)),
            web.get("/openapi.json", self._document),
        ]

    async def refill(self) -> None:
        """Draw what bids will need; while the ledger is away, what is held is used up."""
        if self._worker.settings.bidding is None or not self._worker.started:
            return
        with contextlib.suppress(Unavailable):
            await (await self._ready()).bidder.refill()

    async def campaigns(self) -> CampaignsAnswer:
        """Return how the campaigns stand today; raises Unavailable and NoBidding."""
        return await (await self._ready()).bidder.campaigns()

    @property
    def ledger_open(self) -> bool:
        """Whether the ledger granted, or would have, when bids over HTTP last drew from it."""
        return self._answers is not None and self._answers.bidder.purse.is_ready

    async def stop(self) -> None:
        """Write what was answered, give back what is not used, and let go of the connection."""
        if self._answers is not None:
            await self._answers.stop()
        await self._output.stop()

    def _guarded(self, handler: Any) -> Any:
        under_way = reading = 0

        async def guarded(request: web.Request) -> web.Response:
            nonlocal under_way, reading
            if under_way >= self._most_at_once or reading >= _READING * self._most_at_once:
                return refused(503, f"{under_way} such requests are under way already", **{hdrs.RETRY_AFTER: "1"})
            reading += 1  # whoever takes his time for it takes nobody's place
            try:
                async with asyncio.timeout(_BODY_S):
                    await request.read()
            except TimeoutError:
                return refused(408, f"The body did not come within {_BODY_S:g} s")
            finally:
                reading -= 1
            if under_way >= self._most_at_once:
                return refused(503, f"{under_way} such requests are under way already", **{hdrs.RETRY_AFTER: "1"})
            under_way += 1
            try:
                return await handler(request)  # type: ignore[no-any-return]
            except BadRecord as bad:
                return refused(400, f"{bad.reason}: {bad.detail}")
            except (NoSuchRanking, NoSegments, NoBidding) as error:
                return refused(400, str(error))
            except Unavailable:
                return refused(
                    503, "Kafka or Redis is away, or the worker has just been started", **{hdrs.RETRY_AFTER: "1"}
                )
            finally:
                under_way -= 1

        return guarded

    async def _ready(self) -> Answers:
        if self._answers is None:
            worker = self._worker
            partitions = worker.partitions.get(worker.settings.topics.events.name)
            if partitions is None:
                raise Unavailable("the worker is starting")
            await self._output.start()
            self._answers = Answers(
                worker.settings,
                worker.store,
                worker.replicas,
                self._output,
                partitions=partitions,
                feed=worker.campaigns,
                ledger=worker.ledger,
                attempt=worker.attempt,
            )
        return self._answers

    def _event(self, declared: Any, **filled: Any) -> tuple[Any, bytes]:
        """Decode an event that came as JSON; return it and what goes into the log. Raises BadRecord."""
        if not isinstance(declared, dict):
            raise BadRecord(INVALID, "Expected an object, or a list of objects")
        now_ms = time.time_ns() // 1_000_000
        ts = self._stream_time_ms() if self._worker.settings.worker.site else now_ms
        try:
            value = orjson.dumps({"event_id": uuid.uuid4().hex, "ts": ts or now_ms, **declared, **filled})
        except TypeError:  # it was JSON, so what it cannot write is the depth
            raise BadRecord(TOO_DEEP, "Expected a flat object, got deeply nested JSON") from None
        event = decode_event(value, record_ts_ms=now_ms, max_bytes=self._max_event_bytes)
        if isinstance(event, SYSTEM_EVENTS):
            raise BadRecord(UNKNOWN_TYPE, f"{event.type!r} is written by workers only")
        if isinstance(event, RankRequest | BidRequest) and event.answered is not None:
            raise BadRecord(INVALID, "Expected no `answered`: the API itself writes it")
        return event, value

    def _stream_time_ms(self) -> int:
        return max((session.core.stream_time_ms for session in self._worker.sessions.values()), default=0)

    async def _events(self, request: web.Request) -> web.Response:
        body = await _body(request)
        declared = body if isinstance(body, list) else [body]
        if len(declared) > MOST_EVENTS:
            return refused(413, f"Expected at most {MOST_EVENTS} events, got {len(declared)}")
        taken, bad = [], []
        for number, one in enumerate(declared):
            try:
                event, value = self._event(one)
                taken.append((event.user_id, value))
            except BadRecord as error:
                bad.append(RefusedEvent(event=number, reason=error.reason, detail=error.detail))
        if taken:
            await (await self._ready()).publish(taken)
        return _json(EventsAnswer(accepted=len(taken), refused=bad), status=202 if taken or not bad else 400)

    async def _rank(self, request: web.Request) -> web.Response:
        answer = request.query.get("answer", LOGGED)
        if answer not in (LOGGED, AT_ONCE):
            raise BadRecord(INVALID, f"Expected `answer` to be `{LOGGED}` or `{AT_ONCE}`, got {answer!r}")
        event, _ = self._event(await _body(request), type=RankRequest.type)
        return _json(await (await self._ready()).rank(event, at_once=answer == AT_ONCE))

    async def _bid(self, request: web.Request) -> web.Response:
        event, _ = self._event(await _body(request), type=BidRequest.type)
        return _json(await (await self._ready()).bid(event))

    async def _campaigns(self, _: web.Request) -> web.Response:
        return _json(await self.campaigns())

    async def _score(self, request: web.Request) -> web.Response:
        event, _ = self._event(await _body(request))
        return _json(await (await self._ready()).score(event))

    async def _published(self, request: web.Request) -> web.Response:
        settings = self._worker.settings
        try:
            async with asyncio.timeout(_SEARCH_S):
                place = parse_score_id(request.match_info["score_id"])
                if place.topic != settings.topics.events.name or place.number:
                    raise NoSuchScore(f"Expected a score of {settings.topics.events.name}, such as on `scores`")
                trigger = await record_at(place, settings)
                score = await published_score([place.score_id(place.name)], trigger, settings, from_start=False)
        except (NoSuchScore, SpecError) as error:
            return refused(404, str(error))
        except TimeoutError:
            return refused(503, f"Not found within {_SEARCH_S:g} s; `streamscore audit` takes the time that it needs")
        return _json(ScoreFound(score=score, event=Raw(trigger.value or b"{}")))

    async def _features(self, request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        event, _ = self._event({"type": PageView.type, "user_id": user_id})
        # Of no type: what is asked is how long ago the last page view was, not what the next one would be.
        now = EventBase(event_id=event.event_id, user_id=user_id, ts=event.ts)
        found = await (await self._ready()).features(user_id, now)
        return refused(404, "Nothing is known of this visitor") if found is None else _json(found)

    async def _segments(self, _: web.Request) -> web.Response:
        return _json((await self._ready()).audience.segments())

    async def _lookalikes(self, request: web.Request) -> web.Response:
        try:
            body = msgspec.convert(await _body(request), LookalikesBody)
        except msgspec.ValidationError as error:
            raise BadRecord(INVALID, str(error)) from None
        return _json(await (await self._ready()).audience.lookalikes(body.seed, body.users))

    async def _models(self, _: web.Request) -> web.Response:
        worker = self._worker
        models = []
        for objective in worker.settings.objectives:
            served = worker.replicas.served.get(objective.name)
            for name, variant in objective.variants.items():
                replica = worker.replicas[variant.name]
                models.append(
                    ModelState(
                        objective=objective.name,
                        variant=name,
                        served=name == (served.variant if served else ""),
                        model=replica.name,
                        model_version=replica.version,
                        lineage=replica.lineage,
                    )
                )
        return _json(ModelsAnswer(models=models))

    async def _document(self, _: web.Request) -> web.Response:
        return web.Response(
            body=(files(schemas) / "json" / "openapi.json").read_bytes(), content_type="application/json"
        )


async def _body(request: web.Request) -> Any:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise BadRecord(NOT_JSON, str(error)) from None


def _json(content: Struct, *, status: int = 200) -> web.Response:
    return web.Response(body=encode_json(content), status=status, content_type="application/json")
