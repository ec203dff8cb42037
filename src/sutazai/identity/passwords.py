"""Passwords: what may be one, and slow hashing off the event loop."""

import asyncio
import base64
import os
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from sutazai.errors import ErrorCode, SutazaiError

T = TypeVar("T")

SHORTEST = 8
LONGEST = 1024
# Two at a time: each takes 64 MiB and some 150 ms of a core.
_THREADS = 2
_MOST_WAITING = 64


def normalised(password: str) -> str:
    """NFKC, so that one password typed on two keyboards stays one; ValueError where it cannot be.

    Says in words what is wrong: too short, too long (in characters), NUL or broken Unicode.
    """
    if len(password) > LONGEST:
        raise ValueError(f"may have at most {LONGEST} characters")
    if "\0" in password or any("\ud800" <= character <= "\udfff" for character in password):
        raise ValueError("may hold neither NUL characters nor broken Unicode (lone surrogates)")
    normal = unicodedata.normalize("NFKC", password)
    if len(normal) < SHORTEST:
        raise ValueError(f"must have at least {SHORTEST} characters")
    return normal


def generate() -> str:
    """A new password of 120 bits, letters and digits only: easy to copy, and never an option."""
    return secrets.token_hex(15)


class Passwords:
    """Argon2id off the event loop.

    On two threads of its own: callers that give up cannot make it take memory for a third.
    """

    def __init__(
        self, *, memory_kib: int = 64 * 1024, time_cost: int = 3, parallelism: int = 4
    ) -> None:
        self._hash = PasswordHash(
            (Argon2Hasher(memory_cost=memory_kib, time_cost=time_cost, parallelism=parallelism),)
        )
        # A hash of nothing in particular; checking against it costs as much as a real one.
        self._nobody = (
            f"$argon2id$v=19$m={memory_kib},t={time_cost},p={parallelism}"
            f"${_base64(os.urandom(16))}${_base64(os.urandom(32))}"
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The hash of a normalised password, with salt and parameters in it."""
        return await self._run(lambda: self._hash.hash(password))

    async def verify(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        """Whether it is the password, and a new hash where the old one is weaker than today's.

        Without a hash (no such user) it takes as long and is never right.
        """
        right, update = await self._run(lambda: self._verify(password, password_hash))
        return right and password_hash is not None, update

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        try:
            return self._hash.verify_and_update(password, password_hash or self._nobody)
        except UnknownHashError:
            return False, None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MOST_WAITING:
            raise SutazaiError(
                ErrorCode.SERVICE_UNAVAILABLE,
                "Too many logins are being checked right now. Try again in a moment.",
                retry_after=2,
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
