"""The agent with the real sandbox: each test generates tests for a module of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import Assignment
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.test_generator import TestGeneratorAgent
from tests.unit.builtin_agents.lent import Context

Generate = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
async def pool() -> AsyncIterator[AnalysisPool]:
    pool = AnalysisPool(processes=1)
    await pool.start()
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def sandbox() -> LinuxSandbox:
    return LinuxSandbox()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def agent(pool: AnalysisPool, workspace: Path, sandbox: LinuxSandbox) -> TestGeneratorAgent:
    return TestGeneratorAgent(pool=pool, code=CodeInput(workspace=str(workspace)), sandbox=sandbox)


@pytest.fixture
def generate(agent: TestGeneratorAgent) -> Generate:
    """Runs a task with this metadata; `code` may be indented."""

    async def run(**metadata: Any) -> dict[str, Any]:
        if "code" in metadata:
            metadata["code"] = dedent(metadata["code"])
        return await agent.handle(task(**metadata), Context())

    return run


def task(**metadata: Any) -> Assignment:
    """A task with this metadata."""
    # The machine may be busy: the search ends by itself when nothing new turns up.
    return Assignment(
        assignment_id="a",
        task_id="t",
        type="test_generation",
        description="Test it",
        metadata={"seconds": 90, **metadata},
        attempt=1,
        configuration={},
    )
