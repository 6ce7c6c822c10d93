"""Mapping files: what a row becomes, and what is refused, with the line to change."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_event
from schemas.events import AddToCart, Click, EventBase, Impression, PageView, RankRequest
from streams.mapping import Mapping, MappingError, shipped_mappings
from streams.mapping_times import compile_time
from streams.sources import Problem, Problems, open_source

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NOW_MS = 4_000_000_000_000
T0 = 1_506_826_800_000

VIEWS = """
type: page_view
fields: {user_id: user, ts: at, item_id: item, price: price, position: place}
event_id: "{user}-{line}"
properties: {colour: colour}
"""


def events_of(mapping: str, content: str, tmp_path: Path, **options: Any) -> tuple[list[EventBase], list[Problem]]:
    path = tmp_path / "rows"
    path.write_text(content, encoding="utf-8")
    problems = Problems()
    loaded = Mapping(mapping, "mine")
    with open_source(path, columns=loaded.columns, problems=problems) as source:
        return list(loaded.events(source, **options)), problems.first


def test_a_row_becomes_an_event_with_the_types_of_its_fields(tmp_path: Path) -> None:
    rows = f"user,at,item,price,place,colour\nu1,{T0},7,9.5,3,red\n"

    events, problems = events_of(VIEWS, rows, tmp_path)

    assert problems == []
    assert events == [
        PageView(event_id="u1-2", user_id="u1", ts=T0, item_id="7", price=9.5, position=3, properties={"colour": "red"})
    ]


def test_csv_and_json_lines_of_the_same_rows_give_the_same_events(tmp_path: Path) -> None:
    row = {"user": 59, "at": T0, "item": 7, "price": 9.5, "place": 3, "colour": "red"}
    mapping = VIEWS.replace("{user}-{line}", "{user}-{at}")

    from_json, _ = events_of(mapping, json.dumps(row) + "\n", tmp_path)
    from_csv, _ = events_of(mapping, ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n", tmp_path)

    assert from_json == from_csv
    assert from_json[0].user_id == "59"


def test_nulls_leave_a_field_out_and_a_required_one_makes_the_row_bad(tmp_path: Path) -> None:
    rows = f"user,at,item,price,place,colour\nu1,{T0},null,,NaN,\n,{T0},1,1,1,red\nu3,,1,1,1,red\n"

    events, problems = events_of(VIEWS, rows, tmp_path)

    assert events == [PageView(event_id="u1-2", user_id="u1", ts=T0, properties={})]
    assert problems == [
        Problem(3, "user_id: Expected a value, got none"),
        Problem(4, "ts: Expected a time, got none"),
    ]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("price", "cheap", "price: Expected a number"),
        ("price", "inf", "price: Expected a finite number"),
        ("price", "-1", "Expected `float` >= 0.0 - at `$.price`"),
        ("place", "1.5", "position: Expected a whole number"),
        ("item", "i" * 129, "Expected `str` of length <= 128 - at `$.item_id`"),
        ("at", "yesterday", "ts: Expected an epoch number; for text such as 2017-10-01T03:00:00Z use `format: iso`"),
        ("at", "1506826800", "ts: this is before the year 2000; is the `format` of `ts` right"),
        ("at", "1506826800000000", "ts: this is after the year 2100"),
        ("at", "nan", "ts: Expected a time, got none"),
        ("at", "inf", "ts: Expected a finite number"),
        ("colour", "x" * 257, "Expected `str` of length <= 256 - at `$.properties[...]`"),
    ],
)
def test_a_wrong_value_is_reported_by_line_and_field_without_the_value(
    tmp_path: Path, column: str, value: str, message: str
) -> None:
    good = {"user": "u1", "at": str(T0), "item": "7", "price": "1", "place": "1", "colour": "red"}
    rows = "\n".join([",".join(good), ",".join({**good, column: value}.values()), ",".join(good.values())])
    mapping = VIEWS + 'nulls: ["", nan]'

    events, problems = events_of(mapping, rows, tmp_path)

    assert len(events) == 1
    assert len(problems) == 1
    assert problems[0].line == 2
    assert problems[0].message.startswith(message)
    assert column == "at" or value not in problems[0].message


SHOWN_AND_CLICKED = """
event_id: "{line}-{type}"
fields: {user_id: user, item_id: item, ts: at}
events:
  - type: impression
    fields: {propensity: chance}
  - type: click
    when: {clicked: 1}
    after_ms: 1500
"""


def test_a_row_may_become_several_events_and_the_later_ones_wait_for_their_time(tmp_path: Path) -> None:
    # at   0        1000      1500     3000
    #      shown a  shown b   click a  shown c, click c at 4500
    rows = f"user,item,at,chance,clicked\nu,a,{T0},0.5,1\nu,b,{T0 + 1000},0.25,0\nu,c,{T0 + 3000},0.25,1\n"

    events, _ = events_of(SHOWN_AND_CLICKED, rows, tmp_path)

    assert events == [
        Impression(event_id="2-impression", user_id="u", ts=T0, item_id="a", propensity=0.5),
        Impression(event_id="3-impression", user_id="u", ts=T0 + 1000, item_id="b", propensity=0.25),
        Click(event_id="2-click", user_id="u", ts=T0 + 1500, item_id="a"),
        Impression(event_id="4-impression", user_id="u", ts=T0 + 3000, item_id="c", propensity=0.25),
        Click(event_id="4-click", user_id="u", ts=T0 + 4500, item_id="c"),
    ]


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ("view", ["view"]),
        ("[view, cart]", ["view", "cart"]),
        ("{not: view}", ["cart", "", "1", "True"]),
        ("{not: [view, cart]}", ["", "1", "True"]),
        ("null", [""]),
        ("{not: null}", ["view", "cart", "1", "True"]),
        ("1", ["1"]),
        ("1.0", ["1"]),
        ("true", ["True"]),
    ],
)
def test_a_condition_chooses_the_rows(tmp_path: Path, condition: str, values: list[str]) -> None:
    mapping = f"""
type: page_view
when: {{kind: {condition}}}
fields: {{user_id: user, ts: at, region: kind}}
"""
    rows = "user,at,kind\n" + "".join(f"u,{T0},{kind}\n" for kind in ("view", "cart", "", "1", "True"))

    events, _ = events_of(mapping, rows, tmp_path)

    assert [event.region or "" for event in events] == values


def test_rows_to_which_no_rule_applies_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text(f"user,at,kind\nu,{T0},view\nu,{T0},other\n")
    with open_source(path) as source:
        mapped = Mapping("type: page_view\nwhen: {kind: view}\nfields: {user_id: user, ts: at}", "mine").events(source)

        assert len(list(mapped)) == 1
        assert mapped.rows_without_event == 1
        assert source.rows == 2


def test_values_can_be_constant_scaled_renamed_cast_and_defaulted(tmp_path: Path) -> None:
    mapping = """
type: add_to_cart
fields:
  user_id: {template: "shop-{user}"}
  ts: {column: at, format: epoch_s}
  item_id: item
  price: {column: cents, scale: 0.01}
  device: {column: dev, map: {1: mobile, 2: desktop}, default: unknown}
  campaign: {const: spring}
properties:
  sale: {column: sale, cast: bool}
  weight: {column: weight, cast: float, default: 0}
  raw: weight
"""
    rows = "user,at,item,cents,dev,sale,weight\n9,1506826800.5,7,1250,1,yes,2\n9,1506826800,7,1250,,0,\n"

    events, problems = events_of(mapping, rows, tmp_path)

    assert problems == []
    assert events == [
        AddToCart(
            event_id="mine-2",
            user_id="shop-9",
            ts=T0 + 500,
            item_id="7",
            price=12.5,
            device="mobile",
            campaign="spring",
            properties={"sale": True, "weight": 2.0, "raw": "2"},
        ),
        AddToCart(
            event_id="mine-3",
            user_id="shop-9",
            ts=T0,
            item_id="7",
            price=12.5,
            device="unknown",
            campaign="spring",
            properties={"sale": False, "weight": 0},
        ),
    ]


def test_json_rows_reach_into_nested_objects_and_lists(tmp_path: Path) -> None:
    mapping = """
type: rank_request
fields: {user_id: user.id, ts: {column: at, format: iso}, candidates: items}
event_id: "{user.id}-{line}"
"""
    row = {"user": {"id": 7}, "at": "2017-10-01T03:00:00Z", "items": [1, "b", None]}

    events, problems = events_of(mapping, json.dumps(row), tmp_path, strict=True)

    assert problems == []
    assert events == [RankRequest(event_id="7-1", user_id="7", ts=T0, candidates=["1", "b"])]


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("at", "1506826800000"),
        ("{column: at, format: epoch_ms}", "1506826800000.0"),
        ("{column: at, format: epoch_us}", "1506826800000999"),
        ("{column: at, format: epoch_ns}", "1506826800000999999"),
        ("{column: at, format: epoch_s}", "1506826800"),
        ("{column: at, format: iso}", "2017-10-01T00:00:00-03:00"),
        ("{column: at, format: iso, timezone: UTC}", "2017-10-01 03:00:00"),
        ("{column: at, format: '%d/%m/%Y %H.%M', timezone: Europe/Berlin}", "01/10/2017 05.00"),
        ("{column: at, format: '%d/%m/%Y %H.%M %z'}", "01/10/2017 05.00 +0200"),
    ],
)
def test_times_are_read_in_their_format(tmp_path: Path, declared: str, value: str) -> None:
    mapping = f"type: page_view\nfields: {{user_id: user, ts: {declared}}}"

    events, problems = events_of(mapping, f"user,at\nu,{value}\n", tmp_path)

    assert problems == []
    assert [event.ts for event in events] == [T0]


def test_a_time_without_an_offset_is_not_guessed(tmp_path: Path) -> None:
    mapping = "type: page_view\nfields: {user_id: user, ts: {column: at, format: iso}}"

    events, problems = events_of(mapping, "user,at\nu,2017-10-01 03:00:00\n", tmp_path)

    assert events == []
    assert "Expected a UTC offset; say `timezone:`" in problems[0].message


def test_files_without_times_get_a_clock(tmp_path: Path) -> None:
    mapping = """
columns: [user]
type: page_view
fields: {user_id: user, ts: {clock: {start: 2017-10-01T03:00:00Z, step_ms: 1000}}}
"""
    events, _ = events_of(mapping, "u\nv\n", tmp_path)

    assert [(event.user_id, event.ts) for event in events] == [("u", T0 + 1000), ("v", T0 + 2000)]


@given(st.integers(min_value=946_684_800_000, max_value=4_102_444_800_000))
def test_every_way_to_write_a_time_gives_the_same_millisecond(ts_ms: int) -> None:
    assert compile_time("epoch_ms", None)(str(ts_ms)) == ts_ms
    assert compile_time("epoch_us", None)(str(ts_ms * 1000 + 999)) == ts_ms
    assert compile_time("epoch_s", None)(f"{ts_ms // 1000}.{ts_ms % 1000:03}") == ts_ms
    assert compile_time("epoch_s", None)(ts_ms / 1000) == ts_ms


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("type: view\nfields: {}", "line 1: type: Expected an event type, one of .*page_view"),
        ("type: page_view\nfields: {user_id: u}", "line 2: fields: `page_view` needs ts"),
        ("type: click\nfields: {user_id: u, ts: t}", "`click` needs item_id"),
        ("type: page_view\nfields:\n  user_id: u\n  ts: t\n  colour: c", "line 5: fields.colour: .*no such field; use"),
        ("type: page_view\nfields: {user_id: nope, ts: t}", "line 2: fields.user_id: The input has no column `nope`"),
        ("type: page_view\nfeilds: {}", "line 2: feilds: Unknown key"),
        ("type: page_view\nfields: {user_id: u, ts: {column: t, format: ms}}", "fields.ts.format: Expected epoch_s,"),
        ("type: page_view\nfields: {user_id: u, ts: {column: t, format: iso, timezone: Mars}}", "Europe/Berlin"),
        ("type: page_view\nfields: {user_id: u, ts: {clock: {start: x, step_ms: 1}}}", "fields.ts.clock.start"),
        ("type: page_view\nfields: {user_id: {col: u}, ts: t}", "fields.user_id.col: Expected one of cast"),
        ("type: page_view\nfields: {user_id: {}, ts: t}", "Expected one of `column`, `template` or `const`"),
        ("type: page_view\nfields: {user_id: '{u', ts: t}", "Expected column names in {}"),
        ("type: page_view\nfields: {user_id: u, ts: t, price: {column: u, cast: str}}", "holds float; remove the cast"),
        ("type: page_view\nfields: {user_id: u, ts: t}\nevent_id: same", "Expected a template"),
        ("type: page_view\nfields: {user_id: u, ts: t}\nafter_ms: -1", "line 3: after_ms: Expected whole"),
        ("events: []", "Expected a list of rules"),
        ("fields: {user_id: u, ts: t}\nevent_id: '{type}'\nevents: [{type: page_view}, {type: scroll}]", "needs depth"),
        (
            "fields: {user_id: u, ts: t}\nevent_id: '{line}'\nevents: [{type: page_view}, {type: search}]",
            "line 3: events.0.event_id: .*put {type} into the id",
        ),
        ("type: page_view\ntype: click", "stands here twice"),
        ("type: [", "not valid YAML"),
        ("identity: true\ntype: click", "line 2: type: Unknown key"),
        ("type: page_view\nfields: {user_id: u, ts: t}\nwhen: {u: {gt: 3}}", "line 3: when.u: Expected a value"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_line(mapping: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        Mapping(mapping, "mine").bind(["u", "t"])


def test_a_strict_mapping_refuses_columns_it_does_not_speak_of(tmp_path: Path) -> None:
    mapping = "strict: true\ntype: page_view\nfields: {user_id: user, ts: at}\nignore: ['x_*']"

    with pytest.raises(MappingError, match="does not speak of the columns label"):
        Mapping(mapping, "mine").bind(["user", "at", "x_1", "label"])
    _, problems = events_of(mapping, json.dumps({"user": "u", "at": T0, "x_1": 1, "label": 1}), tmp_path)
    assert problems == [Problem(1, "Expected only known keys (the mapping is strict), got 1 others")]


def test_an_unknown_mapping_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no mapping is called `glob`: expected criteo, events, globo"):
        Mapping.load("glob")
    with pytest.raises(MappingError, match="cannot be read"):
        Mapping.load(str(tmp_path / "missing.yaml"))


def test_a_mapping_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(VIEWS)

    assert Mapping.load(str(path)).name == "mine"


def test_events_pass_through_the_identity_mapping_unchanged(tmp_path: Path) -> None:
    events: list[EventBase] = [
        PageView(event_id="e1", user_id="u", ts=T0, properties={"n": 1}),
        Impression(event_id="e2", user_id="u", ts=T0 + 1, item_id="i", propensity=0.5),
    ]
    path = tmp_path / "events.jsonl.gz"
    lines = [msgspec.json.encode(event) for event in events]
    others = [
        b'{"type": "tick", "ts": 1506826800000}',
        b'{"type": "click", "event_id": "e3", "user_id": "u", "ts": "2017-10-01T03:00:00Z", "item_id": "i"}',
        b'{"type": "click", "event_id": "e4", "user_id": "u", "ts": 1506826800000}',
        b'{"type": "wish", "event_id": "e5", "user_id": "u", "ts": 1506826800000}',
        b'{"type": "page_view", "event_id": "e6", "user_id": "u", "ts": 1506826800}',
    ]
    path.write_bytes(gzip.compress(b"\n".join([*lines, *others])))
    with open_source(path) as source:
        mapped = Mapping.load("events").events(source)
        got = list(mapped)

    assert got == [*events, Click(event_id="e3", user_id="u", ts=T0, item_id="i")]
    assert mapped.rows_without_event == 1
    assert [problem.line for problem in source.problems.first] == [5, 6, 7]


def test_the_identity_mapping_refuses_csv() -> None:
    with pytest.raises(MappingError, match="takes JSON lines"):
        Mapping.load("events").bind(["user_id"])


def test_every_shipped_mapping_loads_and_says_what_it_is_for() -> None:
    assert shipped_mappings() == ["criteo", "events", "globo", "ipinyou_raw", "obd", "online_shoppers"]
    assert all(Mapping.load(name).about for name in shipped_mappings())


def test_the_example_of_the_reference_works(tmp_path: Path) -> None:
    reference = (Path(__file__).resolve().parents[2] / "docs" / "mappings.md").read_text(encoding="utf-8")
    example = reference.partition("```yaml\n")[2].partition("```")[0]
    header = "customer,seen_at,visit,shop,article,cents,shelf,stock,margin,internal_1"
    rows = header + "\nc,2017-10-01 05:00,v,s,7,1250,top,,1,1\n"

    events, problems = events_of(example, rows, tmp_path, strict=True)

    assert problems == []
    assert events == [
        PageView(
            event_id=f"c-{T0}-2",
            user_id="c",
            ts=T0,
            session_id="v",
            item_id="s-7",
            price=12.5,
            properties={"shelf": "top", "stock": 0},
        )
    ]


# The columns that would give the answer away, of each file.
FORBIDDEN = {
    "globo": {"session_size", "sess_start_s"},
    "online_shoppers": {"PageValues"},
    "criteo": {"split"},
    "ipinyou_raw": {"bidprice", "keypage"},
    "obd": set(),
}
FILES = [
    ("globo", "globo_clicks_first300k.csv.gz", {"page_view": 1}),
    ("criteo", "criteo_attr_ctr_first100k.csv.gz", {"impression": 1, "click": 0.3565}),
    ("ipinyou_raw", "ipinyou_raw_webecon.csv.gz", {"bid_request": 1, "bid_win": 1, "impression": 1, "click": 0.0773}),
    ("obd", "obd_random_men_10k.csv.gz", {"impression": 1, "click": 0.0046}),
    ("obd", "obd_bts_men_10k.csv.gz", {"impression": 1, "click": 0.0069}),
    ("online_shoppers", "online_shoppers_12k.csv.gz", {"custom": 1, "purchase": 0.1547}),
]


@pytest.mark.parametrize(("name", "file", "shares"), FILES, ids=[file for _, file, _ in FILES])
def test_real_data_maps_row_for_row_to_valid_events(name: str, file: str, shares: dict[str, float]) -> None:
    if not (DATA / file).exists():
        pytest.skip(f"{file} is research data and not part of the project")
    counts: dict[str, int] = {}
    ids: set[str] = set()
    last_ts = 0
    with open_source(DATA / file) as source:
        for number, event in enumerate(Mapping.load(name).events(source)):
            counts[event.type] = counts.get(event.type, 0) + 1
            ids.add(event.event_id)
            assert isinstance(event.ts, int)
            assert event.ts >= last_ts
            last_ts = event.ts
            if number % 50 == 0:
                assert decode_event(msgspec.json.encode(event), record_ts_ms=NOW_MS) == event
        rows = source.rows

    assert source.problems.count == 0
    assert len(ids) == sum(counts.values()), "event ids repeat"
    assert {kind: round(count / rows, 4) for kind, count in counts.items()} == shares


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_no_shipped_mapping_reads_a_column_that_gives_the_answer_away(name: str) -> None:
    text = (Path(__file__).resolve().parents[2] / "streams" / "mappings" / f"{name}.yaml").read_text()
    declared, _, ignored = text.partition("\nignore:")

    assert all(column in ignored for column in FORBIDDEN[name])
    assert not any(column in declared for column in FORBIDDEN[name])
