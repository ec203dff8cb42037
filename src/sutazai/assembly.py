"""A part of the composition root: the built-in agents and what they stand on."""

from pathlib import Path

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import Agent
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Place
from sutazai.analysis.sandbox import Sandbox, SandboxUnavailable
from sutazai.builtin_agents.code_reviewer import CodeReviewer
from sutazai.builtin_agents.dependency_auditor import DependencyAuditor
from sutazai.builtin_agents.doc_generator import DocGenerator
from sutazai.builtin_agents.master_coordinator import MasterCoordinator
from sutazai.builtin_agents.type_checker import TypeChecker
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.settings import Settings

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
    workspace, excluded = str(settings.workspace), [str(settings.data_dir)]
    database = settings.advisory_database
    place = Place(root=str(settings.workspace.absolute()), excluded=tuple(excluded))
    return [
        MasterCoordinator(),
        CodeReviewer(pool=pool, workspace=workspace, excluded=excluded),
        DependencyAuditor(
            pool=pool,
            workspace=workspace,
            excluded=excluded,
            database=None if database is None else str(database.absolute()),
        ),
        TypeChecker(pool=pool, workspace=workspace, excluded=excluded),
        DocGenerator(pool=pool, place=place, sandbox=sandbox),
    ]
