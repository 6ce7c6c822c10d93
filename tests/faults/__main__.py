"""`make test-faults`: breaks deployments in every way we know, and reconciles each event by event."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from faults.run import run_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test-faults", description=__doc__)
    parser.add_argument("breakages", nargs="*", help="words of the names of those to run; all by default")
    parser.add_argument("--broker", action="append", choices=["embedded", "kafka"], help="both by default")
    parser.add_argument("--at-once", type=int, default=4, help="deployments that run side by side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("build/faults.json"))
    given = parser.parse_args()
    brokers = given.broker or ["embedded", "kafka"]
    return 0 if run_all(given.breakages, brokers, at_once=given.at_once, seed=given.seed, report=given.json) else 1


if __name__ == "__main__":
    sys.exit(main())
