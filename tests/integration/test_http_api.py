"""The HTTP API of a real worker: what a site sends and asks, and that the loop closes."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from site_under_test import Site, shop_events, working_site

from schemas.codec import decode_score
from streams.replay.range_reader import open_range
from streams.replay.spec import TopicRange
from streams.simulate.catalogue import CATEGORIES

TOKEN = "token-of-this-test"
WITHIN_S = 20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, embedded_broker: Any, valkey_url: str) -> Iterator[Site]:
    """A worker that has learned from a shop."""
    folder = tmp_path_factory.mktemp("http")
    servers = embedded_broker.bootstrap_servers, valkey_url
    with working_site(folder, *servers, shop_events(6_000), STREAMSCORE_WORKER_HTTP_TOKENS=TOKEN) as made:
        yield made


def asked(site: Site, path: str, body: Any = None, *, token: str = TOKEN) -> tuple[int, Any]:
    """Ask the worker; return status and the answer's JSON."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{site.port}{path}", data, {"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds; return what it gave."""
    end = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def scores_of(site: Site, user_id: str) -> list[Any]:
    async def read() -> list[Any]:
        async with open_range(TopicRange(site.settings.topics.scores.name), site.settings.kafka) as source:
            found: list[Any] = []
            while batches := await source.read():
                found += [decode_score(record.value) for records in batches.values() for record in records]
            return found

    return [one for one in asyncio.run(read()) if one.user_id == user_id]


def test_an_answer_cannot_be_sent_from_outside(site: Site) -> None:
    forged = {
        "model": "m",
        "model_version": 1,
        "ranked": [{"item_id": "a", "score": 1, "propensity": 1, "reasons": []}],
    }
    request = {"type": "rank_request", "user_id": "visitor-x", "candidates": ["a"], "answered": forged}

    status, answer = asked(site, "/v1/events", request)

    assert status == 400
    assert "the API itself writes it" in answer["refused"][0]["detail"]
    assert asked(site, "/v1/rank", request)[0] == 400


def test_events_that_are_sent_are_scored_and_what_is_wrong_is_said(site: Site) -> None:
    page = {"type": "page_view", "event_id": "p1", "user_id": "visitor-http", "category": "shoes"}
    wrong = {"type": "click", "user_id": "visitor-http"}

    status, answer = asked(site, "/v1/events", [page, wrong, 7, {"type": "tick", "ts": 1_767_225_600_000}])

    assert (status, answer["accepted"]) == (202, 1)
    assert [(one["event"], one["reason"]) for one in answer["refused"]] == [
        (1, "invalid"),
        (2, "invalid"),
        (3, "unknown_type"),
    ]
    assert "item_id" in answer["refused"][0]["detail"]
    [score] = eventually(lambda: scores_of(site, "visitor-http"))
    assert (score.event_id, score.objective) == ("p1", "continue")
    assert asked(site, "/v1/events", wrong)[0] == 400
    assert asked(site, "/v1/events", b"{not json")[0] == 400
    assert asked(site, "/v1/events", [page] * 501)[0] == 413
    deep = page | {"event_id": "p2", "more": json.loads("[" * 300 + "]" * 300)}
    status, answer = asked(site, "/v1/events", [deep, page | {"event_id": "p3"}])
    assert (status, answer["accepted"]) == (202, 1)
    assert [(one["event"], one["reason"]) for one in answer["refused"]] == [(0, "too_deep")]


def test_features_are_up_to_date_with_the_last_event(site: Site) -> None:
    assert asked(site, "/v1/users/nobody/features")[0] == 404
    for number in range(3):
        click = {"type": "click", "user_id": "visitor-f", "item_id": f"i{number}", "category": "shoes"}
        assert asked(site, "/v1/events", click)[0] == 202

    def clicks() -> bool:
        status, answer = asked(site, "/v1/users/visitor-f/features")
        return status == 200 and answer["features"]["favourite"] == "shoes" and answer["features"]["clicks_7d"] > 0

    eventually(clicks)


def test_a_list_reacts_to_the_visitor_s_last_clicks(site: Site) -> None:
    categories = [name for name, _, _ in CATEGORIES[:6]]
    liked = categories[-1]
    before = chances(site, "visitor-r", categories)

    for number in range(3):
        click = {"type": "click", "user_id": "visitor-r", "item_id": f"liked-{number}", "category": liked, "price": 30}
        assert asked(site, "/v1/events", click)[0] == 202

    def ahead() -> dict[str, float] | None:
        now = chances(site, "visitor-r", categories)
        return now if now[liked] == max(now.values()) and now[liked] > before[liked] else None

    now = eventually(ahead)
    assert now[liked] / before[liked] > max(now[other] / before[other] for other in categories if other != liked)


def chances(site: Site, user_id: str, categories: list[str]) -> dict[str, float]:
    """Return the score at the first place of an item of each category that nobody has seen; asked for one by one."""
    found = {}
    for category in categories:
        candidate = {"item_id": f"new-{category}", "category": category, "price": 30}
        status, answer = asked(site, "/v1/rank", {"user_id": user_id, "candidates": [candidate]})
        assert status == 200
        found[category] = answer["ranked"][0]["score"]
    return found


def test_the_answer_stands_in_the_log_and_on_scores_and_is_there_once(site: Site) -> None:
    candidates = ["a", {"item_id": "b", "category": "shoes"}, "c", "d", "e", "f", "g"]
    body = {"event_id": "ask-1", "user_id": "visitor-s", "candidates": candidates, "device": "mobile"}

    status, answer = asked(site, "/v1/rank", body)

    assert (status, answer["ranking"], answer["event_id"]) == (200, "home", "ask-1")
    assert answer["model_version"] > 0
    assert len(answer["ranked"]) == 5
    [score] = eventually(lambda: scores_of(site, "visitor-s"))
    assert json.loads(msgspec.json.encode(score.ranked)) == answer["ranked"]
    assert (score.score_id, score.event_id) == (answer["score_id"], "ask-1")
    assert (score.model, score.model_version) == (answer["model"], answer["model_version"])
    assert score.flags == ["answered"]
    asked(site, "/v1/rank", body)  # sent again by a client that did not get the answer
    time.sleep(1.0)
    assert len(scores_of(site, "visitor-s")) == 1
    assert "was answered over HTTP" in site.command("audit", answer["score_id"]).stderr


def test_an_answer_at_once_stands_in_the_log_and_on_scores_a_moment_later(site: Site) -> None:
    body = {"event_id": "ask-now", "user_id": "visitor-now", "candidates": ["a", "b", "c"]}

    status, answer = asked(site, "/v1/rank?answer=at_once", body)

    assert (status, answer["event_id"], len(answer["ranked"])) == (200, "ask-now", 3)
    assert "score_id" not in answer
    [score] = eventually(lambda: scores_of(site, "visitor-now"))
    assert score.event_id == "ask-now"
    assert json.loads(msgspec.json.encode(score.ranked)) == answer["ranked"]
    status, answer = asked(site, "/v1/rank?answer=later", body)
    assert (status, answer["error"]) == (400, "invalid: Expected `answer` to be `logged` or `at_once`, got 'later'")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"user_id": "u", "candidates": [], "source": "elsewhere"}, "Expected `candidates`"),
        ({"user_id": "u", "candidates": ["a"], "ranking": "side"}, "Expected `ranking` to be one of: home"),
        ({"candidates": ["a"]}, "user_id"),
        ({"user_id": "u", "candidates": [{"category": "shoes"}]}, "item_id"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(site: Site, body: dict[str, Any], why: str) -> None:
    status, answer = asked(site, "/v1/rank", body)

    assert status == 400
    assert why in answer["error"]


def test_without_candidates_the_sources_are_asked_and_the_log_says_what_was_shown(site: Site) -> None:
    body = {"user_id": "visitor-n", "event_id": "ask-n", "source": "popular"}

    status, answer = asked(site, "/v1/rank", body)

    assert status == 200
    [score] = eventually(lambda: scores_of(site, "visitor-n"))
    assert json.loads(msgspec.json.encode(score.ranked)) == answer["ranked"]
    assert len(score.ranked) == 5
    assert any(one.category for one in score.ranked)


def test_a_score_is_told_without_leaving_a_trace(site: Site) -> None:
    status, answer = asked(
        site, "/v1/score", {"type": "impression", "user_id": "visitor-w", "item_id": "a", "category": "shoes"}
    )

    assert status == 200
    [score] = answer["scores"]
    assert score["objective"] == "click"
    assert 0 < score["score"] < 1
    assert len(score["reasons"]) == 3
    assert asked(site, "/v1/users/visitor-w/features")[0] == 404


def test_a_published_score_can_be_looked_up_with_its_event(site: Site) -> None:
    asked(site, "/v1/events", {"type": "page_view", "event_id": "look", "user_id": "visitor-g", "category": "shoes"})
    [score] = eventually(lambda: scores_of(site, "visitor-g"))

    status, answer = asked(site, f"/v1/scores/{score.score_id}")

    assert status == 200
    assert answer["score"] == json.loads(msgspec.json.encode(score))
    assert (answer["event"]["event_id"], answer["event"]["category"]) == ("look", "shoes")
    assert asked(site, "/v1/scores/nonsense")[0] == 404
    assert asked(site, f"/v1/scores/{score.score_id}x")[0] == 404
    assert asked(site, f"/v1/scores/{score.score_id.replace(site.settings.app, 'other')}")[0] == 404
    assert asked(site, "/v1/scores/" + score.score_id.replace(f"-{score.offset}:", "-999999:"))[0] == 404


def test_models_are_listed(site: Site) -> None:
    status, answer = asked(site, "/v1/models")

    assert status == 200
    assert [(one["objective"], one["served"]) for one in answer["models"]] == [
        ("click", True),
        ("purchase", True),
        ("continue", True),
    ]
    assert answer["models"][0]["model_version"] > 0


def test_answers_are_as_the_document_says(site: Site) -> None:
    status, document = asked(site, "/openapi.json")
    assert status == 200
    body = {"user_id": "visitor-d", "candidates": ["a"]}
    answers = {
        "RankAnswer": asked(site, "/v1/rank", body),
        "EventsAnswer": asked(site, "/v1/events", [{"type": "page_view", "user_id": "visitor-d"}, 7]),
        "ScoreAnswer": asked(site, "/v1/score", {"type": "page_view", "user_id": "visitor-d"}),
        "ModelsAnswer": asked(site, "/v1/models"),
        "Problem": asked(site, "/v1/rank", {}),
    }
    eventually(lambda: asked(site, "/v1/users/visitor-d/features")[0] == 200)
    answers["FeaturesAnswer"] = asked(site, "/v1/users/visitor-d/features")
    answers["ScoreFound"] = asked(site, f"/v1/scores/{answers['RankAnswer'][1]['score_id']}")

    for name, (_, answer) in answers.items():
        Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}"}).validate(answer)
    for path, methods in document["paths"].items():
        for method in methods:
            other = {"get": b"{}", "post": None}[method]
            assert asked(site, path.replace("{", "").replace("}", ""), other)[0] == 405, (
                f"only {method} of {path} exists"
            )


def test_without_a_token_nothing_is_told(site: Site, tmp_path: Path) -> None:
    for path in ("/v1/models", "/status", "/metrics"):
        assert asked(site, path, token="guessed")[0] == 401
    assert site.get("/healthz")[0] == 200
    assert TOKEN not in site.logs()


def known_visitors() -> list[str]:
    """Return visitors of the site's shop, those who came first at the front."""
    return list(dict.fromkeys(one.user_id for one in shop_events(500)))


def test_segments_have_names_and_visitors_are_in_one(site: Site) -> None:
    # A visitor is described once a visit, after some pages; too few have come so far.
    today = [
        {"type": "page_view", "event_id": f"newcomer-{n}-{page}", "user_id": f"newcomer-{n}"}
        for n in range(80)
        for page in range(5)
    ]
    assert asked(site, "/v1/events", today)[0] == 202

    def all_of_them() -> Any:
        status, found = asked(site, "/v1/segments")
        assert status == 200
        return found if found["segments"] else None

    found = eventually(all_of_them)
    _, visitor = asked(site, f"/v1/users/{known_visitors()[0]}/features")

    assert [one["id"] for one in found["segments"]] == ["1", "2", "3", "4"]
    assert sum(one["share"] for one in found["segments"]) == pytest.approx(1.0)
    assert all(one["name"] and one["centroid"].keys() == one["apart"].keys() for one in found["segments"])
    assert visitor["segment"] == visitor["features"]["segment"]
    assert visitor["segment"] in {"1", "2", "3", "4"}


def test_look_alikes_of_a_seed_are_asked_for_by_their_ids(site: Site) -> None:
    one, two, three, *_ = known_visitors()
    body = {"seed": [one, two, "nobody"], "users": [one, three, "nobody"]}

    status, found = asked(site, "/v1/lookalikes", body)

    assert status == 200
    assert found["seed_known"] == 2
    assert [one["user_id"] for one in found["users"]] == body["users"]
    first, second, nobody = (one["score"] for one in found["users"])
    assert 0.0 < first < 1.0
    assert 0.0 < second < 1.0
    assert nobody is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"seed": [], "users": ["a"]}, "Expected `array` of length >= 1 - at `$.seed`"),
        ({"seed": ["a"], "users": ["a"] * 1001}, "Expected `array` of length <= 1000 - at `$.users`"),
        ({"seed": ["a"], "user": ["a"]}, "unknown field `user`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_a_wrong_request_for_look_alikes_says_what_was_expected(site: Site, body: Any, expected: str) -> None:
    status, answer = asked(site, "/v1/lookalikes", body)

    assert status == 400
    assert expected in answer["error"]
