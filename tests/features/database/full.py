"""A disk without room, for a database that goes on running."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, event

from tests.postgres import PostgresServer

_REFUSE = """
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END
$$;
CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION no_room();
"""
_MOST = 1_073_741_823  # pages; SQLite's own default before 3.45, and far away


class Disk:
    """Takes the room away and gives it back; made before the database is opened."""

    def __init__(self, url: str | None, postgres: PostgresServer) -> None:
        self._name = None if url is None else url.partition("?")[0].rpartition("/")[2]
        self._postgres = postgres
        self._files: list[sqlite3.Connection] = []
        self._pages = _MOST

    @contextlib.contextmanager
    def watched(self) -> Iterator["Disk"]:
        """While inside, it learns of the connections to SQLite, whose limit is one of each."""

        def connected(raw: Any, _record: object) -> None:
            if isinstance(raw, sqlite3.Connection):
                self._files.append(raw)
                raw.execute(f"PRAGMA max_page_count={self._pages}")

        event.listen(Engine, "connect", connected)
        try:
            yield self
        finally:
            event.remove(Engine, "connect", connected)

    @contextlib.contextmanager
    def full(self, *, table: str = "tasks") -> Iterator[None]:
        """While inside there is no room: on SQLite for anything, on PostgreSQL in the table."""
        if self._name is None:
            self._limit_files(1)  # SQLite reads that as: no more than there are
        else:
            self._postgres.execute(_REFUSE.format(table=table), database=self._name)
        try:
            yield
        finally:
            if self._name is None:
                self._limit_files(_MOST)
            else:
                self._postgres.execute("DROP FUNCTION no_room CASCADE", database=self._name)

    def _limit_files(self, pages: int) -> None:
        self._pages = pages
        for raw in self._files:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed long ago
                raw.execute(f"PRAGMA max_page_count={pages}").fetchone()
