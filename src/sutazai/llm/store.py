"""What models were asked and what it cost, by task, agent, user and day, with what is reserved."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.clock import SECOND
from sutazai.database import Connection, metadata
from sutazai.llm.model import Budget, Payer, Scope, Spending, Use

SPENDING = Table(
    "llm_spending",
    metadata,
    # task | agent | user | day
    Column("scope", String(8), primary_key=True),
    # The task's, agent's or user's id; empty for all together.
    Column("key", String(64), primary_key=True),
    # Days since 1970; 0 for a task, whose budget knows no days.
    Column("day", Integer, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    # In billionths of a USD.
    Column("cost", BigInteger, nullable=False),
    Column("unpriced_calls", BigInteger, nullable=False),
    Column("duration", BigInteger, nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("reserved_cost", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_llm_spending_updated_at", "updated_at"),
)

RESERVATIONS = Table(
    "llm_reservations",
    metadata,
    Column("reservation_id", String(64), primary_key=True),
    Column("task_id", String(64), nullable=False),
    Column("agent_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("day", Integer, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_llm_reservations_expires_at", "expires_at"),
)

_DAY = 24 * 3600 * SECOND
_NANO = 1_000_000_000
_NUMBERS = (
    *("calls", "input_tokens", "output_tokens", "cost", "unpriced_calls", "duration"),
    *("reserved_tokens", "reserved_cost"),
)
_KEPT = 30 * _DAY


class Reservation(NamedTuple):
    """What is set aside for a call that is about to be made; `cost` in USD."""

    reservation_id: str
    payer: Payer
    day: int
    tokens: int
    cost: float
    expires_at: int


def day_of(moment: int) -> int:
    """The UTC day of a moment in microseconds."""
    return moment // _DAY


def _accounts(payer: Payer, day: int) -> list[tuple[str, str, int]]:
    """Always in the same order, so that two transactions cannot wait for each other."""
    return [
        (Scope.AGENT.value, payer.agent_id, day),
        (Scope.DAY.value, "", day),
        (Scope.TASK.value, payer.task_id, 0),
        (Scope.USER.value, payer.user_id, day),
    ]


def _upsert(module: Any) -> Any:
    statement = module.insert(SPENDING)
    added = {name: SPENDING.c[name] + statement.excluded[name] for name in _NUMBERS}
    added["updated_at"] = statement.excluded.updated_at
    return statement.on_conflict_do_update(index_elements=["scope", "key", "day"], set_=added)


_UPSERT = {"sqlite": _upsert(sqlite), "postgresql": _upsert(postgresql)}


def _add(
    connection: Connection,
    accounts: Sequence[tuple[str, str, int]],
    now: int,
    changes: Mapping[str, int],
) -> None:
    numbers = {name: changes.get(name, 0) for name in _NUMBERS}
    rows = [
        {"scope": scope, "key": key, "day": day, "updated_at": now, **numbers}
        for scope, key, day in accounts
    ]
    connection.execute(_UPSERT[connection.dialect.name], rows)


def reserve(
    connection: Connection, wanted: Reservation, budgets: Mapping[Scope, Budget], *, now: int
) -> Scope | None:
    """Set aside what a call may come to; the scope whose budget is too small, and then nothing."""
    accounts = _accounts(wanted.payer, wanted.day)
    # First of all, because adding takes the rows' locks: no other may look at them meanwhile.
    cost = _nano(wanted.cost)
    _add(connection, accounts, now, {"reserved_tokens": wanted.tokens, "reserved_cost": cost})
    refusing = _exceeded(connection, accounts, budgets)
    if refusing is not None and release_lapsed(connection, now=now):
        refusing = _exceeded(connection, accounts, budgets)
    if refusing is not None:
        _add(connection, accounts, now, {"reserved_tokens": -wanted.tokens, "reserved_cost": -cost})
        return refusing
    payer = wanted.payer
    connection.execute(
        insert(RESERVATIONS).values(
            reservation_id=wanted.reservation_id,
            task_id=payer.task_id,
            agent_id=payer.agent_id,
            user_id=payer.user_id,
            day=wanted.day,
            tokens=wanted.tokens,
            cost=cost,
            expires_at=wanted.expires_at,
        )
    )
    return None


_USED = select(
    SPENDING.c.scope,
    SPENDING.c.input_tokens + SPENDING.c.output_tokens + SPENDING.c.reserved_tokens,
    SPENDING.c.cost + SPENDING.c.reserved_cost,
).where(
    tuple_(SPENDING.c.scope, SPENDING.c.key, SPENDING.c.day).in_(
        bindparam("of_accounts", expanding=True)
    )
)


def _exceeded(
    connection: Connection,
    accounts: Sequence[tuple[str, str, int]],
    budgets: Mapping[Scope, Budget],
) -> Scope | None:
    rows = connection.execute(_USED, {"of_accounts": list(accounts)})
    used = {Scope(row[0]): (int(row[1]), int(row[2])) for row in rows}
    for scope, budget in budgets.items():
        spent_tokens, spent_cost = used.get(scope, (0, 0))
        if budget.tokens is not None and spent_tokens > budget.tokens:
            return scope
        if budget.cost is not None and spent_cost > _nano(budget.cost):
            return scope
    return None


def settle(
    connection: Connection, payer: Payer, reservation_id: str | None, use: Use | None, *, now: int
) -> None:
    """Count what a call came to, if it came to something, and give back what was set aside."""
    changes: dict[str, int] = {}
    if use is not None:
        changes = {
            "calls": 1,
            "input_tokens": use.input_tokens,
            "output_tokens": use.output_tokens,
            "cost": _nano(use.cost or 0.0),
            "unpriced_calls": int(use.cost is None),
            "duration": use.duration,
        }
    day = day_of(now)
    if reservation_id is not None:
        row = connection.execute(_TAKE_BACK, {"of_reservation": reservation_id}).one_or_none()
        # Gone already where it lapsed; what was set aside yesterday is yesterday's.
        if row is not None and row.day != day:
            freed = {"reserved_tokens": -row.tokens, "reserved_cost": -row.cost}
            _add(connection, _accounts(payer, row.day), now, freed)
        elif row is not None:
            changes |= {"reserved_tokens": -row.tokens, "reserved_cost": -row.cost}
    if changes:
        _add(connection, _accounts(payer, day), now, changes)


_TAKE_BACK = (
    delete(RESERVATIONS)
    .where(RESERVATIONS.c.reservation_id == bindparam("of_reservation"))
    .returning(RESERVATIONS.c.day, RESERVATIONS.c.tokens, RESERVATIONS.c.cost)
)


def release_lapsed(connection: Connection, *, now: int) -> int:
    """Give back what was set aside for calls whose process is gone; how many there were."""
    return _free(connection, RESERVATIONS.c.expires_at < now, now)


def _free(connection: Connection, which: Any, now: int) -> int:
    rows = connection.execute(delete(RESERVATIONS).where(which).returning(RESERVATIONS)).all()
    for row in sorted(rows, key=lambda one: (one.agent_id, one.task_id)):
        payer = Payer(row.task_id, row.agent_id, row.user_id)
        changes = {"reserved_tokens": -row.tokens, "reserved_cost": -row.cost}
        _add(connection, _accounts(payer, row.day), now, changes)
    return len(rows)


def spending(connection: Connection, scope: Scope, key: str, day: int) -> Spending:
    """What has been spent on one account."""
    row = connection.execute(
        select(SPENDING).where(
            SPENDING.c.scope == scope.value, SPENDING.c.key == key, SPENDING.c.day == day
        )
    ).one_or_none()
    return Spending() if row is None else _spending(row)


def _spending(row: Any) -> Spending:
    return Spending(
        calls=row.calls,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost=None if row.unpriced_calls else row.cost / _NANO,
        seconds=row.duration / SECOND,
    )


def reserved(connection: Connection) -> int:
    """How many tokens are set aside at this moment."""
    total = select(func.coalesce(func.sum(RESERVATIONS.c.tokens), 0))
    return int(connection.execute(total).scalar_one())


def purge(connection: Connection, *, now: int, limit: int = 1_000) -> int:
    """Forget accounts nobody has used for a month; how many went."""
    release_lapsed(connection, now=now)
    columns = (SPENDING.c.scope, SPENDING.c.key, SPENDING.c.day)
    old = select(*columns).where(SPENDING.c.updated_at < now - _KEPT).limit(limit)
    return connection.execute(delete(SPENDING).where(tuple_(*columns).in_(old))).rowcount


def _nano(usd: float) -> int:
    return round(usd * _NANO)
