"""Parts of the composition root that `bootstrap` puts together, each made from the settings."""

from functools import partial
from pathlib import Path

from sutazai.adapters.git import GitRepositories
from sutazai.adapters.git_sources import Sources
from sutazai.adapters.outbound import SystemResolver
from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import Agent
from sutazai.agents.service import AgentDirectory
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.repositories import Repositories
from sutazai.analysis.sandbox import Sandbox, SandboxUnavailable
from sutazai.builtin_agents.bug_diagnoser import BugDiagnoser
from sutazai.builtin_agents.change_summarizer import ChangeSummarizer
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.code_reviewer import CodeReviewer
from sutazai.builtin_agents.dependency_auditor import DependencyAuditor
from sutazai.builtin_agents.doc_generator import DocGenerator
from sutazai.builtin_agents.log_analyst import LogAnalyst
from sutazai.builtin_agents.master_coordinator import MasterCoordinator
from sutazai.builtin_agents.performance_analyst import PerformanceAnalyst
from sutazai.builtin_agents.refactoring_advisor import RefactoringAdvisor
from sutazai.builtin_agents.security_analyst import SecurityAnalyst
from sutazai.builtin_agents.test_generator import TestGeneratorAgent
from sutazai.builtin_agents.text_assistant import TextAssistant
from sutazai.builtin_agents.text_input import EXAMPLES, wrong_field
from sutazai.builtin_agents.type_checker import TypeChecker
from sutazai.callbacks.guard import AddressGuard
from sutazai.database import Database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.hub import EventHub
from sutazai.identity.model import AGENT_TIER, Tier
from sutazai.limits.rates import Allowance, RateLimits
from sutazai.limits.windows import SharedWindows
from sutazai.settings import Settings
from sutazai.tasks.given import InputCheck, InputChecks
from sutazai.tasks.runner import TaskRunner
from sutazai.tasks.service import Tasks
from sutazai.telemetry.tracing import Tracing

_MEGABYTE = 1024 * 1024
_KEPT_REPOSITORIES = 10  # as many of the largest as fit into the cache
_SETTINGS_FILE = Path(".env")


def make_sandbox(settings: Settings) -> LinuxSandbox:
    """Where code that is not ours runs; what is the server's alone is never shown in it."""
    excluded = [str(settings.data_dir.absolute()), str(_SETTINGS_FILE.absolute())]
    return LinuxSandbox(excluded=excluded)


async def check_sandbox(settings: Settings) -> None:
    """SutazaiError with the remedy if this machine cannot isolate what is not ours."""
    try:
        await make_sandbox(settings).check()
    except SandboxUnavailable as error:
        raise SutazaiError(ErrorCode.SERVICE_UNAVAILABLE, str(error)) from error


def built_in_agents(
    *,
    pool: AnalysisPool,
    sandbox: Sandbox,
    settings: Settings,
) -> list[Agent]:
    """The agents that come with the server.

    Those that run code which is not ours take the `sandbox`, and run it nowhere else.
    """
    database = settings.advisory_database
    code = CodeInput(
        workspace=str(settings.workspace),
        excluded=[str(settings.data_dir)],
        repositories=_repositories(settings),
    )
    return [
        MasterCoordinator(),
        TextAssistant(pool=pool, code=code),
        CodeReviewer(pool=pool, code=code),
        SecurityAnalyst(pool=pool, code=code),
        DependencyAuditor(
            pool=pool,
            code=code,
            database=None if database is None else str(database.absolute()),
        ),
        TypeChecker(pool=pool, code=code),
        DocGenerator(pool=pool, code=code, sandbox=sandbox),
        LogAnalyst(pool=pool, code=code),
        BugDiagnoser(pool=pool, code=code, sandbox=sandbox),
        ChangeSummarizer(pool=pool, code=code),
        TestGeneratorAgent(pool=pool, code=code, sandbox=sandbox),
        PerformanceAnalyst(pool=pool, code=code, sandbox=sandbox),
        RefactoringAdvisor(pool=pool, code=code, sandbox=sandbox),
    ]


def make_tasks(
    database: Database,
    hub: EventHub,
    directory: AgentDirectory,
    runner: TaskRunner,
    guard: AddressGuard,
    tracing: Tracing | None,
) -> Tasks:
    """What users do with tasks."""
    checks = {
        task_type: InputCheck(
            TextAssistant.description.agent_id, partial(wrong_field, task_type), EXAMPLES
        )
        for task_type in TextAssistant.description.needs_model
    }
    return Tasks(
        database=database,
        hub=hub,
        directory=directory,
        ends=runner,
        check_callback_url=guard.check,
        input_checks=InputChecks(checks, directory),
        tracing=tracing,
    )


def make_rate_limits(settings: Settings, shared: SharedWindows | None) -> RateLimits | None:
    """Who may ask how much; None where that is not limited."""
    if not settings.rate_limits:
        return None
    usual = settings.rate_limit_requests
    tiers: dict[str, Allowance] = {
        Tier.FREE: Allowance(usual, settings.rate_limit_tasks_free),
        Tier.STANDARD: Allowance(usual, settings.rate_limit_tasks_standard),
        Tier.PREMIUM: Allowance(
            settings.rate_limit_requests_premium, settings.rate_limit_tasks_premium
        ),
        AGENT_TIER: Allowance(settings.rate_limit_requests_agent, 0),
    }
    return RateLimits(tiers=tiers, without_tier=tiers[Tier.FREE], shared=shared)


def _repositories(settings: Settings) -> Repositories:
    guard = AddressGuard(resolve=SystemResolver(), allow=settings.repository_allow)
    certificates = settings.repository_certificates
    most = settings.repository_megabytes * _MEGABYTE
    return GitRepositories(
        folder=str(settings.data_dir.absolute() / "repositories"),
        sources=Sources(
            guard=guard,
            hosts=settings.repository_hosts,
            roots=[str(root) for root in settings.repository_roots],
        ),
        most_bytes=most,
        keep_bytes=_KEPT_REPOSITORIES * most,
        seconds=settings.repository_seconds,
        certificates=None if certificates is None else str(certificates.absolute()),
    )
