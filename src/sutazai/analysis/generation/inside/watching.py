"""What a language model's proposals do while they are run, and what they may not.

Each comes to stand in a test that somebody runs elsewhere, with files, programs and a network that
the sandbox has not. However it is written: it may write below folders for temporary files alone,
not even look for anything else by a path of its own, and start and reach nothing.
"""

import functools
import os
import site
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PROGRAMS = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn",
    "subprocess.Popen",
}  # fmt: skip
_NETWORK = {
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr",
    "socket.gethostbyname", "socket.getnameinfo", "socket.sendmsg", "socket.sendto",
}  # fmt: skip
_SIGNALS = {"os.kill", "os.killpg", "signal.pthread_kill"}
_FILES = {
    "ctypes.dlopen", "glob.glob", "os.chdir", "os.chmod", "os.chown", "os.link", "os.listdir",
    "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.setxattr", "os.symlink",
    "os.truncate", "os.utime", "shutil.chown", "shutil.copyfile", "shutil.copytree",
    "shutil.make_archive", "shutil.move", "shutil.rmtree", "shutil.unpack_archive",
    "sqlite3.connect",
}  # fmt: skip
_IN_A_FOLDER = {"os.mkdir", "os.remove", "os.rmdir"}
_LOOKS = {"glob.glob", "os.listdir", "os.scandir"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVERYWHERE = ("/dev/null", "/dev/urandom", "/usr/share/zoneinfo", "/etc/localtime")


class Touches(BaseException):
    """Raised where something is touched that may not be; no `except Exception` stops it."""


class Watch:
    """Watches this process and its forks; made before the module is imported from `roots`."""

    def __init__(self, roots: list[str]) -> None:
        self.refused = ""
        self._is_on = False
        # A folder of its own: where the sandbox has its files, and what is taken for home, is none.
        tempfile.tempdir = self._own = os.path.realpath(tempfile.mkdtemp())
        known = [sys.prefix, sys.base_prefix, *site.getsitepackages(), *sys.path, *roots]
        self._readable = (*_EVERYWHERE, *(os.path.realpath(one) for one in known if one))
        sys.addaudithook(self._see)
        for name in ("access", "lstat", "open", "stat"):
            setattr(os, name, self._seen(getattr(os, name)))

    @contextmanager
    def on(self) -> Iterator[None]:
        """While it is: whatever is refused is raised, and said in `refused`."""
        self.refused, self._is_on = "", True
        try:
            yield
        finally:
            self._is_on = False

    def _seen(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # No event tells of these, or not in which folder.
        @functools.wraps(function)
        def seen(path: Any, *arguments: Any, **named: Any) -> Any:
            if self._is_on:
                path = _placed(path, named.pop("dir_fd", None))
                self._look(path, to_write=False)
            return function(path, *arguments, **named)

        return seen

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on:
            return
        if event in _PROGRAMS:
            self._refuse("it starts other programs")
        elif event in _NETWORK:
            self._refuse("it uses the network")
        elif event in _SIGNALS:
            self._refuse("it signals processes")
        elif event == "open":
            path, mode, flags = arguments
            writes = bool((flags or 0) & _WRITES) or bool(set(mode or "") & set("wax+"))
            self._look(path, to_write=writes)
        elif event in _FILES:
            folder = arguments[-1] if event in _IN_A_FOLDER else None
            for path in arguments:
                if isinstance(path, str | bytes | os.PathLike):
                    self._look(_placed(path, folder), to_write=event not in _LOOKS)

    def _look(self, path: Any, *, to_write: bool) -> None:
        if isinstance(path, int):
            return  # opened before
        text = os.fsdecode(path)
        if text == ":memory:":
            return
        places = (self._own,) if to_write else (self._own, *self._readable)
        plain = os.path.normpath(text)
        if not any(plain == one or plain.startswith(f"{one.rstrip('/')}/") for one in places):
            self._refuse("it touches files outside of folders for temporary files")

    def _refuse(self, why: str) -> None:
        self.refused = self.refused or why
        raise Touches(why)


def _placed(path: Any, folder: int | None) -> Any:
    """The path, from the root if it is meant in an open folder."""
    if folder is None or folder < 0 or isinstance(path, int):
        return path
    return Path(f"/proc/self/fd/{folder}").readlink() / os.fsdecode(path)
