"""What is broken, and how: one function for each, in the order of the table."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kafka_cluster import KafkaCluster
from polling import eventually

from faults import streams
from faults.trial import Delivery, Trial, stopped

BOTH = ("embedded", "kafka")
KAFKA = ("kafka",)
EVERY: tuple[Delivery, ...] = ("at_least_once", "exactly_once")
ONCE: tuple[Delivery, ...] = ("exactly_once",)
LEAST: tuple[Delivery, ...] = ("at_least_once",)


class Breakage(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    break_it
        Runs beside the feed, once the first scores are there.
    brokers, deliveries
        Where it is tried; the embedded broker has no transactions.
    lanes, runs
        Deployments it is tried on, and how often on each of them.
    stream
        What is fed.
    own_nodes
        Nodes of an Apache Kafka for the trial alone; 0: it shares one with others.
    session_s
        The group's session timeout.
    variables
        Of the worker.
    """

    name: str
    break_it: Callable[[Trial], None]
    brokers: tuple[str, ...] = BOTH
    deliveries: tuple[Delivery, ...] = EVERY
    lanes: int = 1
    runs: int = 1
    stream: Callable[[int], Iterator[Any]] = streams.shop
    own_nodes: int = 0
    session_s: int = 6
    variables: dict[str, str] = {}


def kill_at_random(trial: Trial) -> None:
    trial.rest(0, 2.5)
    trial.mark()
    trial.kill()
    trial.start()


def kill_at(point: str, most: int) -> Callable[[Trial], None]:
    """Kill the worker when it comes to a place, and start it without that."""

    def break_it(trial: Trial) -> None:
        trial.kill(signal.SIGTERM)
        trial.let_die_at(f"{point}:{trial.chance.randint(1, most)}")
        trial.mark()
        trial.start()
        trial.rest(1, 3)

    return break_it


def kill_with_an_old_model(trial: Trial) -> None:
    """Kill the learner after a checkpoint that is ahead of what it published, and again after the next publication."""
    for point in ("checkpointed", "model_published"):
        kill_at(point, 3)(trial)


def terminate(trial: Trial) -> None:
    trial.rest(1, 3)
    trial.kill(signal.SIGTERM)
    assert trial.worker.returncode == 0
    trial.mark()
    trial.start()


def pause_the_only_worker(trial: Trial) -> None:
    trial.rest(0, 1)
    with stopped(trial.worker.pid):
        time.sleep(trial.session_s + 4)
    trial.mark()
    trial.rest(8, 9)


def pause_beside_another(trial: Trial) -> None:
    """The other worker takes over; then the paused one goes on where it was."""
    first = trial.worker
    trial.start()
    trial.rest(1, 2)
    with stopped(first.pid):
        trial.mark()
        time.sleep(trial.session_s + 5)
    trial.rest(8, 9)
    first.kill()
    first.wait()
    trial.rest(1, 2)


def join_and_leave(trial: Trial) -> None:
    first = trial.worker
    trial.mark()
    trial.start()
    trial.rest(2, 4)
    trial.mark()
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    trial.rest(1, 2)


def restart_the_store(trial: Trial) -> None:
    """It saves all that it holds, ends, and loads it again."""
    with trial.redis() as client:
        client.shutdown(save=True)
    bring_the_store_back(trial)


def set_the_store_back(trial: Trial) -> None:
    """It comes back with a copy of a moment ago, like a replica that was behind."""
    with trial.redis() as client:
        client.save()
    trial.rest(0.1, 1)
    bring_the_store_back(trial)


def bring_the_store_back(trial: Trial) -> None:
    trial.valkey.kill()
    trial.rest(0, 2)
    trial.valkey.start(trial.valkey.port)
    trial.mark()
    trial.rest(4, 5)


def lose_the_store(trial: Trial) -> None:
    trial.valkey.kill()
    trial.valkey.forget()
    bring_the_store_back(trial)


def fail_over_to_an_empty_store(trial: Trial) -> None:
    """From one moment to the next the address leads to a node that holds nothing."""
    trial.rest(0, 2)
    with trial.redis() as client:
        client.flushall()
    trial.mark()
    trial.rest(4, 5)


def fill_the_store(trial: Trial) -> None:
    with trial.redis() as client:
        client.config_set("maxmemory", 1)
        trial.rest(3, 5)
        client.config_set("maxmemory", 0)
    trial.mark()
    trial.rest(2, 3)


def hang_the_store(trial: Trial) -> None:
    with stopped(trial.valkey.pid or 0):
        time.sleep(30)
    trial.mark()
    trial.rest(2, 3)


def pause_the_broker(trial: Trial) -> None:
    """It says nothing for longer than a request waits, so what was produced times out and is produced again."""
    pid = trial.broker_pid()
    with stopped(pid):
        time.sleep(9)
    trial.mark()
    trial.rest(10, 12)


def restart_the_broker(trial: Trial) -> None:
    cluster = trial.cluster
    cluster.stop_node(0)
    trial.rest(0, 2)
    cluster.start_node(0)
    cluster.wait_until_up(0)
    trial.mark()
    trial.rest(12, 14)


def lose_a_node(trial: Trial) -> None:
    cluster = trial.cluster
    number = trial.chance.randrange(3)
    trial.mark()
    cluster.stop_node(number, kill=True)
    trial.rest(14, 16)
    cluster.start_node(number)
    eventually(lambda: alive(cluster, number), within_s=60)
    trial.rest(8, 10)


def move_leaders(trial: Trial) -> None:
    """A node that ends in order hands its partitions to others first; then it comes back, and the next one goes."""
    for number in range(2):
        trial.mark()
        trial.cluster.stop_node(number)
        trial.rest(3, 4)
        trial.cluster.start_node(number)
        eventually(lambda number=number: alive(trial.cluster, number), within_s=60)
        trial.rest(6, 8)


def alive(cluster: KafkaCluster, number: int) -> bool:
    cluster.wait_until_up(number)
    return True


def kill_once(trial: Trial) -> None:
    trial.rest(4, 6)
    kill_at_random(trial)
    trial.rest(2, 3)


def gap_with_a_kill(trial: Trial) -> None:
    trial.rest(8, 9)
    kill_at_random(trial)
    trial.rest(3, 4)


SHORT = {"STREAMSCORE_KAFKA_REQUEST_TIMEOUT": "7s"}

BREAKAGES = [
    Breakage("kill -9 at a random moment", kill_at_random, lanes=5, runs=10),
    Breakage("kill -9 between publishing and storing", kill_at("published", 40), runs=4),
    Breakage("kill -9 in the middle of the state write", kill_at("saving", 40), runs=4),
    Breakage("kill -9 between storing and acknowledging", kill_at("saved", 40), runs=2),
    Breakage("kill -9 in the middle of a checkpoint", kill_at("checkpointing", 6), runs=2),
    Breakage("kill -9 between checkpoint and model, and after it", kill_with_an_old_model, runs=2),
    Breakage("kill -9 in a transaction", kill_at("in_transaction", 40), KAFKA, ONCE, runs=3),
    Breakage("kill -9 between commit and storing", kill_at("committed", 40), KAFKA, ONCE, runs=3),
    Breakage("kill -9, the default session of 10 s", kill_at_random, runs=2, session_s=10),
    Breakage("SIGTERM", terminate, runs=4),
    Breakage("pause beyond the session, the only worker", pause_the_only_worker, runs=2),
    Breakage("pause beyond the session, beside another worker", pause_beside_another, KAFKA, lanes=3),
    Breakage("a second worker joins, the first one leaves", join_and_leave, KAFKA, runs=3),
    Breakage("store restarts with its data", restart_the_store, runs=2),
    Breakage("store comes back with older data", set_the_store_back, runs=3),
    Breakage("store restarts without its data", lose_the_store, runs=2),
    Breakage("store fails over to an empty node", fail_over_to_an_empty_store, runs=3),
    Breakage("store refuses writes", fill_the_store, runs=2),
    Breakage("store hangs for 30 s", hang_the_store),
    Breakage("broker silent, produce times out", pause_the_broker, own_nodes=1, variables=SHORT),
    Breakage("broker restarts", restart_the_broker, KAFKA, own_nodes=1, variables=SHORT),
    Breakage("broker loses a node of three", lose_a_node, KAFKA, own_nodes=3, variables=SHORT),
    Breakage("leaders move", move_leaders, KAFKA, own_nodes=3, variables=SHORT),
    Breakage("duplicate events, and a kill", kill_once, stream=streams.repeated),
    Breakage("late events, and a kill", kill_once, stream=streams.late),
    Breakage("events out of order, and a kill", kill_once, stream=streams.shuffled),
    Breakage("one visitor with 100 times the traffic, and a kill", kill_once, stream=streams.hot),
    Breakage("1 % poison, and a kill", kill_once, stream=streams.poisoned),
    Breakage("nobody for 30 minutes, and a kill", gap_with_a_kill, stream=streams.gap),
]


def by_name(name: str) -> Breakage:
    """Return the breakage of that name."""
    [found] = [one for one in BREAKAGES if one.name == name]
    return found
