"""A proxy on a real socket that loses or refuses some of what passes through it."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Trouble(Enum):
    """What happens to one request."""

    LOSE_ANSWER = auto()  # the server does it, the client never hears of it
    BUSY = auto()  # 503 from a proxy that knows nothing of our envelope
    TOO_MANY = auto()  # 429 with Retry-After
    NOT_OURS = auto()  # 200 with a page


class FlakyProxy:
    """Does `troubles` in turn, one a request, and is a faithful proxy after that."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.troubles: list[Trouble] = []
        self.seen: list[tuple[str, str, str | None]] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator["FlakyProxy"]:
        proxy = self

        class Handler(_Handler):
            flaky = proxy

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    flaky: FlakyProxy

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.flaky.seen.append((self.command, self.path, self.headers.get("idempotency-key")))
        trouble = self.flaky.troubles.pop(0) if self.flaky.troubles else None
        match trouble:
            case Trouble.BUSY:
                self._answer(503, [], b"<h1>busy</h1>")
            case Trouble.TOO_MANY:
                self._answer(429, [("Retry-After", "0")], b"{}")
            case Trouble.NOT_OURS:
                self._answer(200, [], b"<h1>welcome</h1>")
            case Trouble.LOSE_ANSWER:
                self._pass_on(body)
            case None:
                self._answer(*self._pass_on(body))
        self.close_connection = True

    # The names that http.server looks for.
    do_GET = do_POST = do_PATCH = do_DELETE = handle_request  # noqa: N815  # see above

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.flaky.upstream, timeout=40)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        hop = ("content-length", "transfer-encoding", "connection", "date", "server")
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in hop]
        return answer.status, headers, content

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_what: object) -> None:
        """Nothing."""
