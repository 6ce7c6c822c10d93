"""Compiles online_models/compiled_*.pyx when the package is installed, if that can be done.

Takes the machine's C compiler, or else Zig's, which comes as a wheel. Where there are no headers of Python, or the
compiler fails, the package is installed without: `online_models/plain_*.py` do the same, slower. So it is with
``PURE_PYTHON=1`` in the environment, for those who have no compiler and cannot fetch one.
By hand, in place: ``python hatch_build.py`` (needs Cython).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CYTHON = "cython>=3.1,<4"
ZIG = "ziglang>=0.13,<0.18"
SOURCES = "online_models/compiled_*.pyx"
# No product may be fused with the sum that it goes into: Python rounds twice.
FLAGS = ("-O2", "-fPIC", "-shared", "-fwrapv", "-ffp-contract=off", "-w")
_SECONDS = 300


def can_compile() -> bool:
    """Tell whether C can be compiled against this Python at all, and shall be."""
    if os.environ.get("PURE_PYTHON", "") not in ("", "0"):
        return False
    return sys.platform in ("linux", "darwin") and (Path(sysconfig.get_path("include")) / "Python.h").is_file()


@cache
def own_compiler() -> list[str] | None:
    """Return a C compiler of the machine that works: CC of the environment, the one that built this Python, or cc."""
    for named in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc"):
        command = shlex.split(named or "")
        if command and shutil.which(command[0]) and _works(command):
            return command
    return None


def _works(compiler: list[str]) -> bool:
    """Try the smallest module: a compiler may be there without the headers of the C library."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "smallest.c"
        source.write_text("#include <Python.h>\n#include <math.h>\ndouble root(double x) { return sqrt(x); }\n")
        try:
            to_library(compiler, source, source.with_suffix(".so"))
        except (subprocess.SubprocessError, OSError):
            return False
    return True


def compile_in_place(root: Path) -> list[Path]:
    """Compile the sources beside themselves; return the libraries. Raises CalledProcessError, OSError, ImportError."""
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    compiler = own_compiler() or [sys.executable, "-m", "ziglang", "cc"]
    with tempfile.TemporaryDirectory() as folder:
        made: dict[Path, Path] = {}
        for source in sorted(root.glob(SOURCES)):
            in_c, library = Path(folder) / f"{source.stem}.c", Path(folder) / f"{source.stem}{suffix}"
            run([sys.executable, "-m", "cython", "-3", str(source), "--output-file", str(in_c)], folder)
            to_library(compiler, in_c, library)
            library.chmod(0o644)
            made[source.with_name(library.name)] = library
        for library, new in made.items():  # all of them, or none
            beside = library.with_name(library.name + ".new")
            shutil.copy(new, beside)
            beside.replace(library)  # whoever has the old one loaded keeps it
    return list(made)


def to_library(compiler: list[str], source: Path, library: Path) -> None:
    """Compile a C file; raises CalledProcessError and OSError."""
    flags = [*FLAGS, *(["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else [])]
    include = f"-I{sysconfig.get_path('include')}"
    run([*compiler, *flags, include, str(source), "-lm", "-o", str(library)], str(source.parent))


def run(command: list[str], folder: str) -> None:
    """Run a command whose output matters if it fails only."""
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS, env=environment)


class CompiledModules(BuildHookInterface):
    """Adds the compiled modules to the wheel, or leaves them out and says why."""

    def dependencies(self) -> list[str]:
        """Return what compiling needs here, to be installed for the build."""
        if not can_compile():
            return []
        return [CYTHON] if own_compiler() else [CYTHON, ZIG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile."""
        root = Path(self.root)
        if not can_compile():
            self.app.display_warning("Nothing was compiled: there is no Python.h (python3-dev), or PURE_PYTHON is set")
            return
        try:
            libraries = compile_in_place(root)
        except (subprocess.SubprocessError, OSError) as error:
            self.app.display_warning(f"Nothing was compiled: {error}\n{getattr(error, 'stderr', '')}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"] += [library.relative_to(root).as_posix() for library in libraries]


if __name__ == "__main__":
    print(*compile_in_place(Path(__file__).resolve().parent), sep="\n")
