"""What a model is, and what it is not: where it began is past, and earlier versions called it by other names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec
import pytest
from learner_bench import Deployment
from msgspec import structs

from online_models.bound import BoundObjective
from online_models.estimators import build
from online_models.learning import LearningCore
from online_models.objectives import declared_model
from online_models.replica import ReplicaSet
from online_models.serving import Served
from schemas.codec import BadRecord, encode_json
from schemas.examples import Example
from schemas.models import Serving
from streams.new_models import new_contest, new_cores, new_replicas
from streams.replay.history import ExampleSpool, ModelHistory
from streams.settings import Settings, parse_settings

TEXT = """
features:
  item: {field: item_id}
  clicks: {count: click}
objectives:
  click:
    {trigger: impression, outcome: click, match: item, window: 30m, prior: PRIOR, model: {name: MODEL},
     challengers: {deep: {model: {name: DEEP}}}, promotion: {after: 0}}
"""
KEY = {"STREAMSCORE_MODEL_KEY": "a key of these tests"}
MODELS = ("ftrl", "neural_net", "naive_bayes", "logistic_regression")
# As version 0.5 computed them, with a prior of 0.05.
OF_BEFORE = {
    ("ftrl", "neural_net"): ["5584eb04d47c", "89283d7b1e36"],
    ("naive_bayes", "ftrl, intercept_init: -3"): ["2e8ab59e4559", "339933880fc2"],
}


def settings_of(model: str = "ftrl", deep: str = "ftrl", *, prior: float = 0.05, text: str = TEXT) -> Settings:
    return parse_settings(text.replace("PRIOR", str(prior)).replace("MODEL", model).replace("DEEP", deep), KEY)


def lineages(settings: Settings) -> list[str]:
    return [settings.lineage(one) for one in settings.variants]


def examples(first: int, count: int) -> list[tuple[int, Example]]:
    return [
        (
            at,
            Example(
                objective="click", score_id=f"events-0-{at}:click", ts=at, label=at % 7 == 0, score=0.05,
                features={f"item={at % 5}": 1.0}, model_version=1, topic="events", partition=0, offset=at, seq=0,
                released_ts=at + 3_600_000,
            ),
        )
        for at in range(first, first + count)
    ]  # fmt: skip


def a_core(settings: Settings, *, written_before: bool = False) -> LearningCore:
    core = next(iter(new_cores(settings.objectives, settings)))
    if written_before:  # as by a worker of version 0.5
        core.lineage = core._distributor._lineage = settings.former_lineage(settings.objectives[0])  # type: ignore[attr-defined]
    return core


def tell(replicas: ReplicaSet, core: LearningCore, told: Sequence[tuple[int, Example]]) -> None:
    for publication in [*core.step(told), core.publish_pending()]:
        for _, value in publication.records if publication else ():
            replicas.apply(value)


@pytest.mark.parametrize("declared", OF_BEFORE)
def test_the_names_of_before_are_those_that_workers_of_before_have_stored(declared: tuple[str, str]) -> None:
    settings = settings_of(*declared)

    assert [settings.former_lineage(one) for one in settings.variants] == OF_BEFORE[declared]


@pytest.mark.parametrize("model", MODELS)
def test_another_prior_is_the_same_model(model: str) -> None:
    assert lineages(settings_of(model, model)) == lineages(settings_of(model, model, prior=0.2))


def test_a_declared_first_intercept_is_another_model() -> None:
    assert lineages(settings_of("ftrl, intercept_init: -3")) != lineages(settings_of("ftrl, intercept_init: -4"))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prior", [0.02, 0.5])
def test_models_begin_at_the_prior_and_scores_too(model: str, prior: float) -> None:
    settings = settings_of(model, prior=prior)

    assert settings.new_model(settings.objectives[0]).predict_proba_one({})[True] == pytest.approx(prior)
    assert first_score(settings) == prior


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prior", [0.02, 0.5])
def test_under_immediate_labels_it_is_the_corrected_score_that_begins_at_the_prior(model: str, prior: float) -> None:
    text = TEXT.replace("window: 30m", "window: 30m, labels: immediate")
    settings = settings_of(model, prior=prior, text=text)

    biased = settings.new_model(settings.objectives[0]).predict_proba_one({})[True]
    assert biased / (1 - biased) == pytest.approx(prior)
    assert first_score(settings) == pytest.approx(prior)


def first_score(settings: Settings) -> float:
    """Return the score of the first event, before anything was published."""
    [objective] = settings.objectives
    bound = BoundObjective(objective, settings.features, new_replicas(settings), Served(objective.variants))
    return bound.score(bound.declared, ["i1", 0.0])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prior", [0.05, 0.2])
def test_a_model_goes_on_under_another_prior(model: str, prior: float) -> None:
    core, again = a_core(settings_of(model)), a_core(settings_of(model, prior=prior))
    core.step(examples(0, 300))

    assert again.restore(core.checkpoint())

    assert again.learned == 300
    for one in (core, again):
        one.step(examples(300, 50))
    x = {"item=1": 1.0}
    p, expected = (one._estimator.predict_proba_one(x)[True] for one in (again, core))
    # Naive Bayes takes one positive for granted, of 1 / prior examples, beside the 50 it has met.
    assert p == (pytest.approx(expected, rel=0.05) if model == "naive_bayes" else expected)


@pytest.mark.parametrize("model", ["ftrl", "neural_net"])
def test_a_model_of_an_earlier_version_goes_on_and_its_scorers_follow_it_across_the_upgrade(model: str) -> None:
    settings = settings_of(model)
    core, replicas = a_core(settings, written_before=True), new_replicas(settings)
    tell(replicas, core, examples(0, 100))
    assert (replicas["click"].version, replicas.foreign) == (100, 0)
    upgraded = a_core(settings)

    assert upgraded.restore(core.checkpoint())
    tell(replicas, upgraded, examples(100, 20))

    assert (replicas["click"].version, replicas.foreign) == (120, 0)
    x = {"item=1": 1.0}
    assert replicas["click"].score_one(x, 0)[0] == upgraded._estimator.predict_proba_one(x)[True]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "expected"),
    [("ftrl", 2), ("neural_net", 2), ("ftrl, intercept_init: -3", 1), ("naive_bayes", 1), ("logistic_regression", 1)],
)
def test_workers_of_before_cannot_read_a_checkpoint_whose_lineage_they_would_not_know(
    model: str, expected: int
) -> None:
    core, again = a_core(settings_of(model)), a_core(settings_of(model))
    core.step(examples(0, 100))

    checkpoint = core.checkpoint()

    # Version 0.5 reads format 1 alone, and throws away what is of another lineage.
    assert msgspec.msgpack.decode(checkpoint)[0] == expected
    assert again.restore(checkpoint)
    assert again.learned == 100


def test_a_checkpoint_of_a_later_format_or_of_another_objective_is_refused() -> None:
    core = a_core(settings_of())
    saved = msgspec.msgpack.decode(core.checkpoint())

    with pytest.raises(BadRecord, match="expected format 1 or 2 of objective click, got 3 of click"):
        core.restore(msgspec.msgpack.encode([3, *saved[1:]]))
    with pytest.raises(BadRecord, match="got 2 of sale"):
        core.restore(msgspec.msgpack.encode([2, "sale", *saved[2:]]))


@pytest.mark.parametrize("model", ["ftrl", "neural_net"])
def test_scorers_of_another_prior_follow_the_model(model: str) -> None:
    replicas = new_replicas(settings_of(model, prior=0.2))

    tell(replicas, a_core(settings_of(model)), examples(0, 100))

    assert (replicas["click"].version, replicas.foreign) == (100, 0)


def test_the_name_of_before_of_another_prior_is_foreign() -> None:
    core, replicas = a_core(settings_of(), written_before=True), new_replicas(settings_of(prior=0.2))

    tell(replicas, core, examples(0, 100))

    assert replicas["click"].version == 0
    assert replicas.foreign > 0
    assert not a_core(settings_of(prior=0.2)).restore(core.checkpoint())


def test_what_is_served_and_what_speaks_for_challengers_outlasts_the_upgrade_and_another_prior() -> None:
    def contest_of(settings: Settings, state: list[Any] | None) -> Any:
        contest = new_contest(settings.objectives[0], settings)
        assert contest is not None
        if state is not None:
            contest.restore(state)
        return contest

    told = [structs.replace(one, variant="deep", shadows={"": (0.1, 1)}) for _, one in examples(0, 40)]
    settings = settings_of("ftrl", "neural_net")
    before = contest_of(settings, None)
    before.variants = {name: settings.former_lineage(one) for name, one in settings.objectives[0].variants.items()}
    before.follow(Serving(objective="click", variant="deep", before="", number=1))
    for one in told:
        before.update(one)

    upgraded = contest_of(settings, before.state())
    other_prior = contest_of(settings_of("ftrl", "neural_net", prior=0.2), upgraded.state())

    for one in (upgraded, other_prior):
        assert (one.champion, one.standings()[""].judged) == ("deep", before.standings()[""].judged)
    assert before.standings()[""].judged > 0


@pytest.mark.parametrize("model", [*MODELS, "factorization_machine"])
@pytest.mark.parametrize("labels", ["at_window_end", "immediate"])
@pytest.mark.parametrize("before", [True, False])
def test_versions_are_rebuilt_from_where_the_model_began(model: str, labels: str, before: bool) -> None:
    text = TEXT.replace("window: 30m", f"window: 30m, labels: {labels}")
    settings, other_prior = (settings_of(model, prior=prior, text=text) for prior in (0.05, 0.2))
    [objective] = settings.objectives
    core, upgraded, changed = (a_core(one) for one in (settings, settings, other_prior))
    if before:  # Version 0.5 began models of ours at the prior, and others at a half, and did not say so.
        core = a_core(settings, written_before=True)
        core._estimator = build(declared_model(objective.model, 0.05), key=settings.model_key)
        core._start = None
    live = [core]
    core.step(examples(0, 100))
    for goes_on, offset in ((upgraded, 100), (changed, 120)):
        assert goes_on.restore(live[-1].checkpoint())
        goes_on.step(examples(offset, 20))
        live.append(goes_on)
    x = {"item=1": 1.0}

    with closing(ExampleSpool(None)) as kept:
        kept.put([(offset, encode_json(one)) for offset, one in examples(0, 140)])
        for now, one in zip((settings, settings, other_prior), live, strict=True):
            [declared] = now.objectives
            rebuilt = ModelHistory(declared, now, kept, checkpoint=one.checkpoint()).model_at(one.version)

            if one is not core or not before or model != "naive_bayes":  # that one said more of rare outcomes
                assert rebuilt.predict_proba_one(x) == one._estimator.predict_proba_one(x)


@pytest.mark.parametrize(("model", "deep"), [("ftrl", "neural_net"), ("naive_bayes", "ftrl")])
@pytest.mark.parametrize("saved_first", [False, True])
async def test_a_model_that_gets_no_examples_is_called_by_its_name_all_the_same(
    model: str, deep: str, saved_first: bool
) -> None:
    settings, other_prior = settings_of(model, deep), settings_of(model, deep, prior=0.2)
    deployment, names = Deployment(), ["click", "click~deep"]
    for _, example in examples(0, 100):
        deployment.topic.append(structs.replace(example, shadows={"deep": (0.1, 1)}))
    session = await deployment.open(settings=settings)
    former = {name: settings.former_lineage(one) for name, one in settings.objectives[0].variants.items()}
    for core in session._cores.values():  # as in a worker of version 0.5
        core.lineage = core._distributor._lineage = former[core.variant]  # type: ignore[attr-defined]
        if core.contest is not None:
            core.contest.variants = former
    await deployment.read(session)
    await session.publish_pending()
    await session.save()
    judged = {name: one.judged for name, one in session._cores["click"].contest.standings().items()}  # type: ignore[union-attr]

    if saved_first:  # and a crash before anything is published
        await (await deployment.open(settings=settings)).save()
    session = await deployment.open(settings=settings)
    await session.publish_pending()
    await session.save()
    written = len(deployment.store.written)
    session = await deployment.open(settings=settings)
    await session.publish_pending()
    await session.save()

    assert len(deployment.store.written) == written
    cores = (await deployment.open(settings=other_prior))._cores
    assert [cores[name].learned for name in names] == [100, 100]
    contest = cores["click"].contest
    assert contest is not None
    assert {name: one.judged for name, one in contest.standings().items()} == judged == {"deep": 100}
    replicas = new_replicas(other_prior)
    for name in names:
        for publication in deployment.published.models[name]:
            for _, value in publication.records:
                replicas.apply(value)
    assert [replicas[name].version for name in names] == [100, 100]
