"""Runs the breakages, several deployments at a time, and makes the table."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from kafka_cluster import KafkaCluster
from msgspec import Struct

from faults.breakages import BREAKAGES, by_name
from faults.trial import Delivery, Trial
from streams.embedded import EmbeddedKafka

# Beyond the group's session: the start of a process, the joining and the first batch. The embedded broker holds a join
# up for about another session.
RECOVERY_MARGIN_S = 5.0
SESSIONS = {"kafka": 1, "embedded": 2}
HEADINGS = ("breakage", "broker", "delivery", "runs", "lost", "duplicates", "state", "model", "recovery s")


class Place(NamedTuple):
    """Where a breakage is tried."""

    breakage: str
    broker: str
    delivery: Delivery


class Outcome(Struct):
    """What a trial, or all trials of a row, came to."""

    runs: int = 0
    events: int = 0
    lost: int = 0
    duplicates: int = 0
    state_equal: bool = True
    model_equal: bool = True
    recoveries_s: list[float] = []
    remarks: list[str] = []

    def add(self, other: Outcome) -> None:
        self.runs += other.runs
        self.events += other.events
        self.lost += other.lost
        self.duplicates += other.duplicates
        self.state_equal &= other.state_equal
        self.model_equal &= other.model_equal
        self.recoveries_s = self.recoveries_s + other.recoveries_s
        self.remarks = self.remarks + other.remarks


# Deployments that all start at the same moment starve two cores, and what is killed then recovers late.
_APART_S = 12.0


def run_trial(where: Place, seed: int, shared_kafka: str | None, after_s: float) -> Outcome:
    """Run one deployment through a breakage, and judge it; `after_s` is how long to wait before."""
    time.sleep(after_s)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of an absent broker it tells all, many times a second
    breakage = by_name(where.breakage)
    with contextlib.ExitStack() as stack:
        broker: EmbeddedKafka | KafkaCluster | None = None
        bootstrap = shared_kafka or ""
        if where.broker == "embedded":
            broker = stack.enter_context(EmbeddedKafka())
        elif breakage.own_nodes:
            broker = stack.enter_context(KafkaCluster(breakage.own_nodes))
        if broker is not None:
            bootstrap = broker.bootstrap_servers
        trial = Trial(
            bootstrap,
            lambda: breakage.stream(5 + seed),
            broker=broker,
            name=f"fault-{BREAKAGES.index(breakage)}-{where.delivery}-{seed}",
            seed=seed,
            delivery=where.delivery,
            session_s=breakage.session_s,
            replication=breakage.own_nodes or 1,
            variables=breakage.variables,
        )

        def break_it(trial: Trial) -> None:
            for _ in range(breakage.runs):
                breakage.break_it(trial)

        try:
            verdict = trial.run(break_it)
        except Exception:
            failed = traceback.format_exc()
            return Outcome(breakage.runs, 0, 0, 0, False, False, [], [failed])
        return Outcome(
            breakage.runs,
            verdict.events,
            verdict.lost,
            verdict.duplicates,
            verdict.state_equal,
            verdict.model_equal,
            trial.recoveries_s(),
            verdict.remarks,
        )


def places(wanted: Sequence[str], brokers: Sequence[str]) -> Iterator[Place]:
    for one in BREAKAGES:
        if not wanted or any(words in one.name for words in wanted):
            for broker in one.brokers:
                for delivery in one.deliveries:
                    if broker in brokers and (broker, delivery) != ("embedded", "exactly_once"):
                        yield Place(one.name, broker, delivery)


def in_order(rows: Sequence[Place]) -> Iterator[Place]:
    """Spread those with several nodes of Kafka, four of which at once starve two cores; rows of many come last."""
    by_lanes = sorted(rows, key=lambda one: by_name(one.breakage).lanes)  # they fill the gaps at the end
    large = [one for one in by_lanes if by_name(one.breakage).own_nodes > 1]
    others = [one for one in by_lanes if one not in large]
    apart = max(1, len(others) // (len(large) + 1))
    for number, one in enumerate(others):
        if large and number % apart == 0:
            yield large.pop()
        yield one
    yield from large


def run_all(wanted: Sequence[str], brokers: Sequence[str], *, at_once: int, seed: int, report: Path) -> bool:
    """Run, print the table row by row, and write it; return whether every promise was kept."""
    rows = list(places(wanted, brokers))
    found: dict[Place, Outcome] = {where: Outcome() for where in rows}
    left = {where: by_name(where.breakage).lanes for where in rows}
    started = time.monotonic()
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}", flush=True)
    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(KafkaCluster(1)).bootstrap_servers if "kafka" in brokers else None
        context = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1))
        lanes = [(where, lane) for where in in_order(rows) for lane in range(by_name(where.breakage).lanes)]
        trials: dict[Future[Outcome], Place] = {
            pool.submit(run_trial, where, seed + lane, kafka, number * _APART_S if number < at_once else 0.0): where
            for number, (where, lane) in enumerate(lanes)
        }
        for done in as_completed(trials):
            where = trials[done]
            found[where].add(done.result())
            for remark in done.result().remarks[:5]:
                print(f"{' · '.join(where)}: {remark[:4000]}", file=sys.stderr, flush=True)
            left[where] -= 1
            if not left[where]:
                print(line(where, found[where]), flush=True)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps([row(where, found[where]) for where in rows], indent=1) + "\n")
    broken = [where for where in rows if not kept(where, found[where])]
    for where in broken:
        print(f"\nBROKEN: {' · '.join(where)}")
    print(f"\n{len(rows) - len(broken)} of {len(rows)} kept, in {(time.monotonic() - started) / 60:.0f} min; {report}")
    return not broken


def kept(where: Place, outcome: Outcome) -> bool:
    """Whether a row is what is promised."""
    # At least once, what is sent again can be there twice; but of a zombie there must be nothing at all.
    may_repeat = where.delivery == "at_least_once" and not where.breakage.startswith("pause")
    once = may_repeat or outcome.duplicates == 0
    limit_s = SESSIONS[where.broker] * by_name(where.breakage).session_s + RECOVERY_MARGIN_S
    # A kill that was followed by another one before an event was scored has no recovery of its own; not all can be so.
    in_time = not where.breakage.startswith("kill") or max(outcome.recoveries_s, default=math.inf) <= limit_s
    return not outcome.lost and outcome.state_equal and outcome.model_equal and once and in_time


def row(where: Place, outcome: Outcome) -> dict[str, Any]:
    recoveries = outcome.recoveries_s
    return {
        "breakage": where.breakage,
        "broker": where.broker,
        "delivery": where.delivery,
        "runs": outcome.runs,
        "events": outcome.events,
        "lost": outcome.lost,
        "duplicates": outcome.duplicates,
        "state_equal": outcome.state_equal,
        "model_equal": outcome.model_equal,
        "recovery_s": max(recoveries, default=None),
        "recovery_median_s": median(recoveries) if recoveries else None,
        "session_s": by_name(where.breakage).session_s,
    }


def line(where: Place, outcome: Outcome) -> str:
    recoveries = outcome.recoveries_s
    took = f"{median(recoveries):.1f}, at most {max(recoveries):.1f}" if recoveries else "-"
    equal = ["equal" if one else "DIFFERS" for one in (outcome.state_equal, outcome.model_equal)]
    return f"| {' | '.join([*where, *map(str, (outcome.runs, outcome.lost, outcome.duplicates)), *equal, took])} |"
