"""How scores look to a person."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.scores import Score


def reasons_text(reasons: list[tuple[str, float]]) -> str:
    """Render reasons: what spoke for the outcome and what against it, in logits.

    >>> reasons_text([("price", -0.5), ("item=7", 0.25)])
    'price -0.50, item=7 +0.25'
    """
    return ", ".join(f"{name} {share:+.2f}" for name, share in reasons)


def score_line(score: Score) -> str:
    """Render a score as one line."""
    when = datetime.fromtimestamp(score.ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    if score.ranked:
        shown = ", ".join(f"{one.item_id} {one.score:.1%}" for one in score.ranked)
        return (
            f"{when}  {score.ranking:<10} ranked  user {score.user_id}  [{score.model} v{score.model_version}]  {shown}"
        )
    item = f" item {score.item_id}" if score.item_id else ""
    why = reasons_text(score.reasons) or ("nothing learned yet" if score.model_version == 0 else "no single reason")
    return (
        f"{when}  {score.objective:<10} {score.score:6.1%}  user {score.user_id}{item}"
        f"  [{score.model} v{score.model_version}]  {why}"
    )
