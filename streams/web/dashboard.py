"""The dashboard's page, and what it shows as JSON.

The page and its parts are files, the same for everybody. What they draw comes from `/dashboard.json`, which wants what
`/status` wants. Nothing is loaded from elsewhere, and no script runs but these files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import hdrs, web

import streams.web
from online_models.crowd import CROWD
from online_models.segments import described
from streams.web.access import OPEN_ASSETS, refused

if TYPE_CHECKING:
    from streams.app import Worker

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_ASSETS = ("dashboard.css", "dashboard.js", "charts.js", "uplot/uPlot.iife.min.js", "uplot/uPlot.min.css")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DashboardPage:
    """Handlers of the routes.

    Parameters
    ----------
    not_ready
        Tells why the worker is not ready, None when it is.
    """

    def __init__(self, worker: Worker, not_ready: Callable[[], str | None]) -> None:
        self._worker = worker
        self._not_ready = not_ready
        self._files = {"/": _file("dashboard.html"), **{OPEN_ASSETS + name: _file(name) for name in _ASSETS}}

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [*(web.get(path, self._page) for path in self._files), web.get("/dashboard.json", self._document)]

    async def _page(self, request: web.Request) -> web.Response:
        body, content_type = self._files[request.path]
        headers = {
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            hdrs.CACHE_CONTROL: "no-cache",
        }
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    async def _document(self, request: web.Request) -> web.Response:
        try:
            since_s = float(request.query.get("since", "0"))
        except ValueError:
            return refused(400, "Expected `since` to be a time in seconds, such as the last `t` of the points")
        worker = self._worker
        told = {
            **worker.dashboard.document(time.time(), since_s),
            "app": worker.settings.app,
            "role": worker.settings.worker.role,
            "not_ready": self._not_ready(),
            "lag": worker.lag_of_events(),
            "open_attributions": sum(session.core.open_count for session in worker.sessions.values()),
            "partitions": sorted(str(session.partition) for session in worker.sessions.values()),
            "models": self._models(),
            "segments": self._segments(),
            "bidding": worker.campaign_watch.document() if worker.campaign_watch else None,
        }
        return web.Response(
            body=orjson.dumps(told), content_type="application/json", headers={hdrs.CACHE_CONTROL: "no-store"}
        )

    def _segments(self) -> list[dict[str, Any]]:
        segments = self._worker.settings.features.segments
        if segments is None:
            return []
        crowd = self._worker.replicas[CROWD].weights  # type: ignore[attr-defined]  # features with segments have one
        return [
            {"id": one.id, "name": one.name, "share": one.share, "size": one.size} for one in described(segments, crowd)
        ]

    def _models(self) -> list[dict[str, Any]]:
        replicas = self._worker.replicas
        found = []
        for objective in self._worker.settings.objectives:
            served = replicas.served.get(objective.name)
            found += [
                {
                    "objective": objective.name,
                    "variant": name,
                    "served": name == (served.variant if served else ""),
                    "model": replicas[variant.name].name,
                    "version": replicas[variant.name].version,
                }
                for name, variant in objective.variants.items()
            ]
        return found


def _file(name: str) -> tuple[bytes, str]:
    return (files(streams.web) / "pages" / name).read_bytes(), _TYPES["." + name.rpartition(".")[2]]
