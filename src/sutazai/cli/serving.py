"""The note that a running server leaves in its data directory: where it is, what it can see."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NOTE = "server.json"
_LOCK = "server.lock"


@dataclass(frozen=True)
class Serving:
    """A server that runs on this machine."""

    url: str
    workspace: Path


@contextlib.contextmanager
def noted(data_dir: Path, serving: Serving) -> Iterator[None]:
    """Leave the note while the server is up.

    It is locked for as long, so that the note of a server that was killed counts for nothing. Of
    several API replicas on one data directory, the first leaves it.
    """
    path = data_dir / _NOTE
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield
            return
        file.truncate(0)
        json.dump({"url": serving.url, "workspace": str(serving.workspace)}, file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def found(data_dir: Path | None = None) -> Serving | None:
    """The server that runs on a data directory (the settings' own unless given); None for none."""
    if data_dir is None:
        from sutazai.settings import load

        data_dir = load().data_dir
    if not _is_locked(data_dir / _NOTE):
        return None
    try:
        held = json.loads((data_dir / _NOTE).read_text("utf-8"))
        return Serving(str(held["url"]), Path(held["workspace"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_locked(data_dir: Path) -> bool:
    """Whether a server holds the data directory at this moment."""
    return _is_locked(data_dir / _LOCK)


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
