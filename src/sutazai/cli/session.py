"""Which server a command talks to, and as whom: the environment, or what `sutazai login` stored."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sutazai.cli import serving
from sutazai.cli.failures import Failure
from sutazai.errors import SutazaiError

if TYPE_CHECKING:
    from sutazai_client import SutazAIClient, Tokens

DEFAULT_URL = "http://localhost:10010"
_FILE = "session.json"


@dataclass(frozen=True)
class Session:
    """A login as it is stored; `expires_at` (of the access token) in seconds since the epoch."""

    url: str
    username: str
    access_token: str
    refresh_token: str | None
    expires_at: float


def folder() -> Path:
    """Where the session is kept: `$XDG_CONFIG_HOME/sutazai`, else `~/.config/sutazai`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    if base and Path(base).is_absolute():
        return Path(base, "sutazai")
    try:
        return Path.home() / ".config" / "sutazai"
    except RuntimeError as error:
        raise Failure(
            "There is no home directory to keep a session in. Set XDG_CONFIG_HOME to a folder, or "
            "use SUTAZAI_URL with SUTAZAI_API_KEY."
        ) from error


def load() -> Session | None:
    """The stored session; None where there is none, or none that can be read."""
    try:
        held = json.loads((folder() / _FILE).read_text("utf-8"))
        return Session(**held)
    except (OSError, ValueError, TypeError, Failure):
        return None


def save(session: Session) -> None:
    """Keep it, readable for its owner alone; written aside and moved, so never half."""
    place = folder()
    with _writable(place):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=place, prefix=_FILE)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump(asdict(session), file)
            Path(name).replace(place / _FILE)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def forget() -> None:
    """Remove the stored session."""
    place = folder()
    with _writable(place):
        (place / _FILE).unlink(missing_ok=True)


@contextmanager
def _writable(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failure(
            f"The session cannot be kept in {place}: {error.strerror}. Set XDG_CONFIG_HOME to a "
            "folder that can be written to, or use SUTAZAI_URL with SUTAZAI_API_KEY."
        ) from error


class StoredTokens:
    """The session file as the client's TokenStore: shared by all commands that run at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> "Tokens | None":
        """See TokenStore."""
        from sutazai_client import Tokens

        held = load()
        if held is None or (held.url, held.username) != (self._session.url, self._session.username):
            held = self._session
        return Tokens(held.access_token, held.refresh_token, held.expires_at)

    def save(self, tokens: "Tokens | None") -> None:
        """See TokenStore."""
        if tokens is None:
            forget()
            return
        self._session = Session(self._session.url, self._session.username, **asdict(tokens))
        save(self._session)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See TokenStore; the kernel lets go of the lock when a process dies."""
        place = folder()
        with _writable(place):
            lock = os.open(place / "session.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def server_url(url: str | None = None) -> str:
    """The server meant: named, in SUTAZAI_URL, logged in to, running here, or the default."""
    named = url or os.environ.get("SUTAZAI_URL")
    if named:
        return named.rstrip("/")
    held = load()
    if held is not None:
        return held.url
    with contextlib.suppress(SutazaiError):  # settings that are wrong are not this command's
        running = serving.found()
        if running is not None:
            return running.url
    return DEFAULT_URL


def has_credential(url: str) -> bool:
    """Whether `connect` would find one for this server."""
    held = load()
    named = os.environ.get("SUTAZAI_API_KEY") or os.environ.get("SUTAZAI_TOKEN")
    if named:
        # A key in the environment belongs to the server that is named there.
        return server_url() == url
    return held is not None and held.url == url


def connect(url: str | None = None, **options: Any) -> "SutazAIClient":
    """A client with whatever credential there is for that server; Failure where there is none.

    SUTAZAI_API_KEY goes before SUTAZAI_TOKEN, and both before the stored session, which is sent to
    the server that it belongs to and to no other.
    """
    where = server_url(url)
    if key := os.environ.get("SUTAZAI_API_KEY"):
        return client(where, api_key=key, **options)
    if token := os.environ.get("SUTAZAI_TOKEN"):
        return client(where, token=token, **options)
    held = load()
    if held is None or held.url != where:
        raise Failure(
            f"Not logged in at {where}.",
            remarks=[f"Run: sutazai login {where}", "or set SUTAZAI_API_KEY."],
        )
    return client(where, tokens=StoredTokens(held), **options)


def client(url: str, **options: Any) -> "SutazAIClient":
    """A client of the server at this address; Failure where it is none."""
    from sutazai_client import SutazAIClient

    try:
        return SutazAIClient(url, **options)
    except ValueError as error:
        raise Failure(f"{url!r} is not a server's address: write http://host:port.") from error
