"""One unit of work over SQLite and PostgreSQL."""

import asyncio
from pathlib import Path

from sqlalchemy import Connection

from sutazai.database.lock import DirectoryLock
from sutazai.database.standing import Standby
from sutazai.database.unit import (
    Database,
    Meter,
    StepFailed,
    Unit,
    aside,
    at_the_end,
    metadata,
    signal,
    step,
    tally,
)

__all__ = [
    "SQLITE_FILE",
    "Connection",
    "Database",
    "DirectoryLock",
    "Meter",
    "Standby",
    "StepFailed",
    "Unit",
    "aside",
    "at_the_end",
    "metadata",
    "open_database",
    "signal",
    "step",
    "tally",
]

SQLITE_FILE = "sutazai.db"


async def open_database(*, url: str | None, data_dir: Path, meter: Meter | None = None) -> Database:
    """The PostgreSQL at the URL, or without one SQLite in the data directory; migrated."""
    if url is None:
        from sutazai.database.schema import migrate_sqlite
        from sutazai.database.sqlite import SqliteDatabase

        path = data_dir / SQLITE_FILE
        await asyncio.to_thread(migrate_sqlite, path)
        return SqliteDatabase(path, meter=meter)
    from sutazai.database.postgresql import PostgresqlDatabase
    from sutazai.database.schema import migrate_postgresql

    await migrate_postgresql(url)
    return PostgresqlDatabase(url, meter=meter)
