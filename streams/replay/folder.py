"""The folder of a replay, and what an earlier one has left there to go on with.

Finished results are replaced by those of the next replay into the same folder, once its source has
proved to be readable. An interrupted replay may be hours of work: it goes only where that was asked for.
"""

from __future__ import annotations

from pathlib import Path

from streams.replay.candidate import CannotResume
from streams.replay.plan import Plan
from streams.replay.state import holds_checkpoint

_STATES = "replay*.db"


class Unfinished(ValueError):
    """The folder holds a replay that was interrupted; the message says how to go on."""


def look_at_folder(plan: Plan) -> None:
    """See whether a replay may begin, or go on, in its folder; changes nothing.

    Raises
    ------
    CannotResume
        There is nothing to go on with.
    Unfinished
        There is, and neither `resume` nor `overwrite` was said.
    """
    if plan.resume:
        _look_for_state(plan)
    elif plan.folder is not None and not plan.overwrite and any(map(holds_checkpoint, plan.folder.glob(_STATES))):
        raise Unfinished(
            f"{plan.folder} holds a replay that was interrupted: --resume goes on with it, --overwrite begins anew"
        )


def _look_for_state(plan: Plan) -> None:
    if plan.from_stdin:
        raise CannotResume("Standard input cannot be read again from where it was; run without --resume")
    if plan.folder is None:
        raise CannotResume("--resume goes on in the folder of an interrupted replay; name it with --to")
    if not (plan.folder / plan.state_name).exists():
        raise CannotResume(f"{plan.folder} holds no interrupted replay of these candidates; run without --resume")


def state_path(plan: Plan) -> Path | None:
    """Return where to keep what it takes to go on later, nothing of earlier replays in it; None: nowhere."""
    if plan.folder is None:
        return None
    plan.folder.mkdir(parents=True, exist_ok=True)
    if not plan.resume:
        remove_state(plan)
    return plan.folder / plan.state_name if plan.keeps_checkpoints else None


def remove_state(plan: Plan) -> None:
    """Remove what it took to go on; of all processes, or in one of them, which begins anew, its own."""
    if plan.folder is not None:
        for path in plan.folder.glob(f"{plan.state_name if plan.all_labels else _STATES}*"):
            path.unlink()
