"""How fast the HTTP API answers while events flow; `make bench-http`.

    make bench-http ARGS="[--rate 200] [--seconds 15] [--events-per-s 500] [--roles all serving] [--json FILE]"
    make bench-http ARGS="--topic --gather 0 [--bids-per-s 100]"

A worker that scores and learns, and one that answers, on the configuration `shop`. Requests come at a steady rate,
whether the ones before were answered or not, and each is timed from the moment at which it was due. Broker, store,
workers and this client share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import uvloop
import yaml
from aiokafka import AIOKafkaProducer
from exchange import Exchange

from benchmarks.deployment import ROOT, Failed, Process, Servers, create, create_ours, our_environment, running_servers
from benchmarks.http_client import Client
from benchmarks.peers.workload import PARTITIONS
from schemas.codec import encode_json
from streams.configs import shipped_config
from streams.embedded import free_port
from streams.output import partition_for_key
from streams.settings import Settings, load_settings
from streams.simulate import Shop

TOKEN = "token-of-the-benchmark"
CANDIDATES, CAMPAIGNS, VISITORS, LEARN_FIRST, READY_S = 100, 20, 500, 5_000, 40.0
_WARM_UP_S = 2.0

Request = tuple[str, str, Any]


def requests(rng: random.Random) -> dict[str, Callable[[], Request]]:
    """Return what is asked of each route: method, path, body."""

    def visitor() -> str:
        return f"visitor-{rng.randrange(VISITORS)}"

    def item() -> dict[str, Any]:
        number = rng.randrange(2_000)
        return {"item_id": f"item-{number}", "category": f"category-{number % 20}", "price": 5 + number % 90}

    def candidates() -> dict[str, Any]:
        return {"user_id": visitor(), "candidates": [item() for _ in range(CANDIDATES)]}

    return {
        "POST /v1/events, 1 event": lambda: ("POST", "/v1/events", {"type": "click", "user_id": visitor(), **item()}),
        "POST /v1/score": lambda: ("POST", "/v1/score", {"type": "impression", "user_id": visitor(), **item()}),
        "GET /v1/users/…/features": lambda: ("GET", f"/v1/users/{visitor()}/features", None),
        "GET /v1/models": lambda: ("GET", "/v1/models", None),
        f"POST /v1/rank, {CANDIDATES} candidates": lambda: ("POST", "/v1/rank", candidates()),
        f"POST /v1/rank?answer=at_once, {CANDIDATES}": lambda: ("POST", "/v1/rank?answer=at_once", candidates()),
        f"POST /v1/bid, {CAMPAIGNS} campaigns": lambda: (
            "POST", "/v1/bid", {"user_id": visitor(), "floor": 0.5, "device": "mobile", "country": "de"}
        ),
    }  # fmt: skip


def bidding() -> dict[str, Any]:
    """Return a section that lets campaigns bid for every impression; half pay their bid, a third pay for orders."""
    campaigns = {}
    for number in range(CAMPAIGNS):
        pays = {"value_per_conversion": 9.0 + number} if number % 3 == 0 else {"value_per_click": 0.2 + number / 100}
        campaigns[f"campaign-{number}"] = {
            "budget_per_day": 10_000,
            "item_id": f"item-{number}",
            "category": f"category-{number % 20}",
            "auction": "first" if number % 2 else "second",
            **pays,
        }
    return {"click": "click", "conversion": "purchase", "slices": ["hour_of_day"], "campaigns": campaigns}


async def steady(url: str, ask: Callable[[], Request], rate: float, seconds: float) -> dict[str, float]:
    """Ask at a steady rate; return requests/s and percentiles of the time to the answer, in ms."""
    client = Client(url, {"Authorization": f"Bearer {TOKEN}"})
    asked = [client.request(*ask()) for _ in range(int(rate * seconds))]
    waited: list[float] = []
    wrong: list[bytes] = []

    async def one(request: bytes, due: float) -> None:
        status, body = await client.send(request)
        if status >= 400 and status != 404:
            wrong.append(body)
        waited.append((time.perf_counter() - due) * 1000)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(asked):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(request, due))
    took = time.perf_counter() - started
    client.close()
    if wrong:
        raise Failed(f"{len(wrong)} of {len(waited)} requests were refused: {wrong[0].decode()}")
    p50, p95, p99 = np.percentile(waited, [50, 95, 99])
    return {"requests_per_s": round(len(waited) / took, 1), "p50": p50, "p95": p95, "p99": p99}


async def on_topic(settings: Settings, per_s: float, seconds: float) -> dict[str, Any]:
    """Hold auctions over the topics, with notices; return percentiles from a request's append to its bid's, in ms."""
    await Exchange(settings, users=VISITORS, seed=2).run(int(per_s * _WARM_UP_S), per_s)
    exchange = Exchange(settings, users=VISITORS)
    await exchange.run(int(per_s * seconds), per_s)
    p50, p95, p99 = np.percentile(exchange.latencies_ms, [50, 95, 99])
    return {"requests_per_s": per_s, "p50": p50, "p95": p95, "p99": p99, "outcomes": dict(exchange.outcomes)}


def _show(name: str, figures: Mapping[str, Any]) -> None:
    shares = ", ".join(f"{role} {share:.0%}" for role, share in figures.get("cpu_share", {}).items())
    print(
        f"{name:38}{figures['requests_per_s']:6.0f}/s   p50 {figures['p50']:6.1f}  p95 {figures['p95']:6.1f}  "
        f"p99 {figures['p99']:6.1f} ms{f'   of a core: {shares}' if shares else ''}",
        flush=True,
    )


def _of_now(event: Any) -> Any:
    event.ts = int(time.time() * 1000)  # requests are; the shop's own times would be a day behind them
    return event


async def flow(servers: Servers, topic: str, events: Iterator[Any], per_s: float, count: int | None = None) -> None:
    """Write the shop's events to the log at a steady rate."""
    async with AIOKafkaProducer(bootstrap_servers=servers.kafka) as producer:
        started = time.monotonic()
        for number, event in enumerate(events):
            if number == count:
                await producer.flush()
                return
            key = event.user_id.encode()
            await producer.send(topic, encode_json(event), key=key, partition=partition_for_key(key, PARTITIONS))
            await asyncio.sleep(max(0.0, started + number / per_s - time.monotonic()) if number % 10 == 0 else 0.0)


async def ready(url: str, process: Process) -> None:
    """Wait until the worker has its partitions and has learned something."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    until = time.monotonic() + READY_S
    async with aiohttp.ClientSession(url, headers=headers) as client:
        while time.monotonic() < until and not process.ended:
            try:
                async with client.get("/v1/models") as answer:
                    models = (await answer.json())["models"]
                    if any(one["objective"] == "click" and one["model_version"] for one in models):
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise Failed(f"the worker did not get ready\n{process.last_words}")


async def measured(given: argparse.Namespace, servers: Servers, folder: Path) -> dict[str, Any]:
    """Run a worker, let events flow, and ask each route in turn."""
    app, source, port = "http", "http.events", free_port()
    await create(servers, (source, PARTITIONS))
    await create_ours(servers, app)
    await create(servers, (f"{app}.bids", PARTITIONS), (f"{app}.campaigns", 1))
    shop = yaml.safe_load(shipped_config("shop").read_text())
    processes: list[Process] = []
    try:
        for role in given.roles:
            environment = our_environment(servers, folder, source, app, role)
            config = folder / f"{role}.yaml"
            declared = yaml.safe_load(config.read_text()) | {
                key: shop[key] for key in ("features", "objectives", "rankings")
            }
            declared["features"] |= {"hour_of_day": {"hour": "categorical"}}
            declared["bidding"] = bidding()
            declared["topics"] |= {"bids": f"{app}.bids", "campaigns": f"{app}.campaigns"}
            config.write_text(yaml.safe_dump(declared))
            environment["STREAMSCORE_WORKER_HTTP_TOKENS"] = TOKEN
            if given.gather != "0":
                environment["STREAMSCORE_KAFKA_FETCH_MIN_BYTES"] = "65536"
                environment["STREAMSCORE_KAFKA_FETCH_MAX_WAIT"] = given.gather
            if role == given.roles[-1]:
                environment["STREAMSCORE_WORKER_HTTP_PORT"] = str(port)
            processes.append(Process([sys.executable, "-m", "streams.cli.main", "worker"], environment, folder))
        url = f"http://127.0.0.1:{port}"
        events = Shop(seed=7, visitors=VISITORS, start_ms=int(time.time() * 1000) - 3 * 86_400_000).events()
        await flow(servers, source, events, 1e6, LEARN_FIRST)
        await ready(url, processes[-1])
        flowing = asyncio.create_task(flow(servers, source, map(_of_now, events), given.events_per_s))
        found = {}
        for name, ask in requests(random.Random(7)).items():
            if given.topic or given.only not in name:
                continue
            await steady(url, ask, given.rate, _WARM_UP_S)
            before = [one.cpu_s() for one in processes]
            figures = found[name] = await steady(url, ask, given.rate, given.seconds)
            busy = [(one.cpu_s() or 0.0) - (then or 0.0) for one, then in zip(processes, before, strict=True)]
            asked = int(given.rate * given.seconds)
            figures["cpu_ms_per_request"] = busy[-1] / asked * 1000
            figures["cpu_share"] = {role: one / asked * given.rate for role, one in zip(given.roles, busy, strict=True)}
            _show(name, figures)
        name = f"bid_request on the topic, {CAMPAIGNS} campaigns"
        if given.topic:
            settings = load_settings(Path(environment["STREAMSCORE_CONFIG"]), environment)
            found[name] = await on_topic(settings, given.bids_per_s, given.seconds)
            _show(name, found[name])
        flowing.cancel()
        return found
    finally:
        for process in processes:
            process.kill()


async def _run(given: argparse.Namespace) -> dict[str, Any]:
    with running_servers(short_lived=True) as servers, tempfile.TemporaryDirectory() as folder:
        routes = await measured(given, servers, Path(folder))
        asked = {"roles": given.roles, "events_per_s": given.events_per_s, "gather": given.gather}
        return {"broker": servers.broker, **asked, "routes": routes}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each route")
    parser.add_argument("--topic", action="store_true", help="bid requests on the topic instead, and their notices")
    parser.add_argument("--bids-per-s", type=float, default=100.0, help="bid requests a second on the topic")
    parser.add_argument("--events-per-s", type=float, default=500.0, help="events that flow meanwhile")
    parser.add_argument("--gather", default="100ms", help="for so long the workers let events gather; 0: not at all")
    parser.add_argument("--only", default="", help="routes whose name has this in it, such as rank")
    parser.add_argument("--roles", nargs="+", default=["all", "serving"], help="of the workers; the last one is asked")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "http.json")
    given = parser.parse_args()
    result = uvloop.run(_run(given))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {given.json}")


if __name__ == "__main__":
    main()
