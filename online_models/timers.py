"""The timers of `plain_timers`: compiled, where that could be done when the package was installed."""

from __future__ import annotations

try:
    from online_models.compiled_timers import Timers

    COMPILED = True
except ImportError:  # slower, and the same in the same order
    from online_models.plain_timers import Timers

    COMPILED = False

__all__ = ["COMPILED", "Timers"]
