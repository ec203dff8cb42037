"""The ports: the server that has the models, and what agents are lent to ask one."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sutazai.llm.model import Answer, Prompt, Request

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

OnText = Callable[[str], None]
"""Called with each piece of an answer as it comes."""


class ModelServer(Protocol):
    """Something that has language models."""

    @property
    def provider(self) -> str:
        """`ollama`, `openai` or `anthropic`; as OpenTelemetry calls it."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, so that its tokens cost nothing."""
        ...

    async def models(self) -> tuple[str, ...]:
        """The names of the models it has. Raises ModelUnavailable where it is not reached."""
        ...

    async def ask(self, request: Request, on_text: OnText) -> Answer:
        """Call a model once. Raises ModelUnavailable, ModelFailed."""
        ...

    async def close(self) -> None:
        """Let go of its connections."""
        ...


class Model(Protocol):
    """The model that an agent is lent for one task, as the agent is configured.

    All of it raises ModelProblem: ModelUnavailable, ModelFailed, BudgetExceeded, UnusableAnswer.
    """

    @property
    def is_available(self) -> bool:
        """Whether there is one at this moment."""
        ...

    @property
    def seconds(self) -> float:
        """How long an agent asks about one task, all together."""
        ...

    async def ask(
        self, prompt: Prompt, *, max_tokens: int, stream: bool = False, fresh: bool = False
    ) -> str:
        """The answer's text. `stream` shows it as it comes, as `task.output` events.

        `fresh`: not one that was given to the same prompt before.
        """
        ...

    async def ask_for(
        self, prompt: Prompt, form: "Form[T]", *, max_tokens: int, stream: bool = False
    ) -> T:
        """An answer of a form; what does not have it is sent back with the reason a few times."""
        ...

    def report(self) -> dict[str, Any] | None:
        """What results say of the model: name, tokens, cost, seconds; None where none was asked."""
        ...


class Form(Protocol[T_co]):
    """What an answer must look like."""

    @property
    def schema(self) -> dict[str, Any]:
        """As a JSON schema; an object."""
        ...

    def read(self, text: str) -> T_co:
        """The value. Raises ValueError with what is wrong, for the model to read."""
        ...
