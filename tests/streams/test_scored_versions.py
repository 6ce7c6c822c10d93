"""Which versions the published scores name, for a replay as it was live."""

from __future__ import annotations

from online_models.crowd import CROWD
from schemas.codec import encode_json
from schemas.scores import Ranked, Score
from streams.replay.as_live import Said, ScoredVersions


def a_score(offset: int, **fields: object) -> bytes:
    score = Score(
        score_id=f"events-0-{offset}:click", event_id=f"e{offset}", user_id="u1", ts=1, objective="click", score=0.5,
        model="ftrl", model_version=7, reasons=[], topic="events", partition=0, offset=offset, source_ts=1,
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip
    return encode_json(score)


def versions_of(*values: bytes) -> list[tuple[int, list[Said]]]:
    versions = ScoredVersions(None)
    versions.put(values, "events")
    return list(versions.of(0))


def test_a_score_that_was_made_before_anything_of_the_crowd_was_known_says_so() -> None:
    place = Ranked(item_id="a", score=0.5, propensity=1.0, reasons=[], crowd=[None])

    found = versions_of(a_score(1, crowd=[None]), a_score(2, crowd=[0.5], crowd_version=4), a_score(3, ranked=[place]))

    model = Said("click", 7, True)
    assert found == [
        (1, [model, Said(CROWD, 0, True)]),
        (2, [model, Said(CROWD, 4, True)]),
        (3, [model, Said(CROWD, 0, True)]),
    ]


def test_a_score_that_needed_no_crowd_names_none() -> None:
    assert versions_of(a_score(1)) == [(1, [Said("click", 7, True)])]
