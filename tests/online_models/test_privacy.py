"""What docs/privacy.md says of consent and of erasing a visitor."""

from __future__ import annotations

from builders import HOUR, MINUTE, EventLog, a_click, a_page_view, an_event, an_impression
from core_bench import ALL, Bench
from stored_partition import Stored

from schemas.codec import encode_json
from schemas.events import Consent


def test_what_a_visitor_consents_to_changes_nothing_here() -> None:
    def visit(granted: bool) -> Bench:
        log = EventLog().add(an_event(Consent, granted=granted), an_impression("i1", 1000), a_click("i1", 2000))
        return Bench(ALL).run(log.add(a_page_view(3000), a_page_view(4000)).tick(30 * HOUR))

    allowed, refused = visit(granted=True), visit(granted=False)

    assert refused.fingerprint() == allowed.fingerprint()
    assert refused.scores
    assert refused.examples


def test_a_visitor_whose_key_is_deleted_between_two_lives_of_a_worker_is_a_stranger() -> None:
    stored = Stored(ALL).run(EventLog().add(an_impression("i1"), a_click("i1", 1000)))
    del stored.blobs["u1"]
    stored.again()

    stored.run(EventLog().add(an_impression("i1", MINUTE)))
    fresh = Stored(ALL).run(EventLog().add(an_impression("i1", MINUTE)))

    assert [encode_json(one.score) for one in stored.bench.scores[-1:]] == [
        encode_json(one.score) for one in fresh.bench.scores
    ]
    assert stored.blobs == fresh.blobs


def test_the_timer_of_a_visitor_whose_key_was_deleted_goes_by_itself() -> None:
    stored = Stored(ALL).run(EventLog().add(an_impression("i1"), a_click("i1", 1000)))
    assert stored.timers
    del stored.blobs["u1"]
    stored.again()

    stored.run(EventLog().tick(30 * HOUR))

    assert stored.timers == {}
    assert stored.blobs == {}
    assert stored.bench.notes() == {"state_expired": 1}
