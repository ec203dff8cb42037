"""The part of the composition root that does the work: the runner, the worker, its agents."""

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from sutazai.agents.contract import Agent
from sutazai.agents.outside import OutsideAgents
from sutazai.agents.service import AgentDirectory, AgentHost, AgentRegistry, pinned_queue
from sutazai.callbacks import courier as callback_jobs
from sutazai.callbacks.service import Callbacks
from sutazai.database import Database
from sutazai.engine import recurring
from sutazai.engine.job import Consumer, Handler
from sutazai.engine.rescuer import Rescuer
from sutazai.engine.scheduler import Scheduler
from sutazai.engine.worker import Worker
from sutazai.events.hub import EventHub
from sutazai.findings.service import Findings
from sutazai.llm.reach import Reach
from sutazai.llm.service import Models
from sutazai.schedules import firing
from sutazai.schedules.service import scheduled_by
from sutazai.settings import Settings
from sutazai.tasks.assignments import Assignments, record_attempt
from sutazai.tasks.cache import DatabaseResultCache, PeekingCache
from sutazai.tasks.foresight import Foresight
from sutazai.tasks.runner import TaskRunner
from sutazai.tasks.service import Tasks
from sutazai.telemetry.instruments import Instruments
from sutazai.telemetry.tracing import Tracing
from sutazai.workflows import approvals
from sutazai.workflows.model import APPROVAL, SUB_WORKFLOW
from sutazai.workflows.service import Workflows

CHORES = (recurring.CONSUMER, callback_jobs.CONSUMER, approvals.CONSUMER, firing.CONSUMER)
"""What the worker does beside the agents' work."""


class Above(NamedTuple):
    """Who hears of the results and ends of tasks; all but the first are made after the runner."""

    callbacks: Callbacks
    workflows: Callable[[], Workflows]
    findings: Callable[[], Findings]


def make_runner(
    database: Database,
    registry: AgentRegistry,
    directory: AgentDirectory,
    agents: Sequence[Agent],
    models: Models,
    above: Above,
    instruments: Instruments,
    tracing: Tracing | None,
) -> TaskRunner:
    """What gives claimed tasks to their agents."""
    callbacks, workflows, findings = above
    return TaskRunner(
        database=database,
        registry=registry,
        directory=directory,
        agents=agents,
        cache=DatabaseResultCache.factory(database=database, registry=registry),
        models=models,
        remember=lambda *found: findings().remember(*found),
        before_tasks_end=[lambda *told: workflows().before_tasks_end(*told)],
        on_task_ended=[
            callbacks.on_task_ended,
            lambda *told: workflows().on_task_ended(*told),
        ],
        on_task_waits=[lambda *told: workflows().on_task_waits(*told)],
        children=lambda: workflows().children,
        instruments=instruments,
        tracing=tracing,
    )


def make_workflows(
    database: Database,
    hub: EventHub,
    tasks: Tasks,
    directory: AgentDirectory,
    agents: Sequence[Agent],
    models: Models,
) -> Workflows:
    """The workflows, whose plans ask the agents of this process what they have done already."""
    peeking = PeekingCache(database=database)
    foresight = Foresight(
        directory=directory,
        agents=agents,
        cache=peeking,
        has_model=lambda: models.reach.is_available,
    )
    return Workflows(
        database=database,
        hub=hub,
        tasks=tasks,
        directory=directory,
        foresees=foresight,
        scheduled_by=scheduled_by,
    )


def make_engine(
    settings: Settings,
    database: Database,
    handlers: dict[str, Handler],
    agents: Sequence[Agent],
    models: Models,
    instruments: Instruments,
    tracing: Tracing | None,
) -> tuple[Worker, AgentHost, Scheduler, Rescuer]:
    """What claims jobs for the agents, and what tells the registry that they are here."""
    worker_id = f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}"
    worker = Worker(
        database=database,
        worker_id=worker_id,
        handlers=handlers,
        consumers=[
            *map(_consumer, agents),
            *CHORES,
        ],
        lease_seconds=settings.lease_seconds,
        instruments=instruments,
        tracing=tracing,
    )
    host = AgentHost(
        database=database,
        worker_id=worker_id,
        agents=[agent.description for agent in agents],
        load=lambda: worker.load,
        alone=settings.database_url is None,
        has_model=lambda: models.reach.is_available,
    )
    _shut_without_model(worker, agents, models.reach)
    scheduler = Scheduler(database=database, handlers=handlers)
    rescuer = Rescuer(
        database=database,
        handlers=handlers,
        on_remote_ended=partial(record_attempt, tracing),
    )
    return worker, host, scheduler, rescuer


def make_outside(
    settings: Settings,
    database: Database,
    runner: TaskRunner,
    directory: AgentDirectory,
    builtin: Sequence[Agent],
    instruments: Instruments,
    tracing: Tracing | None,
) -> tuple[Assignments, OutsideAgents]:
    """The work of agents from outside, and who may be one."""
    assignments = Assignments(
        database=database,
        runner=runner,
        lease_seconds=settings.lease_seconds,
        instruments=instruments,
        tracing=tracing,
    )
    outside = OutsideAgents(
        database=database,
        directory=directory,
        built_in=[agent.description.agent_id for agent in builtin],
        # What the server does itself: its chores, and the steps that are no agent's.
        reserved=[APPROVAL, SUB_WORKFLOW, *(queue for one in CHORES for queue in one.queues)],
        on_removed=assignments.give_back,
    )
    return assignments, outside


def _consumer(agent: Agent) -> Consumer:
    said = agent.description
    pinned = [pinned_queue(said.agent_id, one) for one in (None, *said.needs_model)]
    return Consumer(said.agent_id, (*said.capabilities, *pinned), said.max_capacity)


def _shut_without_model(worker: Worker, agents: Sequence[Agent], reach: Reach) -> None:
    """Keep the worker from tasks that need a model for as long as there is none."""
    queues = {
        said.agent_id: frozenset(_queues_for_model(said.agent_id, said.needs_model))
        for said in (agent.description for agent in agents)
        if said.needs_model
    }

    def follow() -> None:
        worker.shut({} if reach.is_available else queues)

    reach.on_change(follow)
    follow()


def _queues_for_model(agent_id: str, needs_model: Sequence[str]) -> list[str]:
    """The queues of an agent's tasks for which it needs a model."""
    return [*needs_model, *(pinned_queue(agent_id, one) for one in needs_model)]
