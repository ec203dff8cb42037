"""Tasks that wait for somebody who takes them."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, not_, or_, select

from sutazai.database import Connection
from sutazai.tasks.model import PendingReason, TaskStatus
from sutazai.tasks.store import TASKS

_WAITING = (PendingReason.NO_AGENT.value, PendingReason.NO_MODEL.value)


def waiting_for_agents(
    connection: Connection,
    types: Iterable[str],
    agents: Iterable[str],
    unable: Iterable[tuple[str, str]],
    *,
    limit: int,
) -> list[str]:
    """Tasks that lacked an agent or a model, of these types or pinned to these agents.

    But for those pinned to an agent that is `unable` to do their type: (agent, type).
    """
    able: ColumnElement[bool] = TASKS.c.agent.in_(sorted(agents))
    cannot = [and_(TASKS.c.agent == one, TASKS.c.type == kind) for one, kind in sorted(unable)]
    if cannot:
        able = and_(able, not_(or_(*cannot)))
    free = TASKS.c.agent.is_(None) & TASKS.c.type.in_(sorted(types))
    query = (
        select(TASKS.c.task_id)
        .where(TASKS.c.status == TaskStatus.PENDING.value)
        .where(TASKS.c.pending_reason.in_(_WAITING))
        .where(able | free)
        .order_by(TASKS.c.task_id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


_LACKS_ONE = and_(
    TASKS.c.status == TaskStatus.PENDING.value,
    TASKS.c.pending_reason == PendingReason.NO_AGENT.value,
    TASKS.c.agent.is_not(None),
)


def agents_waited_for(connection: Connection) -> set[str]:
    """The agents that tasks are pinned to which cannot run for lack of them."""
    return set(connection.execute(select(TASKS.c.agent).where(_LACKS_ONE).distinct()).scalars())


def waiting_for(connection: Connection, agents: Iterable[str], *, limit: int) -> dict[str, str]:
    """Tasks that lack one of these agents, with the agent that it is, oldest first."""
    query = (
        select(TASKS.c.task_id, TASKS.c.agent)
        .where(_LACKS_ONE, TASKS.c.agent.in_(sorted(agents)))
        .order_by(TASKS.c.task_id)
        .limit(limit)
    )
    return {row[0]: row[1] for row in connection.execute(query)}
