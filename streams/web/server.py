"""The worker's HTTP side: is it alive, is it ready, what does it do.

- `/healthz`: the process answers. 200 while it should be left alone, 503 once it is ending with an error.
- `/readyz`: 200 when partitions are assigned and their offsets move, or nothing waits; else 503 and why.
- `/metrics`: Prometheus. `/status`: the same for people and for the demo, as JSON.
- `/`: the dashboard, `streams.web.dashboard`.
- `/site`: in the demo, a page that uses the API.
- `/v1/…`: the API for sites, `streams.web.api`; who may use it, `streams.web.access`.

Bound to loopback unless told otherwise: `/status` shows recent scores.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from online_models.bidding.market import MARKET
from online_models.crowd import CROWD
from streams.web import site
from streams.web.access import Access
from streams.web.api import MOST_BODY_BYTES, Api
from streams.web.dashboard import DashboardPage

if TYPE_CHECKING:
    from streams.app import Worker

# Readiness asks sooner than the worker gives up: a load balancer may turn away, a restart costs more.
_NOT_PROGRESSING_S = 15.0
# Connections that wait to be taken; with fewer places a burst of visitors is refused before we can say why.
_BACKLOG = 1024


class WebServer:
    """Serves the worker's state."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._access = Access(worker.settings.worker)
        self.api = Api(worker)
        self._runner: web.AppRunner | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Listen on the configured address; port 0 takes a free one."""
        settings = self._worker.settings.worker
        app = web.Application(client_max_size=MOST_BODY_BYTES, middlewares=self._access.middlewares)
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/status", self._status),
                *DashboardPage(self._worker, self.not_ready).routes(),
                *self.api.routes(),
                *(site.routes() if settings.site else ()),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        listening = web.TCPSite(
            self._runner, settings.http_host, settings.http_port, shutdown_timeout=1.0, backlog=_BACKLOG
        )
        await listening.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self.api.stop()

    async def _healthz(self, _: web.Request) -> web.Response:
        failure = self._worker.failure
        if failure is not None:
            return _json({"status": "failing", "why": type(failure).__name__}, status=503)
        return _json({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        why = self.not_ready()
        if why is not None:
            return _json({"status": "not ready", "why": why}, status=503)
        return _json({"status": "ready"})

    def not_ready(self) -> str | None:
        """Return why the worker is not ready, None when it is."""
        worker = self._worker
        if worker.failure is not None:
            return "the worker is ending with an error"
        steps = worker.telemetry.waits.steps
        waits = f"; it waits to {', '.join(steps)}" if steps else ""
        if not worker.started:
            return ("the worker is starting" if worker.consumes or waits else "the models are being read") + waits
        if worker.taking_since is not None:
            return "partitions are being taken up" + waits
        if not worker.consumes:
            return None
        if not worker.sessions and not worker.learners:
            outside = worker.group.why_outside
            return "no partitions are assigned" + (f": {outside}" if outside else "")
        stuck = worker.transport.stalled(time.monotonic(), _NOT_PROGRESSING_S)
        if stuck:
            return "no progress on " + ", ".join(f"{tp.topic}[{tp.partition}]" for tp in stuck) + waits
        return None

    async def _metrics(self, _: web.Request) -> web.Response:
        body = self._worker.telemetry.exposition()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _status(self, _: web.Request) -> web.Response:
        worker = self._worker
        return _json(
            {
                "version": version("streamscore"),
                **worker.telemetry.snapshot(),
                "ready": self.not_ready() is None,
                "partitions": sorted(str(session.partition) for session in worker.sessions.values()),
                "lag": worker.lag_of_events(),
                "open_attributions": sum(session.core.open_count for session in worker.sessions.values()),
                "models": {
                    name: {"name": replica.name, "version": replica.version}
                    for name, replica in worker.replicas.items()
                    if name not in (CROWD, MARKET)
                },
                "crowd_version": worker.replicas[CROWD].version if CROWD in worker.replicas else None,
                "market_version": worker.replicas[MARKET].version if MARKET in worker.replicas else None,
                "bidding": worker.campaign_watch.status() if worker.campaign_watch else None,
                "served": {name: served.variant for name, served in worker.replicas.served.items() if served.number},
            }
        )


def _json(content: dict[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
