"""Where there is no language model."""

from typing import Any, TypeVar

from sutazai.llm.model import ModelUnavailable, Prompt
from sutazai.llm.port import Form

T = TypeVar("T")


class NoModel:
    """See `sutazai.llm.port.Model`; for agents that run without a server."""

    is_available = False
    seconds = 0.0

    async def ask(
        self, prompt: Prompt, *, max_tokens: int, stream: bool = False, fresh: bool = False
    ) -> str:
        """There is nobody to ask."""
        raise ModelUnavailable("There is no language model here.")

    async def ask_for(
        self, prompt: Prompt, form: Form[T], *, max_tokens: int, stream: bool = False
    ) -> T:
        """There is nobody to ask."""
        raise ModelUnavailable("There is no language model here.")

    def report(self) -> dict[str, Any] | None:
        """None: nothing was asked."""
        return None
