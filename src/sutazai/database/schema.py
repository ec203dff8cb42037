"""Bringing a database to the current schema; Alembic is imported only when there is work to do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from sutazai.database.sqlite import sqlite_engine
from sutazai.errors import ErrorCode, SutazaiError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

HEAD = "0012"
"""The newest revision under `migrations/versions`; a test compares it with Alembic's own answer."""

_ADVISORY_LOCK = 7_382_194_550_001


def migrate_sqlite(path: Path) -> None:
    """Create the file if there is none, and upgrade it; blocking."""
    with _sqlite(path) as connection:
        if _is_current(connection):
            return
        # One transaction: a crash in the middle leaves the old schema. And only now, with the
        # write lock held, is it sure that nobody else upgrades.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            if not _is_current(connection):
                _upgrade(connection)
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            with contextlib.suppress(DBAPIError):
                connection.exec_driver_sql("ROLLBACK")
            raise


async def migrate_postgresql(url: str) -> None:
    """Upgrade under an advisory lock, so that of several starting processes one does it."""
    async with _postgresql(url) as connection:
        if await connection.run_sync(_is_current):
            return
        await connection.rollback()
        async with connection.begin():
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}
            )
            if not await connection.run_sync(_is_current):
                await connection.run_sync(_upgrade)


async def is_current(*, url: str | None, path: Path) -> bool:
    """Whether a start would find nothing to upgrade; fails as that start would, changes nothing."""
    if url is None:
        return await asyncio.to_thread(_sqlite_is_current, path)
    async with _postgresql(url) as connection:
        return await connection.run_sync(_is_current)


def _sqlite_is_current(path: Path) -> bool:
    if not path.exists():
        return False
    with _sqlite(path) as connection:
        return _is_current(connection)


@contextlib.contextmanager
def _sqlite(path: Path) -> Iterator[Connection]:
    engine = sqlite_engine(path)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise SutazaiError(
            ErrorCode.DATABASE_ERROR,
            f"The database {path} cannot be used: {error.orig}. Check that there is room on the "
            "disk and that the file belongs to this user, or choose another --data-dir.",
        ) from error
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def _postgresql(url: str) -> AsyncIterator["AsyncConnection"]:
    # Not above: its driver, and SQLAlchemy's asyncio with the whole of its ORM, are PostgreSQL's.
    from sutazai.database.postgresql import FAILURES, postgresql_engine

    engine = postgresql_engine(url, size=1)
    try:
        async with engine.connect() as connection:
            yield connection
    except FAILURES as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        place = make_url(url).render_as_string(hide_password=True)
        raise SutazaiError(
            ErrorCode.DATABASE_ERROR,
            f"The database {place} cannot be used: {reason}. Check SUTAZAI_DATABASE_URL and that "
            "the server is up.",
        ) from error
    finally:
        await engine.dispose()


def _is_current(connection: Connection) -> bool:
    """Whether there is nothing to do; SutazaiError where a newer version was here."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    # Revisions are numbered; what stands above ours was made by a version we know nothing of.
    if revision is not None and revision > HEAD:
        raise SutazaiError(
            ErrorCode.CONFLICT,
            f"The database was last used by a newer version of SutazAI (schema {revision}, this "
            f"one knows {HEAD}). Start that version again, or restore a backup.",
        )
    return bool(revision == HEAD)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
