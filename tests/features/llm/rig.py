"""Asking models without a server around it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sutazai.adapters.pydantic_llm import PydanticServer
from sutazai.agents.alone import NoCache
from sutazai.database import Database
from sutazai.llm.accounts import Accounts
from sutazai.llm.model import Budget, Payer, Prompt, Scope
from sutazai.llm.prices import Price, Prices
from sutazai.llm.reach import Reach
from sutazai.llm.service import AnswerCache, Models, TaskModel

PATIENCE = 60.0
USUAL = "the-usual"
PAYER = Payer("task-1", "agent-1", "user-1")
HELLO = Prompt(instructions="Be brief.", question="Say hello.")


class Rig:
    """One process's models, and what they have shown."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.shown: list[tuple[int, str]] = []

    @property
    def accounts(self) -> Accounts:
        return self.models.accounts

    def lent(
        self, *, payer: Payer = PAYER, cache: AnswerCache | None = None, **configuration: Any
    ) -> TaskModel:
        """What one task is lent."""
        return self.models.for_task(
            payer=payer,
            configuration={"model": USUAL, "temperature": 0.0, **configuration},
            cache=cache or NoCache(),
            show=lambda call, text: self.shown.append((call, text)),
        )


@contextlib.asynccontextmanager
async def asking(
    database: Database,
    url: str,
    *,
    provider: str | None = None,
    key: str | None = None,
    budgets: Mapping[Scope, Budget] | None = None,
    prices: Mapping[str, Price] | None = None,
    is_local: bool = True,
    seconds: float = 30.0,
    retries: int = 0,
    task_seconds: float = PATIENCE,
    concurrency: int = 4,
    default_model: str | None = None,
    fallback_model: str | None = None,
) -> AsyncIterator[Rig]:
    """Models of a server that has been found."""
    server = PydanticServer(url, provider=provider, api_key=key, seconds=seconds)
    reach = Reach(
        server=server,
        is_configured=True,
        usual_model=USUAL,
        default_model=default_model,
        fallback_model=fallback_model,
    )
    accounts = Accounts(
        database=database,
        budgets=budgets or {},
        prices=Prices(prices or {}, is_local=is_local),
        call_seconds=seconds,
    )
    models = Models(
        server=server,
        reach=reach,
        accounts=accounts,
        concurrency=concurrency,
        retries=retries,
        task_seconds=task_seconds,
    )
    found = asyncio.Event()
    reach.on_change(found.set)
    await reach.start()
    try:
        async with asyncio.timeout(PATIENCE):
            await found.wait()
        yield Rig(models)
    finally:
        await reach.stop()
