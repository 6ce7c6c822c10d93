"""FeatureSet: the compiled features of one configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from zlib import crc32

from online_models.errors import ConfigError
from online_models.features.crowd_values import CrowdValues
from online_models.features.generate import (
    extract_source,
    fold_source,
    score_source,
    shortlist_source,
    tells_by_type,
    vectorize_source,
)
from online_models.features.plan import Cross, Crowd, Feature, Slots, SlotTable, Value
from online_models.features.segments import Segments
from online_models.features.sources import Sources

# (values, weights, intercept, k) -> (probability, reasons): `explain.score_linear` of the vector of these values,
# bit for bit, without making the vector.
LinearScorer = Callable[[Sequence[Value], dict[str, float], float, int], tuple[float, list[tuple[str, float]]]]


class FeatureSet:
    """Features compiled from a declaration; pure functions of slots and event.

    Call ``fold`` first, then ``extract``: features include the event itself (the count of page views
    includes this one), and nothing that stands behind it in the log. Event time is the event's;
    for an event that is late, ages are measured from the visitor's latest event.

    Attributes
    ----------
    hash
        16 hex digits of the canonical declaration; another hash means that values have another meaning.
    names
        Declared names, crosses included, in order.
    personal
        Names of those whose values are a visitor's own words or id: not to be shown.
    slot_keys
        Identity of each slot.
    layout
        32 bits that tell sets of slots apart.
    sources
        Where candidates come from if a request brings none; None: nowhere.
    fold
        ``fold(slots, event)`` takes the event into the slots, in place. Slots are positional as in
        ``slot_keys``, None where untouched, and hold msgpack primitives.
    extract
        ``extract(slots, event, crowd)`` returns one compact value for each base feature; changes nothing. ``crowd``
        is what is known of all visitors; left out: nothing.
    extract_unfolded
        ``extract_unfolded(slots, event, crowd, folded)``: as `extract`, of an event that was not folded. Left out or
        None, ``folded`` says that all that is kept was before it, as of the candidates of a ranking; otherwise it is
        the event in whose place this one stands, the last one that was folded, such as of a bid request an ad's.
    crowd_tables
        By prefix, the tables that ``crowd`` is made of; empty if no feature needs it.
    crowd_hash
        8 hex digits of what the values of features that need the crowd mean; empty if there are none.
    crowd_positions
        Where the values of features that need the crowd stand in what extract returns.
    segments
        Of visitors; None: they are not declared.
    windows_ms
        By name, the windows of those that look back a declared time.
    vectorize
        ``vectorize(values)`` returns what a model sees of all features: numbers as ``name``, categories
        as ``name=value`` with 1.0, crosses as ``a=x*b=y``. There is no bias in it.
    """

    def __init__(
        self,
        hash_: str,
        names: Sequence[str],
        features: Sequence[Feature],
        crosses: Sequence[Cross],
        slots: SlotTable,
        personal: Collection[str],
        sources: Sources | None = None,
        segments: Segments | None = None,
        windows_ms: Mapping[str, int] | None = None,
        crowd_hash: str = "",
    ) -> None:
        self.hash = hash_
        self.names = list(names)
        self.personal = frozenset(personal)
        self.slot_keys = slots.keys
        self.sources = sources
        self.crowd_tables = slots.crowd.by_prefix
        self._crowd_values = CrowdValues(features, crowd_hash, segments.count if segments else 0)
        self.crowd_hash = crowd_hash
        self.crowd_positions = self._crowd_values.positions
        self.segments = segments
        self.windows_ms = dict(windows_ms or {})
        crowded = [one.reading.read_crowd for one in features if one.reading.read_crowd]
        self._segment = crowded.index(slots.segment_of) if slots.segment_of else None
        self._tells = tells_by_type(slots)
        self._features = list(features)
        self._crosses = list(crosses)
        self._positions = {feature.name: index for index, feature in enumerate(features)}
        self._vectorizers: dict[tuple[str, ...], Callable[[Sequence[Value]], dict[str, float]]] = {}
        self._scorers: dict[tuple[str, ...], LinearScorer] = {}
        self._shortlists: dict[tuple[str, ...], Callable[..., list[float]]] = {}
        self._slots = slots
        fold, extract = fold_source(slots), extract_source(features, slots)
        self._sources = (fold.text, extract.text, vectorize_source(features, names, crosses).text)
        self.fold: Callable[[Slots, Any], None] = fold.compiled("fold")
        self.extract: Callable[..., list[Value]] = extract.compiled("extract")
        self.extract_unfolded: Callable[..., list[Value]] = extract_source(features, slots, unfolded=True).compiled(
            "extract"
        )
        self.vectorize = self.vectorizer(self.names)

    @property
    def layout(self) -> int:
        """How states are told apart: by the features, and by what candidate sources keep beside them."""
        declared = int(self.hash[:8], 16)
        return declared if self.sources is None else declared ^ crc32("".join(self.slot_keys).encode())

    @property
    def source(self) -> str:
        """The generated Python, to be read."""
        return "\n\n".join(self._sources)

    @property
    def base_names(self) -> list[str]:
        """Names in the order of what extract returns; crosses have no value of their own."""
        return list(self._positions)

    @property
    def cross_members(self) -> dict[str, Sequence[str]]:
        """Names of the crosses, and of the base features that each is made of."""
        return {one.name: one.members for one in self._crosses}

    def new_slots(self) -> Slots:
        """Return the slots of a visitor of whom nothing is known."""
        return [None] * len(self.slot_keys)

    def told(self, slots: Slots, event: Any, crowd: Crowd) -> dict[str, float]:
        """Return what an event that was folded tells the crowd tables: by which heights it raises which counters."""
        told: dict[str, float] = {}
        for tell in self._tells.get(event.type, ()):
            tell(slots, event, event.ts, told, crowd)
        return told

    def crowd_values(self, values: Sequence[Value]) -> list[Value]:
        """Return the values of the features that need the crowd."""
        return [values[position] for position in self.crowd_positions]

    def with_crowd(self, values: Sequence[Value], crowd_values: Sequence[Value], crowd_hash: str = "") -> list[Value]:
        """Return values in which those of the features that need the crowd are what `crowd_values` gave before.

        They stay as they are if that was of another declaration, or none needed the crowd then.

        Parameters
        ----------
        crowd_hash
            What was told with them; empty: a version before has written them.
        """
        found = list(values)
        if not self._crowd_values.may_stand(crowd_values, crowd_hash):
            return found
        for position, value in zip(self.crowd_positions, crowd_values, strict=True):
            found[position] = value
        return found

    def segment_in(self, crowd_values: Sequence[Value]) -> str | None:
        """Return the visitor's segment, given what `crowd_values` returned; None: there are none."""
        if self._segment is None or self._segment >= len(crowd_values):  # of a configuration before this one
            return None
        found = crowd_values[self._segment]
        return found if isinstance(found, str) else None

    def told_segment(self, crowd_values: Sequence[Value], crowd_hash: str) -> str | None:
        """Return the segment in what was told with a hash, see `with_crowd`; None: it is of another declaration."""
        known = self._crowd_values.may_stand(crowd_values, crowd_hash)
        return self.segment_in(crowd_values) if known else None

    def position(self, name: str) -> int:
        """Return where the value of a base feature stands in what extract returns.

        Raises
        ------
        ConfigError
            There is no such base feature; a cross has no value of its own.
        """
        if name not in self._positions:
            why = "a cross, which has no value of its own" if name in self.names else "not declared"
            raise ConfigError((name,), f"{name!r} is {why}; expected one of: {', '.join(self._positions)}")
        return self._positions[name]

    def positions_behind(self, names: Sequence[str]) -> frozenset[int]:
        """Return where the values stand that these features are made of; of a cross, those of its members."""
        crosses = self.cross_members
        return frozenset(self.position(base) for name in names for base in crosses.get(name, (name,)))

    def jumping(self, names: Sequence[str]) -> list[str]:
        """Return which of these features and crosses show a model a number that one event can make very large.

        It has neither `clip`, `bins` nor `transform`, so it is a price, an amount or a time as it is.
        """
        return [name for name in names if any(self._features[place].jumps for place in self.positions_behind([name]))]

    def depends_on_item(self, name: str) -> bool:
        """Tell whether a base feature's value may depend on the event's item; raises ConfigError."""
        return self._features[self.position(name)].reading.of_item

    def condition_kind(self, name: str) -> str:
        """Return what a condition on a base feature can compare: "number" or "category".

        Raises
        ------
        ConfigError
            It is a cross, a point on a circle, or cut into bins, of which only numbers are kept.
        """
        feature = self._features[self.position(name)]
        if feature.kind == "cycle" or feature.labels is not None:
            raise ConfigError(
                (name,),
                f"{name!r} keeps no value to compare (bins, crosses and circles do not); "
                "declare it a second time without bins, and name that one under `without`",
            )
        return feature.kind

    def vectorizer(self, names: Sequence[str]) -> Callable[[Sequence[Value]], dict[str, float]]:
        """Return the function that vectorizes only the named features and crosses.

        Raises
        ------
        ConfigError
            A name is not declared.
        """
        chosen = self._declared(names)
        if chosen not in self._vectorizers:
            source = vectorize_source(self._features, chosen, self._crosses)
            self._vectorizers[chosen] = source.compiled("vectorize")
        return self._vectorizers[chosen]

    def linear_scorer(self, names: Sequence[str]) -> LinearScorer:
        """Return the function that scores the named features and crosses by weights; see `LinearScorer`.

        Raises
        ------
        ConfigError
            A name is not declared.
        """
        chosen = self._declared(names)
        if chosen not in self._scorers:
            self._scorers[chosen] = score_source(self._features, chosen, self._crosses).compiled("score")
        return self._scorers[chosen]

    def shortlist(self, names: Sequence[str]) -> Callable[..., list[float]]:
        """Return the function that scores many items for one visitor; see `generate.shortlist_source`.

        Raises
        ------
        ConfigError
            A name is not declared.
        """
        chosen = self._declared(names)
        if chosen not in self._shortlists:
            source = shortlist_source(self._features, chosen, self._crosses, self._slots)
            self._shortlists[chosen] = source.compiled("shortlist")
        return self._shortlists[chosen]

    def _declared(self, names: Sequence[str]) -> tuple[str, ...]:
        for name in names:
            if name not in self.names:
                raise ConfigError((name,), f"No feature is called {name!r}; expected: {', '.join(self.names)}")
        return tuple(names)

    def migrate(self, slots: Slots, old_slot_keys: Sequence[str]) -> Slots:
        """Return slots in the order of this set: those it knows carried over, the others empty."""
        held = dict(zip(old_slot_keys, slots, strict=False))
        return [held.get(key) for key in self.slot_keys]
