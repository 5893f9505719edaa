#!/usr/bin/env python3
"""Makes the databases of this folder, one of each schema that there was before the log was begun anew in schema 7.

  python3 crates/store/tests/schemas/make.py DATABASE

DATABASE is one of schema 6, as the last program before that left it. It is kept as 6.db, and its rows, as far as there were
columns for them, are 1.db to 5.db.

7.db is not made here: it is 6.db as the program of schema 7 left it, which brought it to that schema and then wrote three
entries (24: alice writes "after" to bob, a second after the last entry of 6.db; another second later, in one batch, 25: bob
acknowledges it; 26: bob writes "after" to alice). What it had of pages and companions is compacted as here.

8.db is 7.db as the program of schema 8 left it, compacted too, before a log was begun beside it; and 9.db is 8.db as the program of
schema 9 left it.
"""

import sqlite3
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parents[1] / "schema"
SCHEMAS = range(1, 7)


def compact(connection):
    """Small pages, none of them free, in one file."""
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM")
    connection.close()


def columns(connection, schema, table):
    return [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?, ?)", (table, schema))]


def older(version, newest):
    path = HERE / f"{version}.db"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    for script in range(1, version + 1):
        connection.executescript((SCRIPTS / f"{script}.sql").read_text())
    connection.execute("ATTACH ? AS newest", (str(newest),))
    tables = [row[0] for row in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")]
    for table in tables:
        known = columns(connection, "newest", table)
        kept = ", ".join(column for column in columns(connection, "main", table) if column in known)
        connection.execute(f"DELETE FROM main.{table}")
        connection.execute(f"INSERT INTO main.{table} ({kept}) SELECT {kept} FROM newest.{table}")
    connection.execute("DETACH newest")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("PRAGMA application_id = 0x54726961")
    if version == 4:
        # Where a log was begun before this schema, what is forgotten is not known yet.
        connection.execute("UPDATE forgotten SET before = NULL")
    compact(connection)


def main():
    newest = HERE / f"{SCHEMAS[-1]}.db"
    newest.unlink(missing_ok=True)
    source, copy = sqlite3.connect(sys.argv[1]), sqlite3.connect(newest, isolation_level=None)
    source.backup(copy)
    compact(copy)
    for version in SCHEMAS[:-1]:
        older(version, newest)


main()
