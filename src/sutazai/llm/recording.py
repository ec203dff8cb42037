"""Exchanges with models, written down for bug reports, and answered from for tests."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import msgspec

from sutazai.llm.model import Answer, ModelFailed, Request
from sutazai.llm.port import ModelServer, OnText
from sutazai.telemetry.redaction import redact


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a recording: what was asked, and the answer or the failure.

    `digest` is of the request as it was; the rest has its secrets masked.
    """

    digest: str
    request: dict[str, Any]
    answer: Answer | None = None
    failure: str | None = None


class RecordingServer:
    """A model server whose exchanges are appended to a file, a line of JSON each."""

    def __init__(self, server: ModelServer, path: Path) -> None:
        self._server = server
        self._path = path
        self._writing = threading.Lock()
        self.provider = server.provider
        self.is_local = server.is_local

    async def models(self) -> tuple[str, ...]:
        """See `ModelServer.models`."""
        return await self._server.models()

    async def ask(self, request: Request, on_text: OnText) -> Answer:
        """See `ModelServer.ask`."""
        try:
            answer = await self._server.ask(request, on_text)
        except Exception as error:
            await asyncio.to_thread(self._write, request, None, str(error))
            raise
        await asyncio.to_thread(self._write, request, answer, None)
        return answer

    async def close(self) -> None:
        """See `ModelServer.close`."""
        await self._server.close()

    def _write(self, request: Request, answer: Answer | None, failure: str | None) -> None:
        if answer is not None:
            answer = msgspec.structs.replace(answer, text=redact(answer.text))
        exchange = Exchange(
            digest=request.digest,
            request=_masked(msgspec.to_builtins(request)),
            answer=answer,
            failure=None if failure is None else redact(failure),
        )
        line = msgspec.json.encode(exchange) + b"\n"
        with self._writing:
            self._path.touch(mode=0o600)
            with self._path.open("ab") as file:
                file.write(line)


def _masked(part: Any) -> Any:
    if isinstance(part, str):
        return redact(part)
    if isinstance(part, list | tuple):
        return [_masked(one) for one in part]
    if isinstance(part, dict):
        return {key: _masked(one) for key, one in part.items()}
    return part


class ReplayServer:
    """A model server that knows the answers of a recording and no others; nothing is sent."""

    provider = "replay"
    is_local = True

    def __init__(self, path: Path) -> None:
        """Raises ValueError where the file is no recording, OSError where it cannot be read."""
        self._answers: dict[str, Answer] = {}
        self._models: dict[str, None] = {}
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                exchange = msgspec.json.decode(line, type=Exchange)
                self._models[str(exchange.request["model"])] = None
            except (msgspec.DecodeError, KeyError) as error:
                raise ValueError(f"line {number} is no exchange: {error}") from None
            if exchange.answer is not None:
                self._answers[exchange.digest] = exchange.answer

    async def models(self) -> tuple[str, ...]:
        """See `ModelServer.models`."""
        return tuple(self._models)

    async def ask(self, request: Request, on_text: OnText) -> Answer:
        """See `ModelServer.ask`."""
        answer = self._answers.get(request.digest)
        if answer is None:
            asked = json.dumps(request.messages[-1].text[:120])
            raise ModelFailed(f"The recording has no answer to this question: {asked}")
        on_text(answer.text)
        return answer

    async def close(self) -> None:
        """Nothing is open."""
