"""Ollama, whatever is compatible with OpenAI, and Anthropic: one server through pydantic-ai.

The library takes more than a second and 40 MB to import, so it is imported by the first call, on a
thread, and never where no model is asked.
"""

import asyncio
import contextlib
import importlib
import ipaddress
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from sutazai.llm.model import (
    Answer,
    ModelFailed,
    ModelMissing,
    ModelProblem,
    ModelUnavailable,
    ModelUnreachable,
    Request,
    SchemaRefused,
    Speaker,
)
from sutazai.llm.port import OnText
from sutazai.telemetry.redaction import MASK

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.models import Model, StreamedResponse

_logger = structlog.get_logger(__name__)

OLLAMA, OPENAI, ANTHROPIC = "ollama", "openai", "anthropic"
PROVIDERS = (OLLAMA, OPENAI, ANTHROPIC)
OLLAMA_PORT = 11434

_ANTHROPIC = "2026-10-21"
_CLIENT = "sutazai.adapters.only_to"
_PROBE_SECONDS = 5.0
_MOST_MODELS = 1_000
_MOST_LIST_BYTES = 4 * 1024 * 1024
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# No token is longer than this many characters; more than so is not an answer but an attack.
_TOKEN_LETTERS = 32
_MOST_TOKENS = 10_000_000  # more than any model reads or writes in one call
_MOST_TOLD = 300


class PydanticServer:
    """One server, by its base URL; see `sutazai.llm.port.ModelServer`."""

    def __init__(
        self,
        url: str,
        *,
        provider: str | None = None,
        api_key: str | None = None,
        seconds: float = 120.0,
    ) -> None:
        """`provider` is guessed from the URL where None; `seconds` is how long a call may take."""
        self._url = url.rstrip("/").removesuffix("/v1")
        self.provider = provider or _guessed(url)
        self.is_local = is_loopback(url)
        self._key = api_key
        self._seconds = seconds
        self._client: httpx2.AsyncClient | None = None
        self._models: dict[str, Model] = {}
        self._importing = threading.Lock()

    async def close(self) -> None:
        """See `ModelServer.close`."""
        self._models.clear()
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _http(self) -> "httpx2.AsyncClient":
        if self._client is None:
            await asyncio.to_thread(importlib.import_module, _CLIENT)
            from sutazai.adapters.only_to import client_for

            self._client = self._client or client_for(
                self._url, key=self._key, seconds=self._seconds
            )
        return self._client

    # --- which models there are

    async def models(self) -> tuple[str, ...]:
        """See `ModelServer.models`."""
        if self.is_local:
            await self._knock()
        client = await self._http()
        import httpx2

        path = "/api/tags" if self.provider == OLLAMA else "/v1/models"
        headers = {"anthropic-version": _ANTHROPIC} if self.provider == ANTHROPIC else {}
        try:
            async with (
                asyncio.timeout(_PROBE_SECONDS),
                client.stream("GET", self._url + path, headers=headers) as answer,
            ):
                body = bytearray()
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _MOST_LIST_BYTES:
                        raise ModelUnavailable(f"{self._url} lists too much to be a model server.")
            if answer.status_code != 200:
                raise ModelUnavailable(_refused(self._url, answer.status_code))
            return _names(bytes(body))
        except (httpx2.HTTPError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise ModelUnavailable(f"{self._url} cannot be reached: {reason}.") from None

    async def _knock(self) -> None:
        """Whether anybody listens there; without an HTTP client, whose import takes its time."""
        parts = urlsplit(self._url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except (OSError, TimeoutError):
            raise ModelUnavailable(f"Nothing listens at {self._url}.") from None
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    # --- asking one

    async def ask(self, request: Request, on_text: OnText) -> Answer:
        """See `ModelServer.ask`."""
        model = self._models.get(request.model)
        if model is None:
            client = await self._http()
            model = await asyncio.to_thread(self._make, request.model, client)
            self._models[request.model] = model
        from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, UnexpectedModelBehavior

        try:
            async with asyncio.timeout(self._seconds):
                return await _ask(model, request, on_text)
        except ModelProblem:
            raise
        except ModelHTTPError as error:
            told = self._told(str(error.body))
            failure = _http_failure(self._url, request, error.status_code, told)
            if isinstance(failure, ModelFailed):
                failure.retry_after = _retry_after(error.__cause__)
            raise failure from None
        except ModelAPIError as error:
            told = self._told(error.message)
            raise ModelUnreachable(f"{self._url} cannot be reached: {told}.") from None
        except UnexpectedModelBehavior as error:
            told = self._told(error.message)
            raise ModelFailed(f"{self._url} gave no answer: {told}.") from None
        except TimeoutError:
            message = (
                f"{request.model} did not finish within {self._seconds:g} s. Give it longer with "
                "SUTAZAI_LLM_TIMEOUT_SECONDS."
            )
            raise ModelFailed(message, is_passing=True) from None
        except Exception as error:
            # The libraries take much of what a server says for granted.
            _logger.info("llm.nonsense", url=self._url, error=type(error).__name__)
            raise ModelFailed(
                f"{self._url} does not answer as a model server does ({type(error).__name__})."
            ) from None

    def _told(self, said: str) -> str:
        """What a server said, for users: a line without the key that it may have repeated."""
        if self._key:
            said = said.replace(self._key, MASK)
        return "".join(one if one.isprintable() else " " for one in said[:_MOST_TOLD])

    def _make(self, name: str, client: "httpx2.AsyncClient") -> "Model":
        with self._importing:
            if self.provider == ANTHROPIC:
                return self._anthropic(name, client)
            return self._openai(name, client)

    def _openai(self, name: str, client: "httpx2.AsyncClient") -> "Model":
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.profiles import merge_profile
        from pydantic_ai.profiles.openai import OpenAIModelProfile
        from pydantic_ai.providers.ollama import OllamaProvider
        from pydantic_ai.providers.openai import OpenAIProvider
        from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

        sdk = AsyncOpenAI(
            base_url=self._url + "/v1",
            api_key=self._key or "none",
            http_client=client,
            max_retries=0,
        )
        # Else an answer that broke off would pass for a short one.
        whole = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
        if urlsplit(self._url).hostname == "api.openai.com":
            official = OpenAIProvider(openai_client=sdk)
            profile = merge_profile(official.model_profile(name), whole)
            return OpenAIChatModel(name, provider=official, profile=profile)
        provider: Any = (
            OllamaProvider(openai_client=sdk)
            if self.provider == OLLAMA
            else OpenAICompatibleProvider("openai-compatible", openai_client=sdk)
        )
        # The older name of the limit is the one that every such server knows.
        profile = merge_profile(
            provider.model_profile(name),
            whole,
            OpenAIModelProfile(
                openai_chat_supports_max_completion_tokens=False,
                supports_json_schema_output=True,
            ),
        )
        return OpenAIChatModel(name, provider=provider, profile=profile)

    def _anthropic(self, name: str, client: "httpx2.AsyncClient") -> "Model":
        try:
            from anthropic import AsyncAnthropic
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider
        except ImportError:
            raise ModelUnavailable(
                "Anthropic's models need more packages: install 'sutazai[anthropic]'."
            ) from None
        sdk = AsyncAnthropic(
            base_url=self._url, api_key=self._key or "none", http_client=client, max_retries=0
        )
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=sdk))


async def _ask(model: "Model", request: Request, on_text: OnText) -> Answer:
    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import (
        ModelRequest,
        ModelResponse,
        SystemPromptPart,
        TextPart,
        UserPromptPart,
    )
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition
    from pydantic_ai.settings import ModelSettings

    history: list[Any] = []
    for message in request.messages:
        match message.speaker:
            case Speaker.SYSTEM:
                history.append(ModelRequest(parts=[SystemPromptPart(message.text)]))
            case Speaker.USER:
                history.append(ModelRequest(parts=[UserPromptPart(message.text)]))
            case Speaker.ASSISTANT:
                history.append(ModelResponse(parts=[TextPart(message.text)]))
    parameters = None
    if request.schema is not None:
        form = OutputObjectDefinition(json_schema=request.schema, name="answer")
        parameters = ModelRequestParameters(
            output_mode="native", output_object=form, allow_text_output=True
        )
    settings = ModelSettings(temperature=request.temperature, max_tokens=request.max_tokens)
    async with model_request_stream(
        model, history, model_settings=settings, model_request_parameters=parameters
    ) as stream:
        return await _read(stream, request, on_text)


async def _read(stream: "StreamedResponse", request: Request, on_text: OnText) -> Answer:
    from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta

    most = _TOKEN_LETTERS * request.max_tokens
    pieces: list[str] = []
    length = 0
    async for event in stream:
        match event:
            case PartStartEvent(part=TextPart(content=piece)):
                pass
            case PartDeltaEvent(delta=TextPartDelta(content_delta=piece)):
                pass
            case _:
                continue
        if piece:
            # Half a character, which JSON can spell, can be written nowhere.
            piece = piece.encode("utf-8", "replace").decode()
            length += len(piece)
            if length > most:
                raise ModelFailed("The server sent far more than it was asked for.")
            pieces.append(piece)
            on_text(piece)
    if stream.finish_reason is None:
        raise ModelFailed("The answer broke off in the middle.", is_passing=True)
    text = "".join(pieces)
    usage = stream.usage
    counts = (usage.input_tokens, usage.output_tokens)
    # A count that cannot be is none: it would be booked, and no budget would be left of it.
    estimated = not any(counts) or not all(0 <= count <= _MOST_TOKENS for count in counts)
    return Answer(
        text=text,
        input_tokens=request.estimated_tokens if estimated else usage.input_tokens,
        output_tokens=len(text.encode()) // 3 if estimated else usage.output_tokens,
        is_estimated=estimated,
        is_cut=stream.finish_reason == "length",
    )


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _guessed(url: str) -> str:
    parts = urlsplit(url)
    if parts.hostname == "api.anthropic.com":
        return ANTHROPIC
    return OLLAMA if parts.port == OLLAMA_PORT else OPENAI


def _names(body: bytes) -> tuple[str, ...]:
    """The models of an answer in Ollama's form or in OpenAI's."""
    import json

    try:
        told = json.loads(body)
        rows = told.get("data") or told.get("models") or []
        names = [row.get("id") or row.get("name") or row.get("model") for row in rows]
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ModelUnavailable("What answers there is no model server.") from None
    fine = [name for name in names if isinstance(name, str) and name.isprintable() and name]
    return tuple(name for name in fine[:_MOST_MODELS] if len(name) <= 200)


def _refused(url: str, status: int) -> str:
    if status in (401, 403):
        return f"{url} refuses the key ({status}). Give the right one as SUTAZAI_LLM_API_KEY."
    return f"{url} answers {status} when asked for its models."


def _http_failure(url: str, request: Request, status: int, told: str) -> Exception:
    if status in (401, 403):
        return ModelUnavailable(_refused(url, status))
    if status == 404:
        return ModelMissing(f"{url} has no model {request.model!r}: {told}")
    if request.schema is not None and status in (400, 422, 501):
        return SchemaRefused(f"{url} takes no schema ({status}): {told}")
    return ModelFailed(f"{url} answers {status}: {told}", is_passing=status in _PASSING)


def _retry_after(error: BaseException | None) -> float | None:
    """The seconds that a server asks to wait, if it says so in seconds."""
    response = getattr(error, "response", None)
    said = "" if response is None else response.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() else None
