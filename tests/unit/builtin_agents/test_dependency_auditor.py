"""The agent that audits dependencies, from metadata to its result."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sutazai.agents.contract import AgentError, Assignment
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.dependency_auditor import DependencyAuditor
from tests.unit.builtin_agents.lent import Context

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool() -> AsyncIterator[AnalysisPool]:
    pool = AnalysisPool(processes=1)
    await pool.start()
    yield pool
    await pool.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "requirements.txt").write_text("flask\n")
    (folder / "app.py").write_text("import flask\nimport yaml\n")
    return folder


async def audited(pool: AnalysisPool, workspace: Path | None, **metadata: Any) -> dict[str, Any]:
    agent = DependencyAuditor(
        pool=pool, code=CodeInput(workspace=str(workspace) if workspace else None)
    )
    assignment = Assignment(
        assignment_id="as-1-1",
        task_id="task",
        type="dependency_audit",
        description="Audit",
        metadata=metadata,
        attempt=1,
        configuration={},
    )
    return await agent.handle(assignment, Context())


async def test_a_workspace_is_audited(pool: AnalysisPool, workspace: Path) -> None:
    result = await audited(pool, workspace)
    assert {(one["rule"], one["file"], one["line"]) for one in result["issues"]} == {
        ("missing-dependency", "/app.py", 2),
        ("unpinned-dependency", "/requirements.txt", 1),
    }
    assert result["summary"] == (
        "Found 1 missing dependency, 1 open version in 1 dependency; known vulnerabilities were "
        "not looked for: no advisory database"
    )
    assert result["vulnerabilities"]["checked"] is False
    assert result["metrics"]["manifests"] == ["/requirements.txt"]


async def test_wrong_metadata_is_refused_by_name(pool: AnalysisPool, workspace: Path) -> None:
    for metadata, named in (
        ({"advisories": 3}, "advisories"),
        ({"advisories": "/none.json"}, "none.json"),
        ({"advisories": "../../etc/passwd"}, "etc/passwd"),
        ({"advisories": "/app.py"}, "OSV"),
        ({"licences": ["MIT"]}, "licences"),
        ({"licences": {"deny": "MIT"}}, "licences"),
        ({"licences": {"forbid": []}}, "licences"),
    ):
        with pytest.raises(AgentError) as refused:
            await audited(pool, workspace, **metadata)
        assert named in refused.value.message
        assert not refused.value.retryable


async def test_inline_code_is_audited_without_a_workspace(pool: AnalysisPool) -> None:
    result = await audited(pool, None, code="one==1\none==2\n", file="requirements.txt")
    assert [one["rule"] for one in result["issues"]] == ["conflicting-requirements"]
    assert result["licences"]["checked"] is False
