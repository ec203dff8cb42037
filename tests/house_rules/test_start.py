"""What a start does not pay for: modules that a fresh interpreter has no need of yet."""

import subprocess
import sys

import pytest

from tests.house_rules.tree import report

# What is of one database, of few requests, or of the processes that analyse.
_LATER = {
    *("alembic", "asyncpg", "redis", "sqlalchemy.ext.asyncio", "sqlalchemy.orm"),
    *("graphql", "httpcore2", "httpx2", "strawberry"),
    *("anthropic", "openai", "pydantic_ai", "tiktoken"),
    *("bandit", "doctest", "drain3", "griffe", "libcst", "mypy", "unidiff", "vulture", "yaml"),
    *("croniter", "jsonschema", "pytest"),
}
# What only a server has.
_SERVER = {
    *("alembic", "asyncpg", "fastapi", "prometheus_client", "sqlalchemy", "starlette", "uvicorn"),
    *("sutazai.api", "sutazai.bootstrap", "sutazai.database", "sutazai.tasks"),
}


def _imported(code: str, *arguments: str) -> set[str]:
    """All that is imported when this code has run in an interpreter of its own."""
    shown = "import atexit, sys; atexit.register(lambda: print('\\n'.join(['#', *sys.modules])))\n"
    done = subprocess.run(
        [sys.executable, "-c", shown + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        # A server that answers nothing, and nobody's login.
        env={"SUTAZAI_URL": "http://127.0.0.1:9", "SUTAZAI_TOKEN": "t", "HOME": "/nonexistent"},
    )
    _, mark, names = done.stdout.partition("#\n")
    assert mark, done.stderr
    return set(names.splitlines())


def test_the_composition_root_imports_nothing_that_can_wait() -> None:
    found = _imported("import sutazai.bootstrap, sutazai.cli.serve")
    assert "sutazai.api.tasks" in found
    assert not found & _LATER, report(sorted(found & _LATER))


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["task", "list"]])
def test_commands_that_serve_nothing_import_no_server(arguments: list[str]) -> None:
    found = _imported("from sutazai.__main__ import main; main()", *arguments)
    assert "sutazai.cli.main" in found
    assert not found & _SERVER, report(sorted(found & _SERVER))
