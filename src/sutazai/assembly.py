"""A part of the composition root: the built-in agents and what they stand on."""

from pathlib import Path

from sutazai.adapters.git import GitRepositories
from sutazai.adapters.git_sources import Sources
from sutazai.adapters.outbound import SystemResolver
from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import Agent
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.repositories import Repositories
from sutazai.analysis.sandbox import Sandbox, SandboxUnavailable
from sutazai.builtin_agents.change_summarizer import ChangeSummarizer
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.code_reviewer import CodeReviewer
from sutazai.builtin_agents.dependency_auditor import DependencyAuditor
from sutazai.builtin_agents.doc_generator import DocGenerator
from sutazai.builtin_agents.master_coordinator import MasterCoordinator
from sutazai.builtin_agents.type_checker import TypeChecker
from sutazai.callbacks.guard import AddressGuard
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.settings import Settings

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
        CodeReviewer(pool=pool, code=code),
        DependencyAuditor(
            pool=pool,
            code=code,
            database=None if database is None else str(database.absolute()),
        ),
        TypeChecker(pool=pool, code=code),
        DocGenerator(pool=pool, code=code, sandbox=sandbox),
        ChangeSummarizer(pool=pool, code=code),
    ]


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
