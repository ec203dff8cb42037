"""A model server that says what a test tells it to: over real HTTP, as OpenAI's or Anthropic's."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

JSON = dict[str, Any]


class Say(NamedTuple):
    """An answer; without usage the server counts no tokens. `wait` holds it back till it is set."""

    text: str
    usage: tuple[int, int] | None = (100, 20)
    wait: threading.Event | None = None


class Refuse(NamedTuple):
    """An error of HTTP."""

    status: int
    message: str = "no"
    retry_after: int | None = None


class Break(NamedTuple):
    """Say some, then cut the connection."""

    text: str


class Raw(NamedTuple):
    """Whatever else a server may send."""

    body: bytes
    content_type: str = "text/event-stream"
    encoding: str = "identity"


Script = Callable[[JSON], Say | Refuse | Break | Raw]


class ScriptedModel:
    """A running server; `asked` has the body of each call, `headers` its headers."""

    def __init__(self, script: Script, *models: str, key: str | None = None, port: int = 0) -> None:
        self.script = script
        self.models = models or ("scripted",)
        self.key = key
        self.asked: list[JSON] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        outer = self

        class Handler(_Handler):
            scripted = outer

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()

    def said(self) -> str:
        """Everything that was ever sent to it."""
        return json.dumps(self.asked, ensure_ascii=False)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: list[socket.socket] = []

    def get_request(self) -> Any:
        accepted = super().get_request()
        self._open.append(accepted[0])
        return accepted

    def hang_up(self) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):  # closed already
                one.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    scripted: ScriptedModel
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Say nothing."""

    def do_GET(self) -> None:
        self.scripted.paths.append(self.path)
        self.scripted.headers.append(dict(self.headers.items()))
        if self.scripted.key is not None and self.scripted.key not in str(self.headers):
            self._plain(401, {"error": {"message": "who are you?"}})
        elif self.path == "/api/tags":
            self._plain(200, {"models": [{"name": name} for name in self.scripted.models]})
        else:
            self._plain(200, {"data": [{"id": name} for name in self.scripted.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.scripted.paths.append(self.path)
        self.scripted.headers.append(dict(self.headers.items()))
        self.scripted.asked.append(body)
        told = self.scripted.script(body)
        match told:
            case Refuse(status=status, message=message, retry_after=after):
                self._plain(status, {"error": {"message": message}}, after)
            case Raw(body=data, content_type=kind, encoding=encoding):
                self._stream([data], kind, encoding)
            case Break(text=text):
                self._stream(_openai(body, text, None)[:-2])
                self.close_connection = True
            case Say(text=text, usage=usage, wait=wait):
                if wait is not None:
                    wait.wait(60)
                anthropic = self.path.endswith("/messages")
                self._stream((_anthropic if anthropic else _openai)(body, text, usage))

    def _plain(self, status: int, body: JSON, retry_after: int | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if retry_after is not None:
            self.send_header("retry-after", str(retry_after))
        self.end_headers()
        self.wfile.write(data)

    def _stream(
        self,
        frames: Sequence[str | bytes],
        kind: str = "text/event-stream",
        encoding: str = "identity",
    ) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-encoding", encoding)
        self.send_header("connection", "close")
        self.end_headers()
        try:
            for frame in frames:
                self.wfile.write(frame if isinstance(frame, bytes) else frame.encode())
                self.wfile.flush()
        except OSError:  # whoever asked has gone
            pass
        self.close_connection = True


def _pieces(text: str) -> list[str]:
    return [text[at : at + 40] for at in range(0, len(text), 40)] or [""]


def _openai(body: JSON, text: str, usage: tuple[int, int] | None) -> list[str]:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def frame(**more: Any) -> str:
        return f"data: {json.dumps({**head, **more})}\n\n"

    frames = [
        frame(choices=[{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
        for piece in _pieces(text)
    ]
    frames.append(frame(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if usage is not None:
        read, written = usage
        counts = {"prompt_tokens": read, "completion_tokens": written}
        frames.append(frame(choices=[], usage={**counts, "total_tokens": read + written}))
    return [*frames, "data: [DONE]\n\n"]


def _anthropic(body: JSON, text: str, usage: tuple[int, int] | None) -> list[str]:
    read, written = usage or (0, 0)

    def frame(kind: str, **more: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"

    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": read, "output_tokens": 1},
    }
    return [
        frame("message_start", message=message),
        frame("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            frame("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            for piece in _pieces(text)
        ),
        frame("content_block_stop", index=0),
        frame(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": written},
        ),
        frame("message_stop"),
    ]
