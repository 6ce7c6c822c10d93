"""What a replay keeps on disk: users that do not fit into memory, and all it takes to go on later.

One SQLite file for all candidates of a process. Between two checkpoints everything is one transaction,
so a replay that is killed finds the state of its last checkpoint, the same for all candidates, and
nothing of what it did after that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

_ASKED_AT_ONCE = 500  # below SQLite's limit of variables in a statement

_TABLES = """
CREATE TABLE IF NOT EXISTS users{n} (partition INTEGER, user TEXT, state BLOB, PRIMARY KEY (partition, user))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS timers{n} (partition INTEGER, user TEXT, due_ms INTEGER, PRIMARY KEY (partition, user))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept{n} (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
"""


class ReplayFile:
    """The file, and its one transaction.

    Parameters
    ----------
    path
        None: a temporary file that goes with the process.
    """

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect("" if path is None else path, isolation_level=None)
        # What is lost when the machine loses power is a replay that can be run again.
        self._db.execute("PRAGMA synchronous = OFF")
        if path is not None:
            self._db.execute("PRAGMA journal_mode = WAL")

    def candidate(self, number: int) -> ReplayState:
        """Return what is held of a candidate; not within a transaction."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._db.executescript(_TABLES.format(n=number))
        self._db.execute("BEGIN")
        return ReplayState(self._db, number)

    def commit(self) -> None:
        """Make all that was put since the last time what a later process finds."""
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._db.rollback()
        self._db.close()


def holds_checkpoint(path: Path) -> bool:
    """Tell whether a file of an earlier replay holds something to go on with."""
    with closing(sqlite3.connect(path)) as db:
        try:
            tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'kept%'").fetchall()
            return any(db.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for (name,) in tables)
        except sqlite3.DatabaseError:  # of something else, or broken
            return False


class ReplayState:
    """Users, timers and named values of one candidate; made by `ReplayFile.candidate`."""

    def __init__(self, db: sqlite3.Connection, number: int) -> None:
        self._db = db
        self._users = f"users{number}"
        self._timers = f"timers{number}"
        self._kept = f"kept{number}"
        self._any_user = db.execute(f"SELECT 1 FROM {self._users} LIMIT 1").fetchone() is not None

    def load_users(self, partition: int, user_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the states of those users that are held."""
        found: dict[str, bytes] = {}
        if not self._any_user:
            return found
        for first in range(0, len(user_ids), _ASKED_AT_ONCE):
            asked = user_ids[first : first + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(asked))
            found.update(
                self._db.execute(
                    f"SELECT user, state FROM {self._users} WHERE partition = ? AND user IN ({marks})",
                    (partition, *asked),
                )
            )
        return found

    def put_users(self, partition: int, states: Iterable[tuple[str, bytes]]) -> None:
        """Keep users' states."""
        self._any_user = True
        self._db.executemany(
            f"INSERT OR REPLACE INTO {self._users} VALUES (?, ?, ?)",
            ((partition, user, state) for user, state in states),
        )

    def put_timers(self, partition: int, timers: Mapping[str, int | None]) -> None:
        """Keep timers that were set, forget those that were removed."""
        self._db.executemany(
            f"DELETE FROM {self._timers} WHERE partition = ? AND user = ?",
            ((partition, user) for user, due_ms in timers.items() if due_ms is None),
        )
        self._db.executemany(
            f"INSERT OR REPLACE INTO {self._timers} VALUES (?, ?, ?)",
            ((partition, user, due_ms) for user, due_ms in timers.items() if due_ms is not None),
        )

    def timers(self) -> dict[int, dict[str, int]]:
        """Return all timers, by partition."""
        found: dict[int, dict[str, int]] = {}
        for partition, user, due_ms in self._db.execute(f"SELECT partition, user, due_ms FROM {self._timers}"):
            found.setdefault(partition, {})[user] = due_ms
        return found

    def put(self, name: str, value: bytes) -> None:
        """Keep a named value."""
        self._db.execute(f"INSERT OR REPLACE INTO {self._kept} VALUES (?, ?)", (name, value))

    def get(self, name: str) -> bytes | None:
        """Return a named value."""
        row = self._db.execute(f"SELECT value FROM {self._kept} WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])
