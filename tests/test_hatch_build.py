"""What is compiled at installation, and that nothing breaks where it cannot be."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from online_models import sums, timers

ROOT = Path(__file__).resolve().parents[1]


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hatch_build = loaded("hatch_build", ROOT / "hatch_build.py")
needs_headers = pytest.mark.skipif(not hatch_build.can_compile(), reason="no Python.h here, or PURE_PYTHON is set")
needs_compiler = pytest.mark.skipif(hatch_build.own_compiler() is None, reason="no C compiler here")


class App:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def hook(tmp_path: Path) -> Any:
    made = hatch_build.CompiledModules(str(tmp_path), {}, None, None, "", "wheel", App())
    (tmp_path / "online_models").mkdir()
    for source in ROOT.glob(hatch_build.SOURCES):
        shutil.copy(source, tmp_path / "online_models")
    return made


def build(hook: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"artifacts": []}
    hook.initialize("standard", data)
    return data


@needs_headers
@needs_compiler
def test_the_installation_is_compiled() -> None:
    assert (sums.COMPILED, timers.COMPILED) == (True, True), "run `make setup`, or `.venv/bin/python hatch_build.py`"


@needs_headers
def test_a_compiler_that_does_not_work_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hatch_build.sysconfig, "get_config_var", lambda name: "no-such-compiler -pthread")
    monkeypatch.setenv("CC", shlex.join([sys.executable, "-c", "exit('no C library')"]))
    monkeypatch.setenv("PATH", "/nonexistent")
    hatch_build.own_compiler.cache_clear()
    try:
        assert hatch_build.own_compiler() is None
    finally:
        hatch_build.own_compiler.cache_clear()


@needs_headers
@needs_compiler
def test_the_source_compiles_and_goes_into_the_wheel(hook: Any, tmp_path: Path) -> None:
    data = build(hook)

    of_sums, of_timers = sorted(tmp_path.glob("online_models/*.so"))
    artifacts = [f"online_models/{one.name}" for one in (of_sums, of_timers)]
    assert data == {"artifacts": artifacts, "pure_python": False, "infer_tag": True}
    assert list(loaded("online_models.compiled_timers", of_timers).Timers({"u1": 5}.items()).pop_due(5)) == [(5, "u1")]
    module = loaded("online_models.compiled_sums", of_sums)
    assert module.score_named({"a": 2.0}, ["a", None, "b"], [0.5, 1.0, 1.0], -1.0, 3) == (0.5, [("a", 1.0)])
    assert hook.app.warnings == []


@needs_headers
def test_a_compiler_that_fails_leaves_python(hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hatch_build, "own_compiler", lambda: [sys.executable, "-c", "exit('no such target')"])

    data = build(hook)

    assert data == {"artifacts": []}
    (warning,) = hook.app.warnings
    assert "no such target" in warning


def test_without_headers_nothing_is_asked_for(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hatch_build, "can_compile", lambda: False)

    assert hook.dependencies() == []
    assert build(hook) == {"artifacts": []}
    assert "Python.h" in hook.app.warnings[0]


def test_whoever_wants_pure_python_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURE_PYTHON", "1")

    assert not hatch_build.can_compile()


@needs_headers
def test_without_a_compiler_one_is_asked_for(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for found, asked in ((["cc"], [hatch_build.CYTHON]), (None, [hatch_build.CYTHON, hatch_build.ZIG])):
        monkeypatch.setattr(hatch_build, "own_compiler", lambda found=found: found)

        assert hook.dependencies() == asked
