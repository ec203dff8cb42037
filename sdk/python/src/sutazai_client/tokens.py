"""The tokens of a session, and where they are kept."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Tokens:
    """An access token, how to get the next one, and when it lapses (seconds since the epoch).

    Without a refresh token it cannot be renewed; `expires_at` 0 means unknown.
    """

    access_token: str
    refresh_token: str | None = None
    expires_at: float = 0.0

    def __repr__(self) -> str:
        return f"Tokens(expires_at={self.expires_at}, hidden)"


class TokenStore(Protocol):
    """Keeps the newest tokens of one session.

    Refresh tokens are for one use, so whoever shares a session must also share its store: a second
    use of one ends the session.
    """

    def load(self) -> Tokens | None:
        """The newest tokens; None where nobody is logged in."""
        ...

    def save(self, tokens: Tokens | None) -> None:
        """Keep these instead; None forgets the session."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Held while tokens are renewed, so that one of several users of the store does it."""
        ...


class MemoryTokens:
    """Tokens of this process only; safe between threads."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._lock = threading.Lock()

    def load(self) -> Tokens | None:
        """See TokenStore."""
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        """See TokenStore."""
        self._tokens = tokens

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See TokenStore."""
        with self._lock:
            yield
