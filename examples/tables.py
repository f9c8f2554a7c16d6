"""Tables that a session loads and asks: a live database in `local`, what it was made from in `shared`."""

from __future__ import annotations

import os
import sqlite3

import lair_worker as lair


def database() -> sqlite3.Connection:
    """The session's own: it is in this process, and nobody else's calls see it."""
    session = lair.context().session
    if "database" not in session.local:
        session.local["database"] = sqlite3.connect(":memory:")
        for key in session.shared.keys("table "):  # of a session that has been reopened: as it was
            fill(session.local["database"], key[len("table ") :], session.shared[key])
    return session.local["database"]


def fill(database: sqlite3.Connection, table: str, rows: list) -> None:
    name = '"' + table.replace('"', '""') + '"'
    columns = ", ".join(f"c{i}" for i in range(len(rows[0])))
    with database:
        database.execute(f"CREATE TABLE {name} ({columns})")
        database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)


@lair.command
def load(table: str, rows: list, keep: bool = True) -> None:
    """Makes a table. `keep`: also when the worker ends."""
    fill(database(), table, rows)
    if keep:
        lair.context().session.shared["table " + table] = rows


@lair.command
def ask(sql: str) -> list:
    return database().execute(sql).fetchall()


@lair.on_session_end
def close(session: lair.Session) -> None:
    if session.affinity != "prefer" and "database" in session.local:
        session.local["database"].close()


@lair.command
def visit() -> int:
    """How many times the session has been here; any worker may serve it."""
    shared = lair.context().session.shared
    visits = shared.get("visits", 0) + 1  # no other call of the session comes in between
    shared["visits"] = visits
    return visits


@lair.command
def crash() -> None:
    """As a bug in an extension module would."""
    os._exit(1)
