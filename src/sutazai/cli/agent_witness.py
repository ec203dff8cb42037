"""A proxy between an agent and its server that sees what passes, and makes trouble when told to."""

import http.client
import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_REPORT = re.compile(r"/api/v1/assignments/([^/]+)/(complete|fail|release|progress)$")
_BUSY = b'{"error": {"code": "SERVICE_UNAVAILABLE", "message": "The server is away for a moment."}}'
_HOP = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})


class Trouble(Enum):
    """What the proxy does instead of passing on."""

    NONE = auto()
    AWAY = auto()  # 503 to everything
    DEAF = auto()  # 503 to whatever would renew a lease
    LOSE_END = auto()  # the server records the next end, and the agent never hears of it


class Seen(NamedTuple):
    """One request of the agent; `moment` in seconds of the monotonic clock."""

    moment: float
    path: str
    status: int

    @property
    def report(self) -> tuple[str, str] | None:
        """The assignment and the verb of a report on one; None for everything else."""
        found = _REPORT.search(self.path)
        return None if found is None else (found[1], found[2])


class Witness:
    """Where the agent is told to find its server."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self._trouble = Trouble.NONE
        self._seen: list[Seen] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator["Witness"]:
        """Serve while the block lasts."""
        witness = self

        class Handler(_Handler):
            of = witness

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @contextmanager
    def making(self, trouble: Trouble) -> Iterator[None]:
        """Make trouble while the block lasts."""
        self._trouble = trouble
        try:
            yield
        finally:
            self._trouble = Trouble.NONE

    def seen(self) -> list[Seen]:
        """Every request so far that was answered."""
        with self._lock:
            return list(self._seen)

    def note(self, path: str, status: int) -> None:
        """Remember a request."""
        with self._lock:
            self._seen.append(Seen(time.monotonic(), path, status))

    def trouble_for(self, path: str) -> Trouble:
        """What befalls a request."""
        trouble = self._trouble
        found = _REPORT.search(path)
        if trouble is Trouble.DEAF and not (
            path.endswith("/heartbeat") or (found is not None and found[2] == "progress")
        ):
            return Trouble.NONE
        if trouble is Trouble.LOSE_END:
            if found is None or found[2] not in ("complete", "fail"):
                return Trouble.NONE
            self._trouble = Trouble.NONE  # once
        return trouble

    def open(self) -> http.client.HTTPConnection:
        """A connection to the server."""
        return http.client.HTTPConnection(self._upstream, timeout=60)


class _Handler(BaseHTTPRequestHandler):
    of: Witness

    def handle_request(self) -> None:
        """Pass on, or make trouble."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        trouble = self.of.trouble_for(path)
        self.close_connection = True
        if trouble in (Trouble.AWAY, Trouble.DEAF):
            self.of.note(path, 503)
            self._answer(503, [("Content-Type", "application/json")], _BUSY)
            return
        answer = self._pass_on(body)
        if answer is None:
            return
        self.of.note(path, answer[0])
        if trouble is not Trouble.LOSE_END:
            self._answer(*answer)

    # The names that http.server looks for.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815  # see above

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """The server's answer; None where the agent hung up before there was one."""
        upstream = self.of.open()
        try:
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            upstream.request(self.command, self.path, body, {**headers, "Connection": "close"})
            assert upstream.sock is not None
            while True:
                ready, _, _ = select.select([self.connection, upstream.sock], [], [], 60)
                if upstream.sock in ready:
                    answer = upstream.getresponse()
                    told = [one for one in answer.getheaders() if one[0].lower() not in _HOP]
                    return answer.status, told, answer.read()
                if not ready or _hung_up(self.connection):
                    return None
        except OSError:
            return 503, [("Content-Type", "application/json")], _BUSY
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_what: object) -> None:
        """Nothing."""


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def object_of(text: str, option: str) -> dict[str, Any]:
    """What an option says in JSON; ValueError, with the option's name, for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{option} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f'{option} must be a JSON object, such as \'{{"text": "a b c"}}\'')
    return value
