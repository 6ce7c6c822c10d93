from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import a_page_view

import online_models.features
from online_models.errors import ConfigError
from online_models.features import compile_features
from online_models.features.registry import FAMILIES
from tests.online_models.features.timelines import EVERYTHING

ITEM = {"item": {"field": "item_id"}}


@pytest.mark.parametrize(
    ("body", "keys", "message"),
    [
        ({"count": "clik"}, ("count",), r"Unknown event type 'clik'; expected one of: page_view, scroll, "),
        ({"count": ["click", "clik"]}, ("count", 1), "Unknown event type 'clik'"),
        ({"count": ["click", "click"]}, ("count", 1), "'click' stands here twice"),
        ({"count": []}, ("count",), "Expected at least one event type of: page_view"),
        ({"count": "click", "windw": "1h"}, ("windw",), r"Unknown key; expected one of: count, window, .*default"),
        ({"count": "click", "window": "1 hour"}, ("window",), "Expected a duration such as 30s, .*got '1 hour'"),
        ({"count": "click", "window": 60}, ("window",), "Expected a duration such as 30s, .*got 60"),
        ({"count": "click", "window": "900d"}, ("window",), "Expected a duration from 1s to 366d, got '900d'"),
        ({"count": "click", "window": "1h", "buckets": 0}, ("buckets",), "Expected a whole number from 1 to 60, got 0"),
        ({"count": "click", "buckets": 4}, ("buckets",), "Unknown key"),
        ({"decayed_count": "click"}, ("half_life",), "`half_life` is missing"),
        ({"decayed_count": "click", "half_life": "1s"}, ("half_life",), "Expected a duration from 1m to 366d"),
        ({"time_since": "click", "unit": "years"}, ("unit",), "Expected one of: ms, s, m, h, d, w; got 'years'"),
        ({"rate": "click"}, ("over",), "`over` is missing"),
        ({"rate": "click", "over": "impression", "prior": 0.1}, ("prior",), "Expected a mapping, got 0.1"),
        ({"rate": "click", "over": "impression", "prior": {"p": 1}}, ("prior", "p"), "expected one of: rate, strength"),
        ({"rate": "click", "over": "impression", "prior": {"rate": 2}}, ("prior", "rate"), "a rate from 0 to 1, got 2"),
        (
            {"rate": "click", "over": "impression", "prior": {"strength": 0}},
            ("prior", "strength"),
            "Expected a strength from 0.001",
        ),
        (
            {"rate": "click", "over": "impression", "window": "1h", "half_life": "1h"},
            ("window",),
            "a half_life or a window, not both",
        ),
        ({"session": "length"}, ("session",), "Expected one of: events, duration, since_last; got 'length'"),
        ({"visits": "per_month"}, ("visits",), "Expected total, per_day, per_week or a duration such as 7d"),
        ({"dwell": "max"}, ("dwell",), "Expected one of: last, session, mean"),
        ({"sum": "tz_offset_min"}, ("sum",), "Expected one of: price, quantity"),
        ({"basket": True}, ("basket",), "Expected one of: items, pieces, value; got True"),
        ({"affinity": "price"}, ("affinity",), "Expected one of: item_id, category, campaign; got 'price'"),
        ({"affinity": "category", "weights": {"clik": 1}}, ("weights", "clik"), "Unknown event type 'clik'"),
        ({"affinity": "category", "weights": {"click": 0}}, ("weights", "click"), "Expected a weight above 0"),
        ({"affinity": "category", "weights": {}}, ("weights",), "at least one event type with its weight"),
        ({"field": "prize"}, ("field",), r"Unknown field 'prize'; expected one of: type, .*properties\.NAME"),
        ({"field": "session_id"}, ("field",), "Unknown field 'session_id'"),
        ({"field": "properties."}, ("field",), "Unknown field"),
        ({"field": ["item_id"]}, ("field",), "Unknown field"),
        ({"field": "country", "numeric": True}, ("numeric",), "`country` is text; it can only be categorical"),
        ({"field": "country", "numeric": "no"}, ("numeric",), "Expected true or false, got 'no'"),
        ({"field": "country", "clip": [0, 1]}, ("clip",), "Unknown key; expected one of: field, numeric, missing"),
        ({"field": "country", "missing": ""}, ("missing",), "Expected a text of 1 to 128 characters"),
        ({"field": "country", "keep": "de"}, ("keep",), "Expected a list of values"),
        ({"field": "country", "keep": ["de", "de"]}, ("keep", 1), "'de' stands here twice"),
        ({"field": "country", "hash": 1}, ("hash",), "Expected a whole number from 2"),
        ({"field": "price", "clip": [5, 1]}, ("clip",), "Expected the lowest below the highest"),
        ({"field": "price", "clip": 5}, ("clip",), r"Expected \[lowest, highest\], got 5"),
        ({"field": "price", "clip": [0, "1h"]}, ("clip", 1), "Expected a number, got '1h'"),
        ({"field": "price", "default": float("nan")}, ("default",), "Expected a number, got nan"),
        ({"field": "price", "transform": "log"}, ("transform",), "Expected one of: none, log1p, sqrt; got 'log'"),
        ({"field": "price", "bins": [1, 1]}, ("bins", 1), "Expected rising bounds"),
        ({"field": "price", "bins": []}, ("bins",), "Expected a list of 1 to 64 rising bounds"),
        ({"field": "price", "bins": [1], "transform": "sqrt"}, ("transform",), "either bins or a transform"),
        ({"time_since": "click", "bins": ["1m", "soon"]}, ("bins", 1), "Expected a duration such as"),
        (
            {"time_since": "click", "default": None, "clip": ["1m", True]},
            ("clip", 1),
            "a number or a duration, got True",
        ),
        ({"hour": "daily"}, ("hour",), "Expected one of: cyclic, categorical; got 'daily'"),
        ({"hour": "cyclic", "bins": [6]}, ("bins",), "Unknown key; expected one of: hour"),
        ({"referrer": "source"}, ("referrer",), "Expected one of: medium"),
        ({"referrer": "medium", "site": [3]}, ("site", 0), "Expected a host name"),
        ({"user_agent": "brand"}, ("user_agent",), "Expected one of: device, browser, os"),
        ({"cross": ["item"]}, ("cross",), "Expected a list of 2 to 3 features"),
        ({"cross": "item"}, ("cross",), "Expected a list of 2 to 3 features"),
        ({"cross": ["item", "itm"]}, ("cross", 1), "No feature is called 'itm'; expected: item"),
        ({"cross": ["item", "item"]}, ("cross", 1), "'item' stands here twice"),
        ({"cross": ["item", "x"]}, ("cross", 1), "'x' is a cross itself"),
        ({"cross": ["item", ["x"]]}, ("cross", 1), "No feature is called"),
        ({"counts": "click"}, (), "Expected a mapping with exactly one of: affinity, basket, .*; got counts"),
        ({"count": "click", "rate": "click"}, ("rate",), "'count' and 'rate' do not go together"),
        ({}, (), "Expected a mapping with exactly one of"),
        ("click", (), "Expected a mapping with exactly one of"),
        ({"field": "item_id"}, (), "This is the same feature as 'item'; keep one of them"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place_and_what_was_expected(
    body: Any, keys: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_features({**ITEM, "x": body})

    assert caught.value.path == ("features", "x", *keys)
    assert re.search(message, caught.value.message), caught.value.message


@pytest.mark.parametrize("name", ["", "1st", "a b", "a=b", "a*b", "a.sin", "ü", "x" * 65, 5])
def test_names_are_plain_so_that_no_two_features_look_alike_to_a_model(name: Any) -> None:
    with pytest.raises(ConfigError, match="Expected a name of up to 64 letters, digits and underscores"):
        compile_features({name: {"field": "item_id"}})


@pytest.mark.parametrize("declared", [None, {}, [], "item"])
def test_there_must_be_features(declared: Any) -> None:
    with pytest.raises(ConfigError, match="features: Expected a mapping of name to feature"):
        compile_features(declared)


@pytest.mark.parametrize(
    ("defaults", "keys"),
    [
        (5, ()),
        ({"gap": "1h"}, ("gap",)),
        ({"inactivity": "1s"}, ("inactivity",)),
        ({"tz_offset_min": 900}, ("tz_offset_min",)),
    ],
)
def test_wrong_defaults_are_refused(defaults: Any, keys: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_features({"defaults": defaults, **ITEM})

    assert caught.value.path == ("features", "defaults", *keys)


def hash_of(**declared: Any) -> str:
    return compile_features(declared).hash


def test_the_hash_depends_on_the_meaning_not_on_the_writing() -> None:
    written = hash_of(n={"count": ["click", "page_view"], "window": "1h", "buckets": 12, "transform": "none"})
    other = hash_of(defaults={"inactivity": "1800s"}, n={"window": "60m", "count": ["page_view", "click"]})

    assert written == other
    assert re.fullmatch("[0-9a-f]{16}", written)


def test_the_hash_changes_with_order_name_options_and_defaults() -> None:
    a, b = {"field": "item_id"}, {"count": "click", "window": "session"}
    cross = {"cross": ["a", "b"]}

    hashes = [
        hash_of(a=a, b=b),
        hash_of(b=b, a=a),
        hash_of(a=a, c=b),
        hash_of(a=a),
        hash_of(a={**a, "lower": True}, b=b),
        hash_of(a=a, b={**b, "transform": "log1p"}),
        hash_of(a=a, b=b, defaults={"inactivity": "5m"}),
        hash_of(a=a, b=b, defaults={"tz_offset_min": 5}),
        hash_of(a=a, b=b, x=cross),
        hash_of(a=a, x=cross, b=b),
    ]

    assert len(set(hashes)) == len(hashes)


def test_results_do_not_depend_on_pythons_hash_seed() -> None:
    code = (
        "from tests.online_models.features.timelines import EVERYTHING, Visitor; from builders import *;"
        "v = Visitor(EVERYTHING); v.shows(a_page_view(item_id='i', category='c'));"
        "print(v.features.hash, v.features.slot_keys, v.shows(a_click(at_ms=9, category='d')), v.slots)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ".:tests"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]

    assert runs[0] == runs[1] != ""


def test_an_objective_may_see_some_of_the_features() -> None:
    features = compile_features({**ITEM, "views": {"count": "page_view"}, "x": {"cross": ["item", "views"]}})
    values = ["i1", 3]

    assert features.vectorize(values) == {"item=i1": 1.0, "views": 3.0, "views*item=i1": 3.0}
    assert features.vectorizer(["views"])(values) == {"views": 3.0}
    assert features.vectorizer([])(values) == {}
    assert features.vectorizer(["views"]) is features.vectorizer(("views",))
    with pytest.raises(ConfigError, match="No feature is called 'itm'"):
        features.vectorizer(["itm"])


def test_a_cross_has_no_position() -> None:
    features = compile_features({**ITEM, "views": {"count": "page_view"}, "x": {"cross": ["item", "views"]}})

    assert [features.position(name) for name in ("item", "views")] == [0, 1]
    with pytest.raises(
        ConfigError, match="'x' is a cross, which has no value of its own; expected one of: item, views"
    ):
        features.position("x")
    with pytest.raises(ConfigError, match="'y' is not declared"):
        features.position("y")


def test_the_generated_source_reads_like_code() -> None:
    features = compile_features({"price": {"field": "price", "default": 1, "transform": "log1p"}, **ITEM})

    assert (
        features.source.partition("def extract")[2]
        == """(slots, event, crowd=NOBODY):
    ts = now = event.ts
    v0 = event.price  # price
    if v0 is None:
        v0 = default_0
    v1 = event.item_id  # item
    return [v0, v1]


def vectorize(values):
    v0, v1, = values
    x = {}
    x['price'] = log1p(v0)
    if v1 is not None:
        x[names_1[v1]] = 1.0
    return x
"""
    )


def test_extract_without_a_fold_describes_an_event_that_has_not_happened() -> None:
    features = compile_features({"views": {"count": "page_view", "window": "1h"}, **ITEM})

    assert features.extract(features.new_slots(), a_page_view(item_id="i1")) == [0, "i1"]


@pytest.mark.parametrize("module", [name for _, name, _ in pkgutil.iter_modules(online_models.features.__path__)])
def test_the_examples_in_the_documentation_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"online_models.features.{module}"))

    assert result.failed == 0


def test_every_declaration_in_the_reference_compiles() -> None:
    text = (Path(__file__).parents[3] / "docs" / "features.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    compile_features(yaml.safe_load(example[1])["features"])

    rows = re.findall(r"^\| (`\{.*?)\|", text, re.MULTILINE)
    declarations = [one for row in rows for one in re.findall(r"`(\{[^`]*\})`", row)]
    for one in declarations:
        for word, stands_for in (
            ("TYPES", "click"),
            ("sum: FIELD", "sum: value"),
            ("FIELD", "item_id"),
            (": NAME", ": item_id"),
        ):
            one = one.replace(word, stands_for)
        members = {"A": {"field": "country"}, "B": {"field": "region"}, "pings": {"count": "custom"}}
        compile_features({**members, "x": yaml.safe_load(one)}, {"of": ["pings"]})

    keys = {next(iter(yaml.safe_load(one))) for one in declarations}
    assert keys == set(FAMILIES)


def test_everything_declared_at_once_compiles() -> None:
    assert len(compile_features(EVERYTHING).names) == len(EVERYTHING) - 1
