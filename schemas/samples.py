"""A message of each kind, and a report, for the documents: what a reader may expect to see."""

from __future__ import annotations

from datetime import date
from typing import Any

from msgspec import Struct

from schemas import events as ev
from schemas.bids import BID, Bid, Considered
from schemas.campaigns import Campaign, Cap
from schemas.dead_letters import INVALID, DeadLetter, dead_letter, locator
from schemas.examples import Example
from schemas.metrics import Accounting, Contest, Progress, Promotion, Standing
from schemas.models import Calibration, Curve, ModelBlock, ModelDelta, ModelManifest, OpaquePart, Serving
from schemas.report import (
    AlgorithmRow,
    CalibrationPoint,
    CandidateReport,
    Estimate,
    Metrics,
    ObjectiveReport,
    Point,
    PromotionReport,
    Report,
    Window,
)
from schemas.scores import Ranked, Score

_TS = 1_790_000_000_000
_WHO: dict[str, Any] = {"user_id": "v-81", "session_id": "s-3"}
_SCORE_ID = "events-3-1047:click"
_MODEL: dict[str, Any] = {"objective": "click", "lineage": "5d1f0c9a7e42"}

_CAMPAIGN = Campaign(
    campaign="spring-shoes", budget_per_day=200.0, value_per_click=0.6, click="click", item_id="banner-1",
    category="shoes", starts=date(2026, 9, 1), ends=date(2026, 9, 30), targeting={"device": {"in": ["mobile"]}},
    cap=Cap(impressions=3, window="24h"), max_bid_cpm=9.0, auction="first",
)  # fmt: skip

EVENTS: tuple[Struct, ...] = (
    ev.PageView(event_id="e-01", ts=_TS, url="https://shop.example/shoes", category="shoes", device="mobile", **_WHO),
    ev.Scroll(event_id="e-02", ts=_TS + 4_000, depth=0.6, **_WHO),
    ev.Search(event_id="e-03", ts=_TS + 9_000, query="running shoes", **_WHO),
    ev.Impression(
        event_id="e-04", ts=_TS + 10_000, item_id="sku-7", category="shoes", price=59.9, position=2, propensity=0.25,
        properties={"layout": "b"}, **_WHO,
    ),
    ev.Click(event_id="e-05", ts=_TS + 14_000, item_id="sku-7", category="shoes", price=59.9, **_WHO),
    ev.AddToCart(event_id="e-06", ts=_TS + 40_000, item_id="sku-7", quantity=2, price=59.9, **_WHO),
    ev.RemoveFromCart(event_id="e-07", ts=_TS + 50_000, item_id="sku-7", quantity=1, **_WHO),
    ev.Purchase(event_id="e-08", ts=_TS + 90_000, order_id="o-12", value=59.9, **_WHO),
    ev.RankRequest(
        event_id="e-09", ts=_TS + 95_000, ranking="home",
        candidates=["sku-7", ev.Candidate(item_id="sku-9", category="socks", price=9.9)], **_WHO,
    ),
    ev.BidRequest(event_id="e-10", ts=_TS + 96_000, user_id="v-81", floor=0.4, slot_width=300, slot_height=250),
    ev.BidWin(event_id="e-11", ts=_TS + 96_200, user_id="v-81", bid_id="b-5", win_price=0.9),
    ev.BidLoss(event_id="e-12", ts=_TS + 96_200, user_id="v-81", bid_id="b-6"),
    ev.Consent(event_id="e-13", ts=_TS + 97_000, granted=True, **_WHO),
    ev.Custom(event_id="e-14", ts=_TS + 98_000, name="video_play", properties={"seconds": 12.5, "muted": True}, **_WHO),
    ev.Tick(ts=_TS + 120_000),
    ev.CampaignSet(ts=_TS, campaign="spring-shoes", version=12, declaration=_CAMPAIGN),
    ev.BudgetGranted(ts=_TS, campaign="spring-shoes", day="2026-09-21", epoch="6f1c", drawn=1_250_000),
    ev.LedgerBegun(ts=_TS, epoch="6f1c"),
)  # fmt: skip

SCORES: tuple[Struct, ...] = (
    Score(
        score_id="events-3-1062:home", event_id="e-09", ts=_TS + 95_000, objective="click", score=0.091, model="ftrl",
        model_version=52_000, reasons=[("category=socks", 0.52)], topic="events", partition=3, offset=1062,
        source_ts=_TS + 95_020, item_id="sku-9", propensity=0.95, ranking="home",
        ranked=[
            Ranked(item_id="sku-9", score=0.091, propensity=0.95, reasons=[("category=socks", 0.52)]),
            Ranked(item_id="sku-7", score=0.0702, propensity=1.0, reasons=[("category=shoes", 0.41)]),
        ],
        **_WHO,
    ),
    Score(
        score_id=_SCORE_ID, event_id="e-04", ts=_TS + 10_000, objective="click", score=0.0731, model="ftrl",
        model_version=52_000, reasons=[("category=shoes", 0.41), ("position=2", -0.12)], topic="events", partition=3,
        offset=1047, source_ts=_TS + 10_020, item_id="sku-7", propensity=0.25, raw=0.0655, **_WHO,
    ),
)  # fmt: skip

CAMPAIGNS: tuple[Struct, ...] = (_CAMPAIGN,)

BIDS: tuple[Struct, ...] = (
    Bid(
        bid_id="events-3-1063", event_id="e-10", user_id="v-81", ts=_TS + 96_000, topic="events", partition=3,
        offset=1063, source_ts=_TS + 96_020, reason=BID, campaign="spring-shoes", item_id="banner-1",
        day="2026-09-21", price=1.74, value=3.6, multiplier=0.71, p_click=0.006, win_rate=0.42, expected_cost=0.73,
        considered={"spring-shoes": Considered(BID, 3.6, 1.74), "tents": Considered("targeting")},
        models={"click": 52_000}, market_version=51_200,
    ),
    Bid(
        bid_id="events-3-1064", event_id="e-16", user_id="v-82", ts=_TS + 96_900, topic="events", partition=3,
        offset=1064, source_ts=_TS + 96_910, reason="paced",
        considered={"spring-shoes": Considered("paced", 0.9)}, models={"click": 52_000}, market_version=51_200,
    ),
)  # fmt: skip

EXAMPLES: tuple[Struct, ...] = (
    Example(
        objective="click", score_id=_SCORE_ID, ts=_TS + 10_000, label=True,
        features={"category=shoes": 1.0, "position=2": 1.0, "visit_events": 3.0}, score=0.0731, model_version=52_000,
        topic="events", partition=3, offset=1102, seq=0, released_ts=_TS + 1_815_000,
    ),
)  # fmt: skip

MODELS: tuple[Struct, ...] = (
    ModelDelta(
        **_MODEL,
        origin=1_000,
        from_version=51_000,
        version=52_000,
        weights={"category=shoes": 0.41},
        information={"category=shoes": 31.5},
    ),
    ModelBlock(**_MODEL, origin=1_000, version=52_000, block=90, weights={"position=2": -0.12}),
    OpaquePart(**_MODEL, version=52_000, part=0, body=b"signed bytes"),
    ModelManifest(
        **_MODEL,
        model="ftrl",
        version=52_000,
        origin=1_000,
        intercept=-2.9,
        features=1_204,
        calibration=Calibration(
            whole=Curve([-20.0, 20.0], [-19.7, 19.1]), slices={"shoes": Curve([-20.0, 20.0], [-20.1, 18.7])}
        ),
    ),
    Serving(objective="click", variant="deep", before="", number=1, cause="command"),
)

_STANDING = Standing(judged=48_200, advantage=0.0021, evidence=27.4)

METRICS: tuple[Struct, ...] = (
    Accounting(
        topic="events", partition=3, first_offset=1_000, next_offset=1_104, events=104, scored=60, dead=1,
        ignored={"no_trigger": 43}, scores=97, examples=12, stream_time_ms=_TS + 120_000,
    ),
    Progress(
        objective="click", version=52_000, n=51_400, positives=2_610, learned=51_988, refused=12, log_loss=0.187,
        base_log_loss=0.201, auc=0.704, mean_score=0.0502,
    ),
    Contest(objective="click", version=52_000, champion="", needed=20.0, standings={"deep": _STANDING}),
    Promotion(
        objective="click", variant="deep", before="", cause="test", number=1, version=52_000, standing=_STANDING,
    ),
)  # fmt: skip

DEAD: DeadLetter = dead_letter(
    key=b"v-81",
    value=b'{"type":"click","event_id":"e-15","user_id":"v-81","ts":"yesterday","item_id":"sku-7"}',
    reason=INVALID,
    detail="Invalid RFC3339 encoded datetime - at `$.ts`",
    source=locator("events", 3, 1103),
    source_ts_ms=_TS + 99_000,
)


_OVERALL: dict[str, Any] = {
    "n": 51_400, "positives": 2_610, "log_loss": 0.1871, "base_log_loss": 0.2012, "auc": 0.704,
    "average_precision": 0.118, "calibration_error": 0.0021, "accuracy": 0.879, "precision": 0.142, "recall": 0.279,
    "lift": 2.79,
}  # fmt: skip
_BASE: dict[str, Any] = {
    **_OVERALL, "log_loss": 0.2012, "auc": 0.506, "average_precision": 0.052, "calibration_error": 0.0034,
    "accuracy": 0.855, "precision": 0.054, "recall": 0.106, "lift": 1.06,
}  # fmt: skip
_POPULARITY: dict[str, Any] = {**_BASE, "log_loss": 0.1958, "auc": 0.631, "average_precision": 0.089, "lift": 2.01}
_CLICK = ObjectiveReport(
    overall=Metrics(**_OVERALL),
    second_half=Metrics(**{**_OVERALL, "n": 25_800, "positives": 1_301, "log_loss": 0.1858, "auc": 0.709}),
    last_quarter=Metrics(**{**_OVERALL, "n": 12_900, "positives": 655, "log_loss": 0.1849, "auc": 0.712}),
    windows=[
        Window(
            **_OVERALL,
            from_ms=_TS,
            to_ms=_TS + 3_840_000,
            baselines={"base_rate": 0.2012, "popularity": 0.1958},
            baselines_auc={"base_rate": 0.506, "popularity": 0.631},
        )
    ],
    calibration_curve=[
        CalibrationPoint(mean_score=0.031, rate=0.029, n=25_700),
        CalibrationPoint(mean_score=0.071, rate=0.0726, n=25_700),
    ],
    operating_point=Point(threshold=None, budget=0.1),
    weights=[("favourite=shoes*category=shoes", 0.81), ("position=9", -0.42)],
)
REPORT = Report(
    verdict="click: the model beats every simple rule: log loss 0.1871 (popularity: 0.1958), "
    "AUC 0.704 (popularity: 0.631).",
    version="0.2.0",
    source=["kafka://events"],
    events=104_000,
    scored=51_990,
    dead=10,
    ignored={"no_trigger": 52_000},
    from_ms=_TS,
    to_ms=_TS + 3_600_000,
    duration_s=5.2,
    events_per_s=20_000.0,
    objectives={"click": _CLICK},
    baselines={"click": {"base_rate": Metrics(**_BASE), "popularity": Metrics(**_POPULARITY)}},
    candidates={
        "scoring": CandidateReport(
            objectives={"click": _CLICK},
            models={"click": "ftrl"},
            us_per_event=41.7,
            promotions=[
                PromotionReport(objective="click", ts_ms=_TS + 900_000, variant="deep", before="", standing=_STANDING)
            ],
            standings={"click": {"": _STANDING}},
        )
    },
    policies={
        "click": {
            "popular": {
                "snips": Estimate(
                    value=0.0561, standard_error=0.0031, low=0.0502, high=0.0627, interval="weighted events",
                    n=51_400, positives=2_610, effective_positives=402.7, effective_sample_size=8_120.4,
                    mean_weight=0.998, max_weight=12.0, logged_value=0.0508, warning=None,
                )
            }
        }
    },
    algorithms=[
        AlgorithmRow(
            algorithm="ftrl", objective="click", log_loss=0.1871, auc=0.704, last_quarter_log_loss=0.1849,
            last_quarter_auc=0.712, predict_us=6.1, learn_us=7.9, memory_bytes=1_240_000, verdict="still learning",
            note="",
        )
    ],
)  # fmt: skip
