"""The lock on a data directory: one server at a time, released by the kernel when it dies."""

import fcntl
import os
from pathlib import Path

from sutazai.errors import ErrorCode, SutazaiError


class DirectoryLock:
    """Held from construction to `release`; a second holder is refused at once."""

    def __init__(self, directory: Path) -> None:
        try:
            self._file = os.open(
                directory / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise _unusable(directory, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            self.release()
            raise SutazaiError(
                ErrorCode.CONFLICT,
                f"Another server (process {holder or 'unknown'}) is using {directory}. Stop it, or "
                "give this one its own with --data-dir.",
            ) from error
        except OSError as error:
            self.release()
            raise _unusable(directory, error) from error

    def release(self) -> None:
        """Let the next server in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _unusable(directory: Path, error: OSError) -> SutazaiError:
    return SutazaiError(
        ErrorCode.VALIDATION_ERROR,
        f"The data directory {directory} cannot be used: {error.strerror}. Choose another with "
        "--data-dir.",
    )
