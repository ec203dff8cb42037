"""`sutazai doctor`: what the server needs, checked one by one, each with its remedy."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import psutil
import typer
from rich.text import Text

from sutazai.cli import serving
from sutazai.cli.failures import ANSWER_IS_NO
from sutazai.cli.output import out, printable
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.settings import Settings, load, slips

_GIB = 1024**3
_LITTLE_DISK, _LITTLE_MEMORY = 1 * _GIB, _GIB // 4


class Health(StrEnum):
    """How a thing is, as the sign that is printed."""

    FINE = "✓"
    ODD = "!"
    BROKEN = "✗"


_STYLES = {Health.FINE: "green", Health.ODD: "yellow", Health.BROKEN: "bold red"}


class Found(NamedTuple):
    """One line of the answer; the remedy is empty where nothing is to be done."""

    health: Health
    what: str
    remedy: str = ""


def doctor(**flags: Any) -> None:
    """Print a line a check; exit code 1 if anything is broken."""
    console = out()
    broken = 0
    for found in examine(**flags):
        broken += found.health is Health.BROKEN
        console.print(
            Text.assemble((f"{found.health} ", _STYLES[found.health]), printable(found.what)),
            soft_wrap=True,
        )
        if found.remedy:
            console.print(Text(f"  → {printable(found.remedy)}"), soft_wrap=True)
    if broken:
        raise typer.Exit(ANSWER_IS_NO)


def examine(**flags: Any) -> Iterator[Found]:
    """Every check in turn; what depends on something broken is left out."""
    yield _python()
    for name in ("ruff", "bandit"):
        yield _analyser(name)
    yield _git()
    try:
        settings = load(**flags)
    except SutazaiError as error:
        yield Found(Health.BROKEN, error.message, "Correct it in the environment or in .env.")
        return
    yield Found(Health.FINE, "Settings are valid (sutazai config shows them)")
    for slip in slips():
        yield Found(Health.ODD, *slip)
    data_dir = _data_dir(settings)
    yield data_dir
    if settings.database_url is not None or data_dir.health is not Health.BROKEN:
        yield _database(settings)
    if settings.redis_url is not None:
        yield _redis(settings)
    for check in (_sandbox, _server, _workspace, _disk):
        yield check(settings)
    yield _memory()


def _python() -> Found:
    # The package's metadata refuses an older one; which one it is helps whoever asks for help.
    return Found(Health.FINE, f"Python {sys.version.split()[0]} at {sys.executable}")


def _analyser(name: str) -> Found:
    try:
        return Found(Health.FINE, f"{name} {version(name)}")
    except PackageNotFoundError:
        remedy = "Install it beside sutazai: make install, or install sutazai again."
        return Found(Health.BROKEN, f"{name} is missing, so code cannot be reviewed", remedy)


def _git() -> Found:
    if shutil.which("git"):
        return Found(Health.FINE, "git is there")
    return Found(Health.ODD, "git is missing", "Install it to review repositories by their URL.")


def _data_dir(settings: Settings) -> Found:
    place = settings.data_dir.resolve()
    if serving.is_locked(place):
        return Found(Health.FINE, f"Data directory {place}: a server is using it")
    # What does not exist yet is made at the first start, if the folder above lets us.
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Found(
            Health.BROKEN,
            f"Data directory {place}: {error.strerror}",
            "Make it writable for this user, or choose another with --data-dir.",
        )
    new = "" if existing == place else ", made at the first start"
    return Found(Health.FINE, f"Data directory {place}: writable{new}")


def _database(settings: Settings) -> Found:
    from sutazai.bootstrap import has_current_schema

    name = "PostgreSQL" if settings.database_url else "SQLite"
    try:
        current = asyncio.run(has_current_schema(settings))
    except SutazaiError as error:
        return Found(Health.BROKEN, f"{name}: {error.message}")
    except OSError as error:
        remedy = "Make the files in the data directory readable and writable for this user."
        return Found(Health.BROKEN, f"{name}: {error}", remedy)
    state = "reachable, schema current" if current else "made or upgraded at the next start"
    return Found(Health.FINE, f"{name}: {state}")


def _redis(settings: Settings) -> Found:
    from sutazai.bootstrap import check_redis

    try:
        asyncio.run(check_redis(settings))
    except SutazaiError as error:
        return Found(Health.BROKEN, error.message)
    return Found(Health.FINE, "Redis: reachable")


def _sandbox(settings: Settings) -> Found:
    from sutazai.assembly import check_sandbox

    try:
        asyncio.run(check_sandbox(settings))
    except SutazaiError as error:
        what, _, remedy = error.message.partition("). ")
        return Found(Health.ODD, f"{what})." if remedy else what, remedy)
    return Found(Health.FINE, "Sandbox: code that is not ours can be isolated")


def _server(settings: Settings) -> Found:
    from sutazai_client import SutazAIClient, SutazAIError

    from sutazai.cli.listener import open_socket

    try:
        with open_socket(settings.host, settings.port):
            return Found(Health.FINE, f"Port {settings.port} on {settings.host} is free")
    except SutazaiError as error:
        if error.code is not ErrorCode.CONFLICT:
            return Found(Health.BROKEN, error.message, "Set SUTAZAI_HOST or SUTAZAI_PORT.")
    held = serving.found(settings.data_dir)
    url = held.url if held else f"http://{settings.host}:{settings.port}"
    try:
        with SutazAIClient(url, attempts=1, timeout=5) as client:
            health = client.health()
    except (SutazAIError, ValueError):
        remedy = "Stop it, or choose another port with --port or SUTAZAI_PORT."
        return Found(Health.BROKEN, f"Port {settings.port} is used by another program", remedy)
    said = f"A server answers at {url}: {health['status']}, version {health['version']}"
    if health["status"] == "healthy":
        return Found(Health.FINE, said)
    ill = [name for name, state in health["services"].items() if state in ("degraded", "unhealthy")]
    return Found(Health.ODD, f"{said} ({', '.join(ill)})", "Look into its log.")


def _workspace(settings: Settings) -> Found:
    place = settings.workspace.resolve()
    if place.is_dir() and os.access(place, os.R_OK | os.X_OK):
        return Found(Health.FINE, f"Workspace {place}: readable")
    remedy = "Choose a folder that this user can read with --workspace or SUTAZAI_WORKSPACE."
    return Found(Health.BROKEN, f"Workspace {place}: not a folder that can be read", remedy)


def _disk(settings: Settings) -> Found:
    place = settings.data_dir.resolve()
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    said = f"{free / _GIB:.1f} GiB free on the disk of the data directory"
    if free < _LITTLE_DISK:
        return Found(Health.ODD, said, "Make room, or move the data directory with --data-dir.")
    return Found(Health.FINE, said)


def _memory() -> Found:
    free = psutil.virtual_memory().available
    said = f"{free / _GIB:.1f} GiB of memory available"
    if free < _LITTLE_MEMORY:
        return Found(Health.ODD, said, "Lower SUTAZAI_ANALYSIS_PROCESSES, or stop something.")
    return Found(Health.FINE, said)
