"""Encryption of what is stored and holds a secret."""

import base64
from functools import cached_property
from typing import TYPE_CHECKING

from sutazai.errors import ErrorCode, SutazaiError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class Sealer:
    """Fernet (AES-128-CBC with HMAC-SHA256) under a key derived from the server's secret."""

    def __init__(self, secret: bytes, *, purpose: bytes, lost: str) -> None:
        """`purpose` parts this key from others; `lost` is told when the secret was changed."""
        self._secret = secret
        self._purpose = purpose
        self._lost = lost

    def seal(self, value: bytes) -> str:
        """Text that only `open` of the same secret can read."""
        return self._fernet.encrypt(value).decode()

    def open(self, sealed: str) -> bytes:
        """What was sealed; CONFLICT where the server's secret has changed since."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise SutazaiError(ErrorCode.CONFLICT, self._lost) from error

    @cached_property
    def _fernet(self) -> "Fernet":
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(SHA256(), 32, salt=None, info=self._purpose)
        return Fernet(base64.urlsafe_b64encode(derived.derive(self._secret)))
