"""Turns features into straight-line Python.

A loop over twenty features costs more than the features. So the functions of a `FeatureSet` are
written out as source, one or two lines a feature, and compiled once. The source can be read
(`FeatureSet.source`); of the configuration it holds nothing but feature names, which are checked to be
identifiers. All other values are bound to names made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import cos, pi, sin
from typing import Any, NamedTuple

from online_models.features.memo import MAX_NAMES, Memo
from online_models.features.names import crossed, one_hot
from online_models.features.plan import CLOCK, Cross, Crowd, Feature, SlotTable, Tell
from online_models.features.transforms import TRANSFORMS
from online_models.sums import score_named, sigmoid
from schemas.events import EVENT_TYPES

# A crowd of which nothing is known.
NOBODY: Crowd = {}


class Source:
    """Source of one module and what its free names stand for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = dict(TRANSFORMS)

    def add(self, *lines: str, indent: int = 1) -> None:
        """Append lines of a function's body."""
        self.lines += [("    " * indent + line) if line else line for line in lines]

    def bind(self, name: str, value: Any) -> str:
        """Let `name` stand for `value`; return the name."""
        self.names[name] = value
        return name

    @property
    def text(self) -> str:
        """The whole source."""
        return "\n".join(self.lines) + "\n"

    def compiled(self, function: str) -> Callable[..., Any]:
        """Compile and return the function of that name."""
        scope = dict(self.names)
        exec(compile(self.text, f"<features: {function}>", "exec"), scope)
        compiled: Callable[..., Any] = scope[function]
        return compiled


def fold_source(slots: SlotTable) -> Source:
    """Write ``fold(slots, event)``: for each event type one function with the folds that it needs."""
    source = Source()
    table: dict[tuple[str, ...], str] = {}
    functions: list[str] = []
    for event_type in EVENT_TYPES:
        folds = slots.folds(event_type)
        keys = tuple(folds)
        if keys not in table:
            table[keys] = f"fold_{event_type}"
            source.add(f"def {table[keys]}(slots, event):", indent=0)
            source.add("ts = event.ts")
            for number, (key, fold) in enumerate(folds.items()):
                name = source.bind(f"fold_{event_type}_{number}", fold)
                source.add(f"{name}(slots, event, ts)  # {key}")
            source.add("", indent=0)
        functions.append(f"    {event_type!r}: {table[keys]},")
    source.add("FOLDS = {", *functions, "}", "", indent=0)
    source.add("def fold(slots, event):", indent=0)
    source.add("FOLDS[event.type](slots, event)")
    return source


def extract_source(features: Sequence[Feature], slots: SlotTable, *, unfolded: bool = False) -> Source:
    """Write ``extract(slots, event, crowd)``: one value for each base feature.

    With `unfolded`, ``extract(slots, event, crowd, folded)`` of events that were not folded, see `Reading.unfolded`.
    """
    source = Source()
    source.bind("NOBODY", NOBODY)
    source.add(f"def extract(slots, event, crowd=NOBODY{', folded=None' if unfolded else ''}):", indent=0)
    _add_times(source, slots)
    for index, feature in enumerate(features):
        _add_value(source, index, feature, unfolded=unfolded)
    source.add(f"return [{', '.join(f'v{index}' for index in range(len(features)))}]")
    return source


def _add_times(source: Source, slots: SlotTable) -> None:
    source.add("ts = now = event.ts")
    if slots.keys:
        source.add(f"latest = slots[{slots.keys.index(CLOCK)}]")
        source.add("if latest is not None and latest > ts:", "    now = latest")


def describe_source(features: Sequence[Feature], slots: SlotTable) -> Source:
    """Write ``extract(slots, event)`` of numbers, as a model sees them; None where one is missing."""
    source = extract_source(features, slots)
    values = [
        _number(index, one) if one.always else f"None if v{index} is None else {_number(index, one)}"
        for index, one in enumerate(features)
    ]
    source.lines[-1] = f"    return [{', '.join(values)}]"
    return source


def _add_value(
    source: Source, index: int, feature: Feature, *, indent: int = 1, many: bool = False, unfolded: bool = False
) -> None:
    value, reading = f"v{index}", feature.reading
    if reading.expression:
        read = reading.expression
    elif many and reading.glance:
        read = f"glance_{index}(event)"
    elif unfolded and reading.unfolded:
        read = f"{source.bind(f'read_{index}', reading.unfolded)}(slots, event, now, folded)"
    elif reading.read_crowd:
        read = f"{source.bind(f'read_{index}', reading.read_crowd)}(slots, event, now, crowd)"
    else:
        read = f"{source.bind(f'read_{index}', reading.read)}(slots, event, now)"
    source.add(f"{value} = {read}  # {feature.name}", indent=indent)
    rules: list[str] = []
    if feature.clip:
        low, high = source.bind(f"low_{index}", feature.clip[0]), source.bind(f"high_{index}", feature.clip[1])
        rules += [f"{value} = {low} if {value} < {low} else {high} if {value} > {high} else {value}"]
    if feature.adjust:
        rules += [f"{value} = {source.bind(f'adjust_{index}', feature.adjust)}({value})"]
    if reading.always:
        source.add(*rules, indent=indent)
        return
    if feature.default is not None:
        default = source.bind(f"default_{index}", feature.default)
        source.add(f"if {value} is None:", f"    {value} = {default}", indent=indent)
    if rules:
        source.add("else:" if feature.default is not None else f"if {value} is not None:", indent=indent)
        source.add(*rules, indent=indent + 1)


def tells_by_type(slots: SlotTable) -> dict[str, list[Tell]]:
    """Return, by event type, what tells the crowd tables of an event; types of which nothing is told are left out."""
    found = {event_type: slots.crowd.tells(event_type) for event_type in EVENT_TYPES}
    return {event_type: tells for event_type, tells in found.items() if tells}


class Entry(NamedTuple):
    """What a feature or a cross puts into a vector, as source: (name, value) pairs, if `condition` holds.

    Attributes
    ----------
    of_item
        See `Reading`.
    """

    condition: str
    pairs: list[tuple[str, str]]
    of_item: bool


def vectorize_source(features: Sequence[Feature], shown: Sequence[str], crosses: Sequence[Cross]) -> Source:
    """Write ``vectorize(values)``: what a model sees of the features and crosses in `shown`."""
    source = Source()
    source.add("def vectorize(values):", indent=0)
    _unpack(source, features)
    source.add("x = {}")
    for entry in _entries(source, features, shown, crosses):
        lines = [f"x[{name}] = {value}" for name, value in entry.pairs]
        _add_entry(source, entry, lines)
    source.add("return x")
    return source


def score_source(features: Sequence[Feature], shown: Sequence[str], crosses: Sequence[Cross]) -> Source:
    """Write ``score(values, weights, logit, k)``: `explain.score_linear` of the vector, without making the vector.

    Sums in the order of the vector, so that both come to the same result, bit for bit.
    """
    source = Source()
    source.bind("score_named", score_named)
    source.add("def score(values, weights, logit, k):", indent=0)
    _unpack(source, features)
    pairs = [
        (f"{name} if {entry.condition} else None", f"{value} if {entry.condition} else 0.0")
        if entry.condition
        else (name, value)
        for entry in _entries(source, features, shown, crosses)
        for name, value in entry.pairs
    ]
    source.add("names = [", *(f"    {name}," for name, _ in pairs), "]")
    source.add("numbers = [", *(f"    {number}," for _, number in pairs), "]")
    source.add("return score_named(weights, names, numbers, logit, k)")
    return source


def shortlist_source(
    features: Sequence[Feature], shown: Sequence[str], crosses: Sequence[Cross], slots: SlotTable
) -> Source:
    """Write ``shortlist(slots, event, put, candidates, crowd, values, weight_of, logit, folded)``.

    It scores many items. `event`, which was not folded, stands for all of them in turn: ``put(event, candidate)`` gives
    it an item. `values` are those of `FeatureSet.extract_unfolded` with any item and the same `folded`; what does not
    depend on the item is taken from there, and weighed once. So the sum has another order than in `score`, and may
    differ from it in the last digits.
    """
    source = Source()
    source.names["sigmoid"] = sigmoid
    source.add("def shortlist(slots, event, put, candidates, crowd, values, weight_of, logit, folded=None):", indent=0)
    _add_times(source, slots)
    _unpack(source, features)
    entries = list(_entries(source, features, shown, crosses))
    for entry in entries:
        if not entry.of_item:
            _add_weighed(source, entry, "logit", indent=1)
    needed = _members(shown, crosses)
    of_item = [(index, one) for index, one in enumerate(features) if one.reading.of_item and one.name in needed]
    for index, feature in of_item:
        if feature.reading.glance:
            source.add(f"glance_{index} = {source.bind(f'look_{index}', feature.reading.glance)}(slots, now, crowd)")
    source.add("found = []", "for candidate in candidates:")
    source.add("put(event, candidate)", "x = logit", indent=2)
    for index, feature in of_item:
        _add_value(source, index, feature, indent=2, many=True, unfolded=True)
    for entry in entries:
        if entry.of_item:
            _add_weighed(source, entry, "x", indent=2)
    source.add("found.append(sigmoid(x))", indent=2)
    source.add("return found")
    return source


def _members(shown: Sequence[str], crosses: Sequence[Cross]) -> set[str]:
    """Return the base features that the shown ones are made of."""
    by_name = {cross.name: cross.members for cross in crosses}
    return {member for name in shown for member in by_name.get(name, (name,))}


def _add_weighed(source: Source, entry: Entry, total: str, *, indent: int) -> None:
    if entry.condition:
        source.add(f"if {entry.condition}:", indent=indent)
        indent += 1
    for name, value in entry.pairs:
        source.add(f"weight = weight_of({name})", "if weight is not None:", indent=indent)
        source.add(f"    {total} += {'weight' if value == '1.0' else f'weight * ({value})'}", indent=indent)


def _unpack(source: Source, features: Sequence[Feature]) -> None:
    if features:
        source.add(f"{', '.join(f'v{index}' for index in range(len(features)))}, = values")


def _add_entry(source: Source, entry: Entry, lines: Sequence[str]) -> None:
    if entry.condition:
        source.add(f"if {entry.condition}:")
    source.add(*lines, indent=2 if entry.condition else 1)


def _entries(
    source: Source, features: Sequence[Feature], shown: Sequence[str], crosses: Sequence[Cross]
) -> Iterator[Entry]:
    places = {feature.name: index for index, feature in enumerate(features)}
    by_name = {cross.name: cross for cross in crosses}
    crossed_before: set[tuple[str, ...]] = set()
    for number, name in enumerate(shown):
        if name in places:
            yield _feature_entry(source, places[name], features[places[name]])
            continue
        members = tuple(by_name[name].members)
        if members not in crossed_before:  # a second one would put the same value under the same name
            crossed_before.add(members)
            yield _cross_entry(source, number, [(places[member], features[places[member]]) for member in members])


def _feature_entry(source: Source, index: int, feature: Feature) -> Entry:
    value = f"v{index}"
    if feature.kind == "number":
        pairs = [(repr(feature.name), _number(index, feature))]
    elif feature.kind == "cycle":
        turns = [2.0 * pi * step / feature.reading.period for step in range(feature.reading.period)]
        sines, cosines = source.bind(f"sin_{index}", list(map(sin, turns))), f"cos_{index}"
        source.bind(cosines, list(map(cos, turns)))
        pairs = [(f"'{feature.name}.sin'", f"{sines}[{value}]"), (f"'{feature.name}.cos'", f"{cosines}[{value}]")]
    else:
        names = source.bind(f"names_{index}", Memo(one_hot(feature.name, feature.labels), MAX_NAMES))
        pairs = [(f"{names}[{value}]", "1.0")]
    return Entry("" if feature.always else f"{value} is not None", pairs, feature.reading.of_item)


def _number(index: int, feature: Feature) -> str:
    # + 0.0 makes counts floats, as models and the wire have them.
    return f"{feature.transform}(v{index})" if feature.transform else f"v{index} + 0.0"


def _cross_entry(source: Source, number: int, members: list[tuple[int, Feature]]) -> Entry:
    needed = [f"v{index} is not None" for index, feature in members if not feature.always]
    factors = [f"({_number(index, feature)})" for index, feature in members if feature.kind == "number"]
    categories = [(index, feature) for index, feature in members if feature.kind != "number"]
    prefix = "*".join(feature.name for _, feature in members if feature.kind == "number")
    name = repr(prefix)
    if categories:
        parts = [one_hot(feature.name, feature.labels) for _, feature in categories]
        names = source.bind(f"cross_{number}", Memo(_prefixed(prefix, crossed(parts)), MAX_NAMES))
        name = f"{names}[{', '.join(f'v{index}' for index, _ in categories)},]"
    of_item = any(feature.reading.of_item for _, feature in members)
    return Entry(" and ".join(needed), [(name, " * ".join(factors) or "1.0")], of_item)


def _prefixed(prefix: str, name_of: Callable[[Any], str]) -> Callable[[Any], str]:
    return (lambda values: f"{prefix}*{name_of(values)}") if prefix else name_of
