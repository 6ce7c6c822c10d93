"""What is served of an objective at the moment: its declared model, or a challenger that was promoted."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.models import Cause, Serving


class Served:
    """Which variant is served; changed as records come, read for each trigger.

    Attributes
    ----------
    variant, before
        Names of this variant and of the one before it; the declared model's is empty.
    number, cause
        Counts the changes; why the last one was made, as in a `schemas.models.Serving`.
    known
        False: the variant that was promoted is no longer declared, and the declared model is served.
    """

    def __init__(self, variants: Iterable[str] = ("",)) -> None:
        self.variant = ""
        self.before = ""
        self.number = 0
        self.cause: Cause = ""
        self.known = True
        self._variants = frozenset(variants)

    def follow(self, record: Serving) -> None:
        """Serve what a record says, unless a later one was there before.

        Of two with the same number, which two who decided at once have made, the later one in the log holds: whoever
        starts afterwards finds that alone, because the topic is compacted.
        """
        if record.number >= self.number:
            self.number, self.cause = record.number, record.cause
            self.known = record.variant in self._variants
            self.variant = record.variant if self.known else ""
            self.before = record.before if record.before in self._variants else ""

    def record(self, objective: str) -> Serving:
        """Return the record that leads here."""
        return Serving(
            objective=objective, variant=self.variant, before=self.before, number=self.number, cause=self.cause
        )
