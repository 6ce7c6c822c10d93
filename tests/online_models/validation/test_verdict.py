"""The first line of a report says whether the model beats the rules, and by which figures."""

from __future__ import annotations

from online_models.validation.verdict import Other, verdict
from schemas.report import Metrics


def of(log_loss: float | None, auc: float | None) -> Metrics:
    nothing = dict.fromkeys(("average_precision", "calibration_error", "accuracy", "precision", "recall", "lift"))
    return Metrics(n=9, positives=3, log_loss=log_loss, base_log_loss=0.69, auc=auc, **nothing)  # type: ignore[arg-type]


def test_a_model_that_beats_every_rule() -> None:
    found = verdict("click", of(0.60, 0.70), {"base_rate": of(0.69, 0.5), "rule": of(0.65, 0.6)})

    assert found == (
        "click: the model beats every simple rule: log loss 0.6000 (the hand-written rule: 0.6500), "
        "AUC 0.700 (the hand-written rule: 0.600)."
    )


def test_the_best_rule_by_auc_is_named_where_it_is_another_one() -> None:
    found = verdict("click", of(0.60, 0.70), {"popularity": of(0.66, 0.65), "rule": of(0.65, 0.6)})

    assert found.endswith("log loss 0.6000 (the hand-written rule: 0.6500), AUC 0.700 (popularity: 0.650).")


def test_a_model_that_does_not_beat_a_rule_is_said_not_to() -> None:
    found = verdict("click", of(0.66, 0.70), {"base_rate": of(0.69, 0.5), "rule": of(0.65, 0.6)})

    assert found.startswith("click: the model does NOT beat the hand-written rule: log loss 0.6600")
    assert "0.6500" in found


def test_a_draw_is_not_a_win() -> None:
    assert "NOT" in verdict("click", of(0.65, 0.7), {"base_rate": of(0.65, 0.5)})


def test_order_counts_too() -> None:
    found = verdict("click", of(0.60, 0.61), {"base_rate": of(0.69, 0.5), "popularity": of(0.68, 0.62)})

    assert found.startswith("click: the model beats every simple rule by log loss, but NOT by AUC")
    assert "AUC 0.610 (popularity: 0.620)" in found


def test_an_order_that_is_all_wrong_is_no_order_at_all() -> None:
    assert "NOT by AUC" in verdict("click", of(0.60, 0.0), {"base_rate": of(0.69, 0.5)})


def test_where_all_labels_are_the_same_auc_says_nothing() -> None:
    assert verdict("click", of(0.1, None), {"base_rate": of(0.2, None)}) == (
        "click: the model beats every simple rule: log loss 0.1000 (the base rate: 0.2000)."
    )


def test_without_labels_nothing_can_be_said() -> None:
    assert verdict("click", of(None, None), {"base_rate": of(None, None)}) == (
        "click: no label has come, nothing can be said."
    )


RULES = {"base_rate": of(0.69, 0.5), "rule": of(0.65, 0.6)}


def test_the_best_of_the_others_is_named_and_held_against_the_first() -> None:
    others = {"b": Other(of(0.58, 0.7), RULES), "c": Other(of(0.66, 0.7), RULES)}

    found = verdict("click", of(0.60, 0.70), RULES, others)

    assert found.endswith(
        "Of the other candidates b is best by log loss (0.5800), better than this one. "
        "They do NOT all beat the rules: c."
    )


def test_what_was_asked_something_else_is_no_better_and_stands_beside_its_own_rules() -> None:
    rare = {"base_rate": of(0.0656, 0.5), "rule": of(0.09, 0.6)}
    others = {"b": Other(of(0.0819, 0.7), rare, comparable=False), "c": Other(of(0.61, 0.7), RULES)}

    found = verdict("click", of(0.60, 0.70), RULES, others)

    assert found.endswith(
        "Of the other candidates c is best by log loss (0.6100), no better than this one. "
        "Not comparable, since other triggers or labels were judged: "
        "b (3 of 9 positive, +88.1 % log loss saved against the base rate). They do NOT all beat the rules: b."
    )


def test_of_the_same_triggers_the_rules_beside_the_first_count_too() -> None:
    learned_otherwise = {"base_rate": of(0.70, 0.5), "rule": of(0.68, 0.6)}

    found = verdict("click", of(0.60, 0.70), RULES, {"b": Other(of(0.66, 0.7), learned_otherwise)})

    assert found.endswith("They do NOT all beat the rules: b.")
