"""A server of the tests' own: real HTTP, SQLite, and a workspace with one defect."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from sutazai.cli.embedded import embedded_server
from sutazai.settings import Settings

PASSWORD = "a password for tests"
DEFECT = "def run(text):\n    return eval(text)  # defect\n"


@dataclass(frozen=True)
class Served:
    """Where it is, and what it works on; the admin's password is PASSWORD."""

    url: str
    data_dir: Path
    workspace: Path


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    workspace = folder / "workspace"
    (workspace / "src").mkdir(parents=True)
    (workspace / "src" / "auth.py").write_text(DEFECT)
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "data_dir": folder / "data",
        "workspace": workspace,
        "agents": True,
        "database_url": None,
        "jwt_secret": None,
        "admin_password": SecretStr(PASSWORD),
        "analysis_processes": 1,
        "rate_limits": False,
    }
    with embedded_server(Settings(**values)) as url:
        yield Served(url, folder / "data", workspace)
