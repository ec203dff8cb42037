"""Budgets: reserved before a call, settled after it, so that several processes cannot overdraw."""

from collections.abc import Mapping
from functools import partial

from sutazai import clock, ids
from sutazai.database import Connection, Database
from sutazai.llm import store
from sutazai.llm.model import (
    Budget,
    BudgetExceeded,
    ModelUnavailable,
    Payer,
    Request,
    Scope,
    Spending,
    Use,
)
from sutazai.llm.prices import Prices

# What a reservation outlives the longest call by; then its process must be gone.
_SLACK = 60 * clock.SECOND


class Accounts:
    """Books what models are asked, and refuses what no budget allows."""

    def __init__(
        self,
        *,
        database: Database,
        budgets: Mapping[Scope, Budget],
        prices: Prices,
        call_seconds: float,
    ) -> None:
        self._database = database
        self._budgets = budgets
        self._prices = prices
        self._lapse = int(call_seconds * clock.SECOND) + _SLACK

    async def reserve(self, payer: Payer, request: Request) -> str | None:
        """Set aside the most that the call can come to; names it. Raises BudgetExceeded."""
        if not self._budgets:
            return None
        cost = self.cost(request.model, request.estimated_tokens, request.max_tokens)
        if cost is None and any(one.cost is not None for one in self._budgets.values()):
            raise ModelUnavailable(
                f"There is a budget in USD but no price for {request.model!r}; name it in "
                "SUTAZAI_LLM_PRICES."
            )
        now = clock.now()
        wanted = store.Reservation(
            reservation_id=ids.new_id("llm"),
            payer=payer,
            day=store.day_of(now),
            tokens=request.estimated_tokens + request.max_tokens,
            cost=cost or 0.0,
            expires_at=now + self._lapse,
        )
        unit = partial(store.reserve, wanted=wanted, budgets=self._budgets, now=now)
        refusing = await self._database.run(unit)
        if refusing is not None:
            raise BudgetExceeded(refusing, self._budgets[refusing])
        return wanted.reservation_id

    async def settle(self, payer: Payer, reservation_id: str | None, use: Use | None) -> None:
        """Book what the call came to; None where it never happened."""
        if reservation_id is None and use is None:
            return
        unit = partial(
            store.settle, payer=payer, reservation_id=reservation_id, use=use, now=clock.now()
        )
        await self._database.run(unit)

    def cost(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """USD; None where no price is known."""
        return self._prices.cost(model, input_tokens=input_tokens, output_tokens=output_tokens)

    async def today(self) -> Spending:
        """What all together have spent since midnight UTC."""
        day = store.day_of(clock.now())
        return await self._database.read(partial(store.spending, scope=Scope.DAY, key="", day=day))

    async def of_task(self, task_id: str) -> Spending:
        """What a task has spent in all its attempts."""
        return await self._database.read(
            partial(store.spending, scope=Scope.TASK, key=task_id, day=0)
        )

    def purge(self, connection: Connection) -> int:
        """Inside a unit: forget what is too old."""
        return store.purge(connection, now=clock.now())
