"""Who may ask what over HTTP: bearer tokens, and pages of which origins.

Health is for everybody, and so is the dashboard's page, which is empty. Without tokens everything else is for this
machine only: an address that others can reach needs tokens for the API under `/v1/`.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from streams.sections import WorkerSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OPEN = ("/healthz", "/readyz", "/")
# The dashboard's page and what it loads, by which it asks for a token; there is no data in them.
OPEN_ASSETS = "/assets/"
API = "/v1/"
# A beacon cannot carry headers; RFC 6750, section 2.3.
BY_QUERY = "/v1/events"
_REMEMBERED_S = 600


def refused(status: int, why: str, **headers: str) -> web.Response:
    """Say what is wrong, as JSON."""
    return web.Response(
        status=status, body=orjson.dumps({"error": why}), content_type="application/json", headers=headers
    )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("scores.example")
    (True, True, False, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Decides about each request before it is read."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._tokens = [_bytes(one) for one in settings.http_token_list]
        self._origins = frozenset(settings.http_origin_list)
        self._alone = is_loopback(settings.http_host)

    @property
    def middlewares(self) -> list[Middleware]:
        """What aiohttp is to run around every handler."""
        return [self._across_origins, self._checked]

    @web.middleware
    async def _across_origins(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let pages of the declared origins ask; see the Fetch standard, CORS protocol."""
        origin = request.headers.get(hdrs.ORIGIN)
        allowed = origin is not None and ("*" in self._origins or origin in self._origins)
        own = origin is None or origin.partition("://")[2] == request.host
        if not allowed and not own:  # a page from elsewhere, in the browser of somebody who may
            return refused(403, "Pages of this origin may not ask; see `worker.http_origins`")
        preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        answer = web.Response(status=204) if preflight else await handler(request)
        if self._origins:
            answer.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if allowed:
            answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = str(origin)
            if preflight:
                answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST"
                answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "authorization, content-type"
                answer.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(_REMEMBERED_S)
        return answer

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _OPEN and not request.path.startswith(OPEN_ASSETS):
            if self._tokens and not self._knows(request):
                return refused(401, "Expected `Authorization: Bearer TOKEN`", **{hdrs.WWW_AUTHENTICATE: "Bearer"})
            if not self._tokens and not self._alone and request.path.startswith(API):
                return refused(403, "Without STREAMSCORE_WORKER_HTTP_TOKENS the API listens on loopback addresses only")
        try:
            return await handler(request)
        except web.HTTPException as error:
            headers = {hdrs.ALLOW: error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else {}
            return refused(error.status, error.reason, **headers)

    def _knows(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.query.get("access_token", "") if request.path == BY_QUERY else ""
        given = _bytes(token.strip())
        return any(hmac.compare_digest(given, known) for known in self._tokens)


def _bytes(token: str) -> bytes:
    return token.encode(errors="backslashreplace")  # of a header that was no UTF-8
