"""Whether there is a model, and which: looked at in the background, never on anybody's request."""

import asyncio
import contextlib
from collections.abc import Callable
from enum import StrEnum

import structlog

from sutazai.llm.model import ModelMissing, ModelUnavailable
from sutazai.llm.port import ModelServer

_logger = structlog.get_logger(__name__)

_LOOK_SECONDS = 10.0
_LOOK_SOONER_SECONDS = 2.0


class Health(StrEnum):
    """`unavailable` is not configured and not found, `unhealthy` configured and out of reach."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNAVAILABLE = "unavailable"


class Reach:
    """Knows the server's models, and who wants to hear when there are some or none."""

    def __init__(
        self,
        *,
        server: ModelServer | None,
        is_configured: bool,
        usual_model: str,
        default_model: str | None = None,
        fallback_model: str | None = None,
    ) -> None:
        """`usual_model` is what agents are configured with until a user says otherwise.

        Where the server lacks it, `default_model` stands in, or the first that the server has.
        """
        self._server = server
        self._is_configured = is_configured
        self._usual = usual_model
        self._default = default_model
        self.fallback_model = fallback_model
        self._models: tuple[str, ...] = ()
        self._reachable = False
        self._reason = "Nothing has been found yet."
        self._look_now = asyncio.Event()
        self._changed: list[Callable[[], None]] = []
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look; the first answer comes a moment later."""
        if self._server is not None:
            self._loop = asyncio.create_task(self._keep_looking(self._server))

    async def stop(self) -> None:
        """Look no more."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._server is not None:
            await self._server.close()

    def on_change(self, tell: Callable[[], None]) -> None:
        """Call this whenever a model comes or goes."""
        self._changed.append(tell)

    @property
    def is_available(self) -> bool:
        """Whether there is a model to ask."""
        return self._reachable and bool(self._models or self._default)

    @property
    def health(self) -> Health:
        """For `/health`."""
        if self.is_available:
            return Health.HEALTHY
        return Health.UNHEALTHY if self._is_configured else Health.UNAVAILABLE

    @property
    def models(self) -> tuple[str, ...]:
        """What the server has."""
        return self._models if self._reachable else ()

    def choose(self, configured: str) -> str:
        """The model for an agent that is configured so. Raises ModelUnavailable."""
        if not self.is_available:
            raise ModelUnavailable(f"No language model can be reached. {self._reason} {_REMEDY}")
        known = self._known(configured)
        if known is not None:
            return known
        if configured == self._usual:
            return self._default or _first(self._models)
        if not self._models:  # a server that lists nothing is believed to have what is asked for
            return configured
        if self.fallback_model is not None:
            return self.fallback_model
        some = ", ".join(self._models[:10])
        raise ModelMissing(
            f"The model server has no {configured!r}, only: {some}. Add it there, or choose "
            "another with PATCH /agents/{agent_id}/config."
        )

    def _known(self, name: str) -> str | None:
        for spelt in (name, f"{name}:latest"):
            if spelt in self._models:
                return spelt
        return None

    def lose(self, reason: str) -> None:
        """Take note that the server did not answer, before the next look finds out."""
        self._note((), reachable=False, reason=reason)
        self._look_now.set()

    async def _keep_looking(self, server: ModelServer) -> None:
        while True:
            await self._look(server)
            pause = _LOOK_SECONDS if self._reachable else _LOOK_SOONER_SECONDS
            self._look_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look_now.wait()
                    # Whatever was lost just now needs a moment to come back.
                    await asyncio.sleep(pause)

    async def _look(self, server: ModelServer) -> None:
        try:
            models = await server.models()
        except ModelUnavailable as error:
            self._note((), reachable=False, reason=str(error))
        except Exception:
            _logger.exception("llm.look_failed")
            self._note((), reachable=False, reason="Looking for it failed; see the log.")
        else:
            reason = "" if models or self._default else "The server has no models."
            self._note(models, reachable=True, reason=reason)

    def _note(self, models: tuple[str, ...], *, reachable: bool, reason: str) -> None:
        before = self.is_available
        self._models, self._reachable, self._reason = models, reachable, reason
        if self.is_available is not before:
            _logger.info("llm.changed", available=self.is_available, reason=reason)
            for tell in self._changed:
                tell()


_REMEDY = "Start Ollama, or name another server with SUTAZAI_LLM_URL."


def _first(models: tuple[str, ...]) -> str:
    """By name, so that it is the same every time; models that only embed cannot answer."""
    able = [name for name in models if "embed" not in name.lower()]
    return min(able or models)
