"""Names of crowd counters: a table's prefix, the group (empty: everybody), a separator, and the member.

Without the member it is the total of the group. Ids may hold any character, so what the separator is made of is escaped
in them, and a name has exactly one separator. Names of before that was so are those of today, but for the few with more
separators: nobody looks for these, and nobody takes them apart.
"""

from __future__ import annotations

SEPARATOR = "\t"
_ESCAPE = "\x1b"


def escaped(text: str) -> str:
    """Return a group or a member as it stands in a name: without separators, and another one for another text."""
    if text.isprintable():  # neither a tab nor an escape; nearly all are
        return text
    return text.replace(_ESCAPE, f"{_ESCAPE}e").replace(SEPARATOR, f"{_ESCAPE}t")


def unescaped(part: str) -> str:
    """Return the text of what `escaped` gave.

    Examples
    --------
    >>> [unescaped(escaped(text)) for text in ("i7", "a\\tb", "a\\x1bt")] == ["i7", "a\\tb", "a\\x1bt"]
    True
    """
    if _ESCAPE not in part:
        return part
    return part.replace(f"{_ESCAPE}t", SEPARATOR).replace(f"{_ESCAPE}e", _ESCAPE)


def total_name(prefix: str, group: str) -> str:
    """Return the name of a group's total; with an escaped member behind it, it is that member's."""
    return f"{prefix}{escaped(group)}{SEPARATOR}"
