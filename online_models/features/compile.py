"""Compiles the section `features:` of the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from online_models.errors import ConfigError
from online_models.features.categories import category_feature
from online_models.features.crosses import cross
from online_models.features.crowd_values import hash_of, meaning_of
from online_models.features.feature_set import FeatureSet
from online_models.features.fields import PERSONAL_FIELDS
from online_models.features.generate import describe_source
from online_models.features.options import Defaults, Options
from online_models.features.plan import Cross, Feature, Reading, SlotTable
from online_models.features.registry import FAMILIES
from online_models.features.segments import SEGMENT, Segments, check_numbers, parse_segments
from online_models.features.sources import SECTION, Sources
from online_models.features.transforms import number_feature

# Raise it when a family changes what its values mean: models and stored values of before do not fit any more.
MEANING_VERSION = 1
DEFAULTS = "defaults"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def compile_features(declaration: dict[str, Any], segments: object = None, *, sources: object = None) -> FeatureSet:
    """Compile a mapping of feature name to declaration.

    Parameters
    ----------
    declaration
        What stands under `features:`; one family key and its options for each name, see docs/features.md. The
        reserved name `defaults` holds `inactivity` and `tz_offset_min`.
    segments
        What stands under `segments:`; None: nothing.
    sources
        Mapping under `sources:`; None: there are no candidate sources.

    Raises
    ------
    ConfigError
        With the path of the wrong key, what was expected and what is allowed.

    Examples
    --------
    >>> features = compile_features({"views": {"count": "page_view"}, "item": {"field": "item_id"}})
    >>> features.vectorize([3, "i7"])
    {'views': 3.0, 'item=i7': 1.0}
    """
    if not isinstance(declaration, Mapping) or not declaration:
        raise ConfigError(("features",), "Expected a mapping of name to feature, such as `item: {field: item_id}`")
    compiler = _Compiler(declaration, segments)
    return compiler.feature_set(compiler.sources(sources))


class _Compiler:
    """One pass over the base features, then one over the crosses, which may stand before their members."""

    def __init__(self, declaration: Mapping[str, Any], segments: object) -> None:
        self._defaults, written = _read_defaults(declaration)
        self._slots = SlotTable()
        self._canonical: list[Any] = [MEANING_VERSION, written]
        self._bodies = {name: body for name, body in declaration.items() if name != DEFAULTS}
        self._known: dict[str, str] = {}
        self._windows_ms: dict[str, int] = {}
        self._of_crowd: list[list[Any]] = []
        self._segments: Segments | None = None
        if segments is not None:
            self._segments = parse_segments(segments, self._bodies, self._slots)
            self._slots.segment_of = self._segments.read

    def sources(self, declaration: object) -> Sources | None:
        """Read the candidate sources; features do not depend on them."""
        if declaration is None:
            return None
        if not isinstance(declaration, Mapping):
            raise ConfigError((SECTION,), "Expected a mapping, such as `{of: [click, page_view], half_life: 1h}`")
        return Sources(declaration, self._slots, self._defaults)

    def feature_set(self, sources: Sources | None) -> FeatureSet:
        families = {name: _family_of(name, body) for name, body in self._bodies.items()}
        made: dict[str, Feature] = {}
        if self._segments is not None:
            describing = [name for name in self._segments.of if families[name] != "cross"]
            made = {name: self._base(name, families[name]) for name in describing}
            self._bind_segments(self._segments, made)
        base = [made.get(name) or self._base(name, family) for name, family in families.items() if family != "cross"]
        if self._segments is not None and SEGMENT not in families.values():
            base.append(self._undeclared_segment())
        crossing = [name for name, family in families.items() if family == "cross"]
        crosses = [self._cross(name, [one.name for one in base], crossing) for name in crossing]
        self._canonical.append(list(families))  # the order of features is the order of stored values
        personal = [name for name, family in families.items() if family == "field" and self._is_personal(name)]
        return FeatureSet(
            _hash(self._canonical),
            list(families),
            base,
            crosses,
            self._slots,
            personal,
            sources=sources,
            segments=self._segments,
            windows_ms=self._windows_ms,
            crowd_hash=hash_of(self._of_crowd, MEANING_VERSION),
        )

    def _bind_segments(self, segments: Segments, describing: Mapping[str, Feature]) -> None:
        check_numbers(describing, segments.of)
        written = ["segments", segments.of, segments.count, segments.at_event]
        self._canonical.append(written)
        segments.bind(
            [describing[name] for name in segments.of],
            Options(SEGMENT, {}, self._slots, self._defaults),
            lambda chosen: describe_source(chosen, self._slots).compiled("extract"),
            json.dumps(self._canonical, sort_keys=True),
        )

    def _undeclared_segment(self) -> Feature:
        """Return the feature that puts the segment on each score; models see it only where it is declared."""
        if SEGMENT in self._bodies:
            raise ConfigError(
                ("features", SEGMENT), "Segments have this name; declare `segment: {segment: visitor}`, or rename this"
            )
        options = Options(SEGMENT, {SEGMENT: "visitor"}, self._slots, self._defaults)
        feature = Feature(SEGMENT, FAMILIES[SEGMENT](options), "category")
        self._of_crowd.append(meaning_of(SEGMENT, options))
        return feature

    def _is_personal(self, name: str) -> bool:
        return self._bodies[name]["field"] in PERSONAL_FIELDS

    def _options(self, name: str) -> Options:
        return Options(name, self._bodies[name], self._slots, self._defaults)

    def _base(self, name: str, family: str) -> Feature:
        options = self._options(name)
        reading = FAMILIES[family](options)
        feature = _with_rules(options, reading)
        options.refuse_unknown()
        self._keep(options, family)
        if reading.read_crowd is not None:
            self._of_crowd.append(meaning_of(family, options))
        return feature

    def _cross(self, name: str, features: list[str], crosses: list[str]) -> Cross:
        options = self._options(name)
        made = cross(options, features, crosses)
        self._keep(options, "cross")
        return made

    def _keep(self, options: Options, family: str) -> None:
        written = json.dumps([family, options.canonical], sort_keys=True)
        twin = self._known.setdefault(written, options.name)
        if twin != options.name:
            raise options.error(f"This is the same feature as {twin!r}; keep one of them")
        self._canonical.append([options.name, family, options.canonical])
        window_ms = options.canonical.get("visits" if family == "visits" else "window")
        if isinstance(window_ms, int):  # and neither `session` nor a rate
            self._windows_ms[options.name] = window_ms


def _with_rules(options: Options, reading: Reading) -> Feature:
    if reading.read_crowd is not None and reading.read_crowd is options.slots.segment_of:
        return Feature(options.name, reading, "category")  # as it is on the score
    if reading.kind == "number":
        return number_feature(options, reading)
    if reading.kind == "category":
        return category_feature(options, reading)
    return Feature(options.name, reading, "cycle", labels=reading.labels)


def _family_of(name: object, body: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            ("features", str(name)), f"Expected a name of up to 64 letters, digits and underscores, got {name!r}"
        )
    families = [*FAMILIES, "cross"]
    expected = f"exactly one of: {', '.join(sorted(families))}"
    if not isinstance(body, Mapping):
        raise ConfigError(("features", name), f"Expected a mapping with {expected}; got {body!r}")
    # `user_agent: {…}` names a family, and so might an option of another one: the first key decides.
    found = [key for key in body if key in families]
    if not found:
        raise ConfigError(("features", name), f"Expected a mapping with {expected}; got {', '.join(map(str, body))}")
    if len(found) > 1:
        raise ConfigError(("features", name, found[1]), f"{found[0]!r} and {found[1]!r} do not go together; keep one")
    return str(found[0])


def _read_defaults(declaration: Mapping[str, Any]) -> tuple[Defaults, dict[str, Any]]:
    if DEFAULTS not in declaration:
        defaults = Defaults()
        return defaults, vars(defaults)
    body = declaration[DEFAULTS]
    if not isinstance(body, Mapping):
        raise ConfigError(("features", DEFAULTS), "Expected a mapping with `inactivity` and `tz_offset_min`")
    options = Options(DEFAULTS, body, SlotTable(), Defaults())
    defaults = Defaults(
        options.duration("inactivity", options.defaults.inactivity_ms, low_ms=60_000, high_ms=86_400_000),
        options.integer("tz_offset_min", options.defaults.tz_offset_min, -840, 840),
    )
    options.refuse_unknown()
    return defaults, vars(defaults)


def _hash(canonical: list[Any]) -> str:
    return blake2b(json.dumps(canonical, sort_keys=True).encode(), digest_size=8).hexdigest()
