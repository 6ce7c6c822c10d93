"""Calibration: a learned map from what a model says to how often it comes true.

Models that learn online lag behind a base rate that moves, and regularization, thinned-out negatives and wrong
features pull their probabilities away from the truth. A ranking forgives that; a bid does not. So the learner of a
model also learns from pairs (the model's probability of a trigger, its label) and publishes a curve with each version
of the model. The score is the model's probability led through it; what the model itself said stays beside it as `raw`.

The probability of a pair is what the learner's model says just before it learns the label, as in progressive
validation (Dawid, "Statistical Theory: The Prequential Approach", 1984), not what a scorer was told by an older version
at the trigger. Labels are late, and a model that was wrong then has mended part of it since; a curve of what was said
then mends that part a second time. After a jump of the base rate such curves overshot by half of the rate. Only where
the features are not at hand with the label (`labels: immediate`) it is what was said.

Kept is one thing for both kinds: how many triggers and how many positives came at which raw logit, for all and for each
slice, fading by half with each `half_life` positives. The clock counts positives because they are what tells a rate:
the same number of them makes a rate of 0.1 % as certain as one of 2 %, relative to it, so one default holds for both.
Curves are fitted when a version is published (`online_models.calibration_fit`), from these counts alone, so that a
curve is a function of the examples before it, however often one publishes. What has little data is drawn to what has
more: a slice to the whole, the monotone curve to the line, the line to the model.

Refused: gradient steps on the two numbers of a line (a rate to be tuned, and a state that depends on it; counts cost no
more), and a window of the last N pairs (memory, and a jump when a burst leaves it).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from online_models.calibration_fit import (
    IDENTITY,
    MODEL_BELIEF,
    SLICE_BELIEF,
    Bin,
    Line,
    fitted_curve,
    fitted_line,
    logit_of,
    on_curve,
    probability_of,
)
from online_models.held_back import HeldBack
from schemas.examples import Example
from schemas.models import Calibration, Curve

Kind = Literal["platt", "isotonic"]

# Bins of a raw logit; within one, a line is as good as the curve.
BINS_PER_LOGIT = 4
# Slices that are counted; of more, the lightest make room. A manifest stays below 200 kB with them.
MOST_SLICES = 128
# So much of a full table goes at once: sorting costs as much for one slice as for many.
_FORGOTTEN_SHARE = 8
# A slice of fewer positives, expected or come, is not told apart from the whole.
LEAST_OF_SLICE = 2.0
# The weight of labels doubles with each half-life, instead of all before it being halved. After so many
# half-lives all weights are scaled by a power of two, which changes no bit of their fractions.
_HALVINGS = 64
# What weighs less than this many labels of now is forgotten then.
_NOTHING = 2.0**-40
# Positives that wait for the end of their window; of more, the earliest of the partition that has most wait no longer.
_MOST_WAITING = 100_000


class Calibrating(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an objective's probabilities are calibrated.

    Attributes
    ----------
    kind
        "platt": a line of the logit; "isotonic": a monotone curve around that line.
    by
        Categorical base feature, of whose values each gets a curve of its own; None: one curve for all.
    half_life
        Positives after which a label counts half; fewer follow a drift sooner, more tell finer.
    """

    kind: Kind
    by: str | None = None
    half_life: Annotated[int, Meta(ge=20, le=10**6)] = 100


def calibrated(calibration: Calibration, p: float, value: str | None) -> float:
    """Return the calibrated probability of a model's own, never 0 or 1; `value`: of the feature it goes ``by``."""
    curve = calibration.whole
    if value is not None and calibration.slices:
        curve = calibration.slices.get(value, curve)
    return probability_of(on_curve(curve, logit_of(p)))


def slice_name(value: Any) -> str | None:
    """Return the name of a slice, by the value of its feature; None: the whole."""
    return None if value is None else str(value)


def raw_said_by(variant: str, example: Example) -> float | None:
    """Return what a variant's model itself said at a trigger; None if it said nothing, or had learned nothing."""
    if variant == example.variant:
        return example.raw if example.model_version else None
    _, version = example.shadows.get(variant, (0.0, 0))
    return example.raw_shadows.get(variant) if version else None


# By number of the bin: weight, weight of positives, weighted sum of raw logits.
_Counts = dict[int, list[float]]


def _bins(counts: _Counts, unit: float) -> list[Bin]:
    """Return bins in order, in labels of now."""
    found = []
    for number in sorted(counts):
        weight, positives, moment = counts[number]
        low = number / BINS_PER_LOGIT
        # Within its bin also after rounding, so that bins stay in order.
        x = min(max(moment / weight, low), low + 1.0 / BINS_PER_LOGIT - 1e-9)
        found.append(Bin(x, weight / unit, positives / unit))
    return found


class Calibrator:
    """Learns the calibration of one model.

    Parameters
    ----------
    closes_after_ms
        Event time from a trigger until its window has closed. Positives that are known earlier wait for it,
        by the clock of their own partition: else there are nothing but positives at first, and too many of them
        whenever traffic grows.
    by_said
        It is told what was said at the triggers, even where the model could be asked again.

    Attributes
    ----------
    declared, by_said
        As given.
    learned
        Labels so far.

    Examples
    --------
    A model that says 50 % where nothing ever comes:

    >>> calibrator = Calibrator(Calibrating(kind="platt"))
    >>> for _ in range(1000):
    ...     calibrator.learn_one(0.5, False)
    >>> calibrated(calibrator.calibration(), 0.5, None) < 0.01
    True
    """

    def __init__(self, declared: Calibrating, *, closes_after_ms: int = 0, by_said: bool = False) -> None:
        self.declared = declared
        self.by_said = by_said
        self.learned = 0
        self._closes_after_ms = closes_after_ms
        self._since_scaled = 0  # positives
        self._weight = 1.0
        self._whole: _Counts = {}
        self._slices: dict[str, _Counts] = {}
        self._waiting: HeldBack[tuple[int, int, float, str | None]] = HeldBack()
        self._numbered = 0

    def update(self, example: Example, said: float | None) -> None:
        """Learn the label of a judged trigger, as soon as its window has closed.

        Parameters
        ----------
        said
            What the model says of the trigger, not knowing its label; None: nothing, and nothing is learned.
        """
        while len(self._waiting) > _MOST_WAITING:
            _, _, raw, value = self._waiting.earliest()
            self.learn_one(raw, True, value)
        for _, _, raw, value in self._waiting.released(example):
            self.learn_one(raw, True, value)
        if said is None:
            return
        due_ms = example.ts + self._closes_after_ms
        if example.label and due_ms > example.released_ts:
            self._numbered += 1
            self._waiting.add(example, (due_ms, self._numbered, said, example.slice))
        else:
            self.learn_one(said, example.label, example.slice)

    def learn_one(self, p: float, label: bool, value: str | None = None) -> None:
        """Learn that a trigger of a slice to which the model gave `p` had this label."""
        if label:
            self._since_scaled += 1
            if self._since_scaled >= _HALVINGS * self.declared.half_life:
                self._scale()
            self._weight = self._weight_of_now()
        weight = self._weight
        self.learned += 1
        x = logit_of(p)
        number = floor(x * BINS_PER_LOGIT)
        _add(self._whole, number, x, weight, label)
        if value is not None and self.declared.by is not None:
            counts = self._slices.get(value)
            if counts is None:
                if len(self._slices) >= MOST_SLICES:
                    self._forget(MOST_SLICES // _FORGOTTEN_SHARE)
                counts = self._slices[value] = {}
            _add(counts, number, x, weight, label)

    def _weight_of_now(self) -> float:
        return float(2.0 ** (self._since_scaled / self.declared.half_life))

    def _scale(self) -> None:
        by = 2.0**-_HALVINGS
        for counts in (self._whole, *self._slices.values()):
            for number, bin_ in list(counts.items()):
                bin_[:] = [one * by for one in bin_]
                if bin_[0] < _NOTHING:
                    del counts[number]
        self._slices = {value: counts for value, counts in self._slices.items() if counts}
        self._since_scaled -= _HALVINGS * self.declared.half_life

    def _forget(self, count: int) -> None:
        lightest = sorted((sum(bin_[0] for bin_ in counts.values()), value) for value, counts in self._slices.items())
        for _, value in lightest[:count]:
            del self._slices[value]

    def calibration(self) -> Calibration:
        """Return the curves of what was learned."""
        unit = self._weight
        bins = _bins(self._whole, unit)
        line = fitted_line(bins, IDENTITY, MODEL_BELIEF)
        isotonic = self.declared.kind == "isotonic"
        whole = fitted_curve(bins, line.at) if isotonic else line.curve()
        slices = {}
        for value, counts in self._slices.items():
            own = _bins(counts, unit)
            if _enough(own, whole):
                slices[value] = _slice_curve(own, line, whole if isotonic else None)
        return Calibration(whole=whole, slices=slices)

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        return [
            [self.learned, self._since_scaled, self._numbered],
            [[number, *bin_] for number, bin_ in self._whole.items()],
            {value: [[number, *bin_] for number, bin_ in counts.items()] for value, counts in self._slices.items()},
            self._waiting.state(),
        ]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave, under the same declaration."""
        (self.learned, self._since_scaled, self._numbered), whole, slices, waiting = state
        self._weight = self._weight_of_now()
        self._whole = _counts(whole)
        self._slices = {value: _counts(counts) for value, counts in slices.items()}
        self._waiting.restore(waiting)


def _add(counts: _Counts, number: int, x: float, weight: float, label: bool) -> None:
    bin_ = counts.get(number)
    if bin_ is None:
        bin_ = counts[number] = [0.0, 0.0, 0.0]
    bin_[0] += weight
    if label:
        bin_[1] += weight
    bin_[2] += weight * x


def _counts(bins: Sequence[Sequence[Any]]) -> _Counts:
    return {number: [float(one) for one in values] for number, *values in bins}


def _enough(bins: Sequence[Bin], whole: Curve) -> bool:
    expected = sum(one.weight * probability_of(on_curve(whole, one.x)) for one in bins)
    return max(expected, sum(one.positives for one in bins)) >= LEAST_OF_SLICE


def _slice_curve(bins: Sequence[Bin], line: Line, whole: Curve | None) -> Curve:
    """Return a slice's curve: around the line, or around the whole's monotone curve."""
    if whole is None:
        return fitted_line(bins, line, SLICE_BELIEF).curve()
    return fitted_curve(bins, lambda x: on_curve(whole, x))
