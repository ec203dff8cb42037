"""The migrations make what the stores describe."""

import importlib
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

import sutazai
from sutazai.database import metadata
from sutazai.database.postgresql import PostgresqlDatabase
from sutazai.database.schema import HEAD, migrate_sqlite

_PACKAGE = Path(sutazai.__file__).parent
_STORES = ["sutazai.events.log"] + [
    ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)
    for path in sorted(_PACKAGE.rglob("*store.py"))
]
# SQLite cannot describe an index over an expression, so it is never compared there.
_NOT_REFLECTED = "ix_jobs_ready"


def _differences(connection: Connection) -> list[object]:
    for name in _STORES:
        importlib.import_module(name)
    assert len(metadata.tables) > 10
    context = MigrationContext.configure(connection)
    return [
        change
        for change in compare_metadata(context, metadata)
        if _NOT_REFLECTED not in str(change)
    ]


async def test_a_new_postgresql_has_the_schema_the_stores_describe(postgres_url: str) -> None:
    database = PostgresqlDatabase(postgres_url)
    try:
        assert not await database.run(_differences)
    finally:
        await database.close()


def test_a_new_file_has_the_schema_the_stores_describe(tmp_path: Path) -> None:
    migrate_sqlite(tmp_path / "new.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with engine.connect() as connection:
        assert not _differences(connection)
        indexes = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
        assert _NOT_REFLECTED in indexes
    engine.dispose()


def test_the_newest_revision_is_the_one_the_code_expects() -> None:
    config = Config()
    folder = _PACKAGE / "database" / "migrations"
    config.set_main_option("script_location", str(folder))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
