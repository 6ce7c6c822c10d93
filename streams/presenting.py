"""How scores look to a person."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.bids import Bid
from schemas.scores import Score


def reasons_text(reasons: list[tuple[str, float]]) -> str:
    """Render reasons: what spoke for the outcome and what against it, in logits.

    >>> reasons_text([("price", -0.5), ("item=7", 0.25)])
    'price -0.50, item=7 +0.25'
    """
    return ", ".join(f"{name} {share:+.2f}" for name, share in reasons)


def _when(ts_ms: int) -> str:
    try:
        return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # no year that a calendar has
        return f"{ts_ms} ms"


def bid_line(bid: Bid) -> str:
    """Render a bid, or that none was made, as one line."""
    when = _when(bid.ts)
    said = "no bid    " if bid.campaign is None else f"{bid.campaign:<10} {bid.price:.4g} CPM of {bid.value:.4g}"
    return f"{when}  {said}  user {bid.user_id}  [market v{bid.market_version}]  {bid.reason}"


def score_line(score: Score) -> str:
    """Render a score as one line."""
    when = _when(score.ts)
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
