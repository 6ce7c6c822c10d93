"""Which models travel with what is known of their weights: those of objectives whose ranking asks, and no others."""

from __future__ import annotations

from online_models.learning import LearningCore
from schemas.examples import Example
from streams.configs import shipped_config
from streams.new_models import new_cores, new_replicas
from streams.settings import Settings, parse_settings

CONFIG = """
features:
  item: {field: item_id}
objectives:
  click:
    trigger: impression
    outcome: click
    match: item
    window: 30m
    challengers: {quick: {model: {name: ftrl, alpha: 0.5}}}
  buy: {trigger: impression, outcome: purchase, match: item, window: 1h}
rankings:
  home: {objective: click, kind: KIND}
  side: {objective: buy}
"""


def settings_of(kind: str) -> Settings:
    return parse_settings(CONFIG.replace("KIND", kind), {})


def an_example(core: LearningCore, offset: int) -> tuple[int, Example]:
    return offset, Example(
        score_id=f"events-0-{offset}:{core.objective}",
        objective=core.objective,
        user_id="u1",
        ts=1,
        released_ts=1,
        topic="events",
        partition=0,
        offset=offset,
        seq=0,
        label=True,
        score=0.5,
        model_version=0,
        features={"item=i1": 1.0},
    )


def known_after_learning(settings: Settings) -> dict[str, bool]:
    """Return, by variant, whether its replica knows how uncertain its model is, once that has been published."""
    replicas = new_replicas(settings)
    for core in new_cores(settings.objectives, settings):
        core.step([an_example(core, offset) for offset in range(3)])
        publication = core.publish_pending()
        assert publication is not None
        for _, value in publication.records:
            replicas.apply(value)
    assert {one.version for one in replicas.values()} == {3}
    return {name: one.uncertainty() is not None for name, one in replicas.items()}


def test_models_of_a_ranking_that_asks_travel_with_what_is_known_of_them_and_no_others() -> None:
    assert known_after_learning(settings_of("thompson")) == {"click": True, "click~quick": True, "buy": False}
    assert known_after_learning(settings_of("greedy")) == {"click": False, "click~quick": False, "buy": False}


def test_what_rankings_ask_leaves_the_course_of_learning_as_it_is() -> None:
    lineages = [
        [settings.lineage(one) for one in settings.variants] for settings in map(settings_of, ("thompson", "greedy"))
    ]

    assert lineages[0] == lineages[1]


def test_a_shop_can_explore() -> None:
    text = shipped_config("shop").read_text().replace("kind: epsilon_greedy, epsilon: 0.1", "kind: thompson")

    assert [one.policy.kind for one in parse_settings(text, {}).rankings] == ["thompson"]
