"""Challengers are asked and learn on every trigger, and none of it changes what is served."""

from __future__ import annotations

from typing import Any

import pytest
from builders import MINUTE, EventLog, a_click, a_page_view, an_impression
from core_bench import CLICK, FEATURES, Bench
from msgspec import structs

from online_models.contest import decision
from online_models.errors import ConfigError
from online_models.estimators import SparseFTRL
from online_models.features import compile_features
from online_models.learning import LearningCore
from online_models.objectives import Objective, objective_of, parse_objectives, variant_name
from online_models.replica import LinearReplica, ReplicaSet
from online_models.serving import Served
from schemas.codec import decode_user_state, encode_json, encode_user_state
from schemas.examples import Example

WINDOW = 30 * MINUTE
CHALLENGED = {
    "click": {
        **CLICK,
        "challengers": {"deep": {"model": {"name": "ftrl", "alpha": 0.5}}, "lean": {"without": ["item", "clicks"]}},
    }
}


def parsed(**changes: Any) -> Objective:
    body = {**CHALLENGED["click"], **changes}
    return parse_objectives({"click": body}, features=compile_features(FEATURES))[0]


def a_log() -> EventLog:
    return EventLog().add(
        a_page_view(), an_impression("i1", MINUTE), a_click("i1", 2 * MINUTE), an_impression("i2", 3 * MINUTE)
    )


def bench() -> Bench:
    made = Bench(CHALLENGED)
    for name, replica in made.replicas.items():
        replica.intercept = {"click": -1.0, "click~deep": -2.0, "click~lean": -3.0}[name]
    return made


# -------------------------------------------------------------------- declared


def test_a_challenger_is_as_its_objective_but_for_what_it_says() -> None:
    objective = parsed(without=["views"], model={"name": "ftrl", "alpha": 0.2})

    deep, lean = objective.variants["deep"], objective.variants["lean"]

    assert list(objective.variants) == ["", "deep", "lean"]
    assert (deep.name, deep.without, deep.model["alpha"]) == ("click~deep", ("views",), 0.5)
    assert (lean.without, lean.model) == (("item", "clicks"), objective.model)
    assert (objective_of(lean.name), variant_name("click", "lean")) == ("click", "click~lean")


@pytest.mark.parametrize(
    ("changes", "where", "why"),
    [
        ({"challengers": ["deep"]}, "challengers", "mapping of name"),
        ({"challengers": {"a~b": {}}}, "challengers.a~b", "letters"),
        ({"challengers": {"declared": {}}}, "challengers.declared", "another name"),
        ({"challengers": {"deep": {"labels": "immediate"}}}, "challengers.deep.labels", "Unknown key"),
        ({"challengers": {"deep": {"without": ["no"]}}}, "challengers.deep.without", "No feature"),
        ({"challengers": {"deep": {"model": "ftrl"}}}, "challengers.deep.model", "mapping"),
        ({"promotion": {"automatic": "perhaps"}}, "promotion", "bool"),
        ({"promotion": {"alpha": 0.1}}, "promotion", "alpha"),
        ({"promotion": {"false_promotions": 0.9}}, "promotion.false_promotions", "at most 0.5"),
        ({"promotion": {"after": -1}}, "promotion.after", "number"),
        ({"challengers": {}, "promotion": {"automatic": True}}, "promotion", "no `challengers`"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changes: dict[str, Any], where: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(**changes)

    assert ".".join(map(str, caught.value.path)) == f"click.{where}"
    assert why in caught.value.message


# -------------------------------------------------------------------- scored


def test_what_is_served_is_the_same_with_and_without_challengers() -> None:
    plain = Bench({"click": CLICK}).run(a_log().tick(2 * WINDOW))
    challenged = bench().run(a_log().tick(2 * WINDOW))

    assert [encode_json(structs.replace(one, shadows={})) for one in challenged.scores] == [
        encode_json(one) for one in plain.scores
    ]
    assert [one.features for one in challenged.examples] == [one.features for one in plain.examples]


def test_an_example_holds_what_every_variant_said_and_the_features_of_those_that_see_others() -> None:
    made = bench().run(a_log().tick(2 * WINDOW))

    example = made.examples[0]
    said = {"": example.score} | {name: score for name, (score, _) in example.shadows.items()}
    assert example.label
    assert said[""] > said["deep"] > said["lean"] > 0
    assert {version for _, version in example.shadows.values()} == {7}
    assert list(example.features_of) == ["lean"]
    assert set(example.features) - set(example.features_of["lean"]) == {"item=i1", "clicks"}


def test_a_promoted_challenger_is_served_and_the_declared_model_goes_on_in_the_shadow() -> None:
    before, after = bench(), bench()
    after.served["click"].follow(decision("click", "lean", before="", number=1, cause="command").serving)
    log = a_log().tick(2 * WINDOW)

    one, other = before.run(log).examples[0], after.run(log).examples[0]

    assert after.scores[0].variant == "lean"
    assert "item=i1" not in dict(after.scores[0].reasons)
    assert (other.variant, other.score) == ("lean", one.shadows["lean"][0])
    assert other.shadows[""][0] == one.score
    assert other.features == one.features


def test_open_triggers_of_a_state_that_was_stored_remember_their_shadows() -> None:
    whole = bench().run(a_log().tick(2 * WINDOW))
    first = bench().run(a_log())
    first.users = {name: decode_user_state(encode_user_state(user)) for name, user in first.users.items()}

    rest = EventLog()
    rest.records = a_log().tick(2 * WINDOW).records[len(a_log().records) :]
    first.run(rest)

    assert first.examples == whole.examples


def test_a_core_that_leaves_shadows_alone_serves_the_same() -> None:
    alone = Bench(CHALLENGED, shadowing=False).run(a_log().tick(2 * WINDOW))

    assert [one.score for one in alone.scores] == [one.score for one in Bench(CHALLENGED).run(a_log()).scores]
    assert all(not one.shadows for one in alone.examples)


# -------------------------------------------------------------------- learned


def test_each_variant_learns_its_own_features_and_is_judged_by_what_it_said() -> None:
    examples = [(offset, one) for offset, one in enumerate(bench().run(a_log().tick(2 * WINDOW)).examples)]
    learned: dict[str, tuple[LearningCore, SparseFTRL]] = {}
    for variant in ("", "deep", "lean"):
        model = SparseFTRL()
        core = LearningCore(
            variant_name("click", variant), lineage="x", estimator=model, distributor=Nothing(), publish_examples=9,
            variant=variant, own_features=variant == "lean",
        )  # fmt: skip
        core.step(examples)
        learned[variant] = core, model

    assert set(learned[""][1].names) == set(learned["deep"][1].names) > set(learned["lean"][1].names)
    means = [learned[variant][0].progress().mean_score for variant in ("", "deep", "lean")]
    assert means == [mean_said(examples, variant) for variant in ("", "deep", "lean")]


def test_a_new_challenger_learns_what_is_kept_unless_it_sees_other_features() -> None:
    """Its first examples are older than itself: they hold the declared model's features alone."""
    before = Bench({"click": CLICK}).run(a_log().tick(2 * WINDOW)).examples
    for own_features, learned in ((False, len(before)), (True, 0)):
        core = LearningCore(
            "click~deep", lineage="x", estimator=SparseFTRL(), distributor=Nothing(), publish_examples=9,
            variant="deep", own_features=own_features,
        )  # fmt: skip
        core.step(list(enumerate(before)))
        assert (core.learned, core.refused, core.progress().n) == (learned, 0, 0)


class Nothing:
    """A distributor that publishes nothing."""

    def publish(self, version: int) -> list[tuple[bytes, bytes]]:
        return []

    def state(self) -> int:
        return 0

    def restore(self, state: int) -> None:
        """Nothing to take up."""


def mean_said(examples: list[tuple[int, Example]], variant: str) -> float:
    said = [one.shadows[variant][0] if variant else one.score for _, one in examples]
    return sum(said) / len(said)


# -------------------------------------------------------------------- served


def test_scorers_follow_what_is_served_and_pass_over_what_is_older() -> None:
    served = Served(["", "deep"])
    replicas = ReplicaSet({"click": LinearReplica(lineage="x", name="ftrl", prior=0.5)}, {"click": served})
    first = decision("click", "deep", before="", number=1, cause="command").serving
    second = decision("click", "", before="deep", number=2, cause="rollback").serving

    for record in (first, second, first):
        replicas.apply(encode_json(record))

    assert (served.variant, served.before, served.number) == ("", "deep", 2)
    assert served.record("click") == second


def test_of_two_decisions_with_the_same_number_the_later_one_holds_for_everybody() -> None:
    """Compaction leaves it alone to those who start afterwards."""
    first = decision("click", "deep", before="", number=1, cause="test").serving
    second = decision("click", "lean", before="", number=1, cause="command").serving
    running, started = Served(["", "deep", "lean"]), Served(["", "deep", "lean"])
    for record in (first, second):
        running.follow(record)
    started.follow(second)

    assert running.variant == started.variant == "lean"


def test_a_promoted_challenger_that_is_no_longer_declared_gives_way_to_the_declared_model() -> None:
    served = Served(["", "deep"])

    served.follow(decision("click", "gone", before="deep", number=1, cause="test").serving)

    assert (served.variant, served.known, served.number) == ("", False, 1)


def test_what_concerns_other_objectives_is_counted() -> None:
    replicas = ReplicaSet({}, {})

    replicas.apply(encode_json(decision("other", "deep", before="", number=1, cause="test").serving))

    assert replicas.foreign == 1
