"""Print the oldest versions that a pyproject.toml allows, as constraints for pip."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path


def lowest_versions(pyproject: str) -> Iterator[str]:
    """Yield ``name==version`` for each direct dependency, the extras' included."""
    project = tomllib.loads(pyproject)["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    for requirement in [*project["dependencies"], *extras]:
        found = re.match(r"([\w.-]+)(?:\[[\w,]+\])?[>=]=([\w.]+)", requirement)
        if found is None:
            raise ValueError(f"Expected a lower bound such as >=1.2, got {requirement}")
        yield "{}=={}".format(*found.groups())


if __name__ == "__main__":
    print("\n".join(lowest_versions(Path(sys.argv[1]).read_text())))
