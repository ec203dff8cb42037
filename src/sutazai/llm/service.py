"""Asking a model for a task: choosing it, the budget, the cache, retries, and the books."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from sutazai.clock import SECOND
from sutazai.llm import conventions as names
from sutazai.llm.accounts import Accounts
from sutazai.llm.model import (
    Answer,
    BudgetExceeded,
    Message,
    ModelFailed,
    ModelMissing,
    ModelUnreachable,
    Payer,
    Prompt,
    Request,
    SchemaRefused,
    Scope,
    Speaker,
    UnusableAnswer,
    Use,
)
from sutazai.llm.port import Form, ModelServer, OnText
from sutazai.llm.reach import Reach
from sutazai.telemetry.instruments import Instruments
from sutazai.telemetry.tracing import Kind, Tracing, span

_logger = structlog.get_logger(__name__)

T = TypeVar("T")

_LONGEST_PAUSE = 30.0


class AnswerCache(Protocol):
    """Where answers are kept; the agents' ResultCache is one."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The entries that are there."""
        ...

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keep these."""
        ...


ShowText = Callable[[int, str], None]
"""Called with the number of the call, from 1, and a piece of its answer."""


class Models:
    """One server's models, asked by as many tasks as there are, a few at a time."""

    def __init__(
        self,
        *,
        server: ModelServer | None,
        reach: Reach,
        accounts: Accounts,
        concurrency: int,
        retries: int,
        task_seconds: float = 120.0,
        caches: bool = True,
        instruments: Instruments | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._server = server
        self.reach = reach
        self.accounts = accounts
        self._free = asyncio.Semaphore(concurrency)
        self._retries = retries
        self.task_seconds = task_seconds
        self.caches = caches
        self._instruments = instruments
        self._tracing = tracing
        self._takes_schemas = True

    @property
    def provider(self) -> str:
        """What the server is."""
        return self._server.provider if self._server is not None else ""

    def for_task(
        self,
        *,
        payer: Payer,
        configuration: Mapping[str, Any],
        cache: AnswerCache,
        show: ShowText,
    ) -> "TaskModel":
        """What an agent is lent for one task."""
        return TaskModel(
            models=self, payer=payer, configuration=configuration, cache=cache, show=show
        )

    async def call(self, attempt: Callable[[ModelServer], Awaitable[Answer]]) -> Answer:
        """The answer, after as many attempts as are allowed, in one of the few places."""
        if self._server is None:
            raise ModelUnreachable("There is no language model here.")
        async with self._free:
            failed = 0
            while True:
                try:
                    return await attempt(self._server)
                except ModelFailed as error:
                    if not error.is_passing or failed >= self._retries:
                        raise
                    _logger.info("llm.retry", reason=str(error))
                    after = error.retry_after
                except ModelUnreachable as error:
                    if failed >= self._retries:
                        self.reach.lose(str(error))
                        raise
                    after = None
                failed += 1
                await asyncio.sleep(_pause(failed, after))

    async def once(
        self, server: ModelServer, request: Request, payer: Payer, on_text: OnText
    ) -> Answer:
        """One attempt at a call."""
        schema = request.schema
        if schema is not None and not self._takes_schemas:
            request = _with_schema_in_words(request)
        attributes: dict[str, str | int | float | bool] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: server.provider,
            names.REQUEST_MODEL: request.model,
            names.AGENT: payer.agent_id,
            names.TEMPERATURE: request.temperature,
            names.MAX_TOKENS: request.max_tokens,
        }
        title = f"{names.CHAT} {request.model}"
        started = time.monotonic()
        outcome = "failed"
        try:
            with span(self._tracing, title, kind=Kind.CLIENT, attributes=attributes) as current:
                try:
                    answer = await server.ask(request, on_text)
                except SchemaRefused as error:
                    answer = await server.ask(_with_schema_in_words(request), on_text)
                    # Only now is it known that it was the schema that it did not take.
                    _logger.info("llm.schema_refused", reason=str(error))
                    self._takes_schemas = False
                if current is not None:
                    current.set_attribute(names.INPUT_TOKENS, answer.input_tokens)
                    current.set_attribute(names.OUTPUT_TOKENS, answer.output_tokens)
                    current.set_attribute(
                        names.FINISH_REASONS, ["length" if answer.is_cut else "stop"]
                    )
            outcome = "answered"
            return answer
        finally:
            if self._instruments is not None:
                self._instruments.model_called(request.model, outcome, time.monotonic() - started)

    def count(self, request: Request, use: Use) -> None:
        """Show what a call came to in the metrics."""
        if self._instruments is not None:
            self._instruments.model_used(
                request.model, use.input_tokens, use.output_tokens, use.cost or 0.0
            )


def _pause(attempt: int, wanted: float | None) -> float:
    jitter = random.random()  # noqa: S311  # spreads retries, hides nothing
    usual = 0.5 * 2.0 ** (attempt - 1) * (0.8 + 0.4 * jitter)
    return min(_LONGEST_PAUSE, usual if wanted is None else wanted)


def _with_schema_in_words(request: Request) -> Request:
    schema = msgspec.json.encode(request.schema).decode()
    words = (
        f"Answer with one JSON object that follows this JSON schema, and nothing else:\n{schema}"
    )
    first, *rest = request.messages
    first = Message(first.speaker, f"{first.text}\n\n{words}")
    return msgspec.structs.replace(request, messages=(first, *rest), schema=None)


class TaskModel:
    """See `sutazai.llm.port.Model`."""

    def __init__(
        self,
        *,
        models: Models,
        payer: Payer,
        configuration: Mapping[str, Any],
        cache: AnswerCache,
        show: ShowText,
    ) -> None:
        self._models = models
        self._payer = payer
        self._configured = str(configuration.get("model", ""))
        self._temperature = float(configuration.get("temperature", 0.0))
        self._attempts = int(configuration.get("max_iterations", 1))
        self._cache = cache
        self._show = show
        self._shown_calls = 0
        self._used = _Used()

    @property
    def is_available(self) -> bool:
        """See `Model.is_available`."""
        return self._models.reach.is_available

    @property
    def seconds(self) -> float:
        """See `Model.seconds`."""
        return self._models.task_seconds

    async def ask(
        self, prompt: Prompt, *, max_tokens: int, stream: bool = False, fresh: bool = False
    ) -> str:
        """See `Model.ask`."""
        answer = await self._ask(prompt.messages(), None, max_tokens, stream, fresh=fresh)
        return answer.text

    async def ask_for(
        self, prompt: Prompt, form: Form[T], *, max_tokens: int, stream: bool = False
    ) -> T:
        """See `Model.ask_for`."""
        messages = prompt.messages()
        wrong = ""
        for _ in range(max(1, self._attempts)):
            answer = await self._ask(messages, form, max_tokens, stream)
            try:
                return form.read(answer.text)
            except ValueError as error:
                wrong = str(error)
                if answer.is_cut:
                    wrong += "; the answer was cut off, so be much shorter"
                messages = (
                    *prompt.messages(),
                    Message(Speaker.ASSISTANT, answer.text or "-"),
                    Message(Speaker.USER, f"That is not what was asked for: {wrong}. Try again."),
                )
        raise UnusableAnswer(
            f"{self._used.name} gave no answer of the right form in {max(1, self._attempts)} "
            f"attempts ({wrong}). Choose an abler model, or raise max_iterations."
        )

    async def _ask(
        self,
        messages: tuple[Message, ...],
        form: Form[object] | None,
        max_tokens: int,
        stream: bool,
        fresh: bool = False,
    ) -> Answer:
        chosen = self._models.reach.choose(self._configured)
        request = Request(
            model=chosen,
            messages=messages,
            temperature=self._temperature,
            max_tokens=max_tokens,
            schema=None if form is None else form.schema,
        )
        self._used.name, self._used.provider = chosen, self._models.provider
        key = f"llm:{self._models.provider}:{request.digest}"
        if self._models.caches and not fresh:
            kept = await self._cached(key)
            if kept is not None and _fits(kept, form):
                self._used.cached += 1
                if stream:
                    self._shown_calls += 1
                    self._show(self._shown_calls, kept.text)
                return kept
        try:
            answer = await self._call(request, stream)
        except (ModelFailed, ModelMissing):
            other = self._models.reach.fallback_model
            if other is None or other == chosen:
                raise
            self._used.name = other
            answer = await self._call(msgspec.structs.replace(request, model=other), stream)
        else:
            # A wrong answer is not kept: the next attempt, or task, may get a right one.
            if self._models.caches and not fresh and not answer.is_cut and _fits(answer, form):
                await self._cache.put_many({key: msgspec.json.encode(answer)})
        return answer

    async def _cached(self, key: str) -> Answer | None:
        found = (await self._cache.get_many([key])).get(key)
        if found is None:
            return None
        with contextlib.suppress(msgspec.DecodeError):  # of a version before this one
            return msgspec.json.decode(found, type=Answer)
        return None

    async def _call(self, request: Request, stream: bool) -> Answer:
        return await self._models.call(partial(self._attempt, request, stream))

    async def _attempt(self, request: Request, stream: bool, server: ModelServer) -> Answer:
        """One attempt, booked on its own: whatever came of it, the server may have counted it."""
        accounts = self._models.accounts
        try:
            reservation = await accounts.reserve(self._payer, request)
        except BudgetExceeded as error:
            self._used.exceeded = error.scope
            raise
        self._shown_calls += 1
        came: list[str] = []

        def on_text(piece: str) -> None:
            came.append(piece)
            if stream:
                self._show(self._shown_calls, piece)

        started = time.monotonic()
        use: Use | None = None
        try:
            answer = await self._models.once(server, request, self._payer, on_text)
            seconds = time.monotonic() - started
            use = self._use(request, answer.input_tokens, answer.output_tokens, seconds)
            self._used.is_estimated |= answer.is_estimated
            return answer
        finally:
            if use is None and came:
                # Cut off on the way: the server counted, but has told nobody.
                letters = sum(len(piece.encode()) for piece in came)
                seconds = time.monotonic() - started
                use = self._use(request, request.estimated_tokens, letters // 3 + 1, seconds)
                self._used.is_estimated = True
            if use is not None:
                self._used.add(use)
                self._models.count(request, use)
            await asyncio.shield(accounts.settle(self._payer, reservation, use))

    def _use(self, request: Request, read: int, written: int, seconds: float) -> Use:
        cost = self._models.accounts.cost(request.model, read, written)
        return Use(read, written, cost, int(seconds * SECOND))

    def report(self) -> dict[str, Any] | None:
        """See `Model.report`."""
        return self._used.report()


def _fits(answer: Answer, form: Form[object] | None) -> bool:
    if form is None:
        return True
    try:
        form.read(answer.text)
    except ValueError:
        return False
    return True


class _Used:
    """What one attempt at a task has asked so far."""

    def __init__(self) -> None:
        self.name = ""
        self.provider = ""
        self.calls = 0
        self.cached = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost: float | None = 0.0
        self.duration = 0
        self.is_estimated = False
        self.exceeded: Scope | None = None

    def add(self, use: Use) -> None:
        self.calls += 1
        self.input_tokens += use.input_tokens
        self.output_tokens += use.output_tokens
        self.duration += use.duration
        known = self.cost is not None and use.cost is not None
        self.cost = (self.cost or 0.0) + (use.cost or 0.0) if known else None

    def report(self) -> dict[str, Any] | None:
        if not self.name:
            return None
        shown: dict[str, Any] = {
            "name": self.name,
            "provider": self.provider,
            "calls": self.calls,
            "cached_calls": self.cached,
            "tokens": self.input_tokens + self.output_tokens,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": self.cost,
            "seconds": round(self.duration / SECOND, 3),
        }
        if self.is_estimated:
            shown["tokens_estimated"] = True
        if self.exceeded is not None:
            shown["budget_exceeded"] = self.exceeded.value
        return shown
