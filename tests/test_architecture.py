"""What keeps the core pure and the files small: read from the source, without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("schemas", "online_models", "streams")  # each may import itself and what stands before it
CORE = LAYERS[:2]
MAX_LINES = 450

# What the core may import. Missing on purpose, among others: asyncio, logging, os, random, socket, subprocess,
# threading, time. Chance comes as a seed, time as an argument.
CORE_MAY_IMPORT = {
    *("__future__", "abc", "array", "base64", "bisect", "collections", "dataclasses", "datetime", "enum", "functools"),
    *("hashlib", "heapq", "hmac", "importlib", "inspect", "io", "itertools", "json", "math", "operator", "pickle"),
    *("re", "struct", "sys", "types", "typing", "urllib", "zlib", "zoneinfo"),
    *("msgspec", "numpy", "orjson", "river", "scipy", "ua_parser"),
}
# Calls that read a clock, chance, the process or the world, or that differ from process to process.
CORE_MUST_NOT_CALL = {
    *("now", "utcnow", "today", "uuid1", "uuid4", "urandom", "getenv", "default_rng", "SystemRandom"),
    *("open", "read_text", "write_text", "read_bytes", "write_bytes", "print", "input", "hash", "id", "eval", "exec"),
}
# Generators of files that are part of the repository: run by hand, never by a worker.
NOT_PART_OF_A_WORKER = {"schemas/documents.py"}
# Compiles a declaration once, at the start; what is run is built from literals that were checked.
MAY_CALL = {("online_models/features/generate.py", "exec")}

# Finds the files that lie beside it.
MAY_HOLD_LOGIC = {"streams/configs/__init__.py"}


def sources(*packages: str) -> list[Path]:
    return sorted(chain.from_iterable((ROOT / package).rglob("*.py") for package in packages))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level packages that a file imports, wherever in it."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield path.relative_to(ROOT).parts[0] if node.level else str(node.module).split(".")[0]


def called(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_itself_and_the_layers_below(layer: str) -> None:
    above = {*LAYERS[LAYERS.index(layer) + 1 :], "tests", "benchmarks"}

    wrong = {named(path): sorted(above & set(imported(path))) for path in sources(layer)}

    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_core_imports_nothing_that_reads_a_clock_chance_or_the_world() -> None:
    allowed = {*CORE_MAY_IMPORT, *CORE}
    core = [path for path in sources(*CORE) if named(path) not in NOT_PART_OF_A_WORKER]

    wrong = {named(path): sorted(set(imported(path)) - allowed) for path in core}

    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_core_calls_nothing_that_reads_a_clock_chance_or_the_world() -> None:
    core = [path for path in sources(*CORE) if named(path) not in NOT_PART_OF_A_WORKER]

    calls = {(named(path), name) for path in core for name in called(parsed(path)) if name in CORE_MUST_NOT_CALL}

    assert sorted(calls - MAY_CALL) == []


def test_the_core_waits_for_nothing() -> None:
    waiting = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)

    wrong = [named(path) for path in sources(*CORE) if any(isinstance(n, waiting) for n in ast.walk(parsed(path)))]

    assert wrong == []


def test_a_package_only_gives_names_to_what_its_files_hold() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)

    wrong = [
        named(path)
        for path in sources(*LAYERS)
        if path.name == "__init__.py"
        and named(path) not in MAY_HOLD_LOGIC
        and not all(isinstance(node, allowed) for node in parsed(path).body)
    ]

    assert wrong == []


def test_whoever_scores_has_the_core_made_in_one_place() -> None:
    """Else an audit or a replay would differ from live by what one of them was not told."""
    made = [named(path) for path in sources("streams") if "ScoringCore" in called(parsed(path))]

    assert made == ["streams/cores.py"]


def test_every_file_says_what_it_is_for() -> None:
    wrong = [
        named(path)
        for path in sources(*LAYERS)
        if parsed(path).body and not ast.get_docstring(parsed(path)) and path.name != "__init__.py"
    ]

    assert wrong == []


def test_no_file_is_longer_than_one_can_keep_in_mind() -> None:
    files = sources(*LAYERS, "tests", "benchmarks")

    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}

    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}
