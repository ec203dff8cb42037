"""The agent that audits dependencies, from metadata to its result."""

from pathlib import Path
from typing import Any

import pytest

from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.dependency_auditor import DependencyAuditor
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio


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
    assignment = assigned("dependency_audit", metadata)
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


async def test_without_a_manifest_what_is_imported_is_told(
    pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "requirements.txt").unlink()
    (workspace / "shop").mkdir()
    (workspace / "shop" / "cart.py").write_text("import os\nimport app\nimport yaml\n")
    result = await audited(pool, workspace)
    assert result["summary"] == (
        "No manifest (such as pyproject.toml or requirements.txt) was found in what was named: "
        "flask, pyyaml are imported undeclared; known vulnerabilities were not looked for: no "
        "advisory database"
    )
    assert result["undeclared"] == [
        {"module": "flask", "distribution": "flask", "file": "/app.py", "line": 1},
        {"module": "yaml", "distribution": "pyyaml", "file": "/app.py", "line": 2},
    ]
    # Named alone, a file still knows what lies around it.
    result = await audited(pool, workspace, file="shop/cart.py")
    assert [one["module"] for one in result["undeclared"]] == ["yaml"]


async def test_without_a_manifest_and_imports_there_is_nothing_undeclared(
    pool: AnalysisPool,
) -> None:
    result = await audited(pool, None, code="import os\n")
    assert "and nothing is imported from outside of the project" in result["summary"]
    assert result["undeclared"] == []


async def test_an_advisory_database_that_never_was_is_said_not_to_be_there(
    pool: AnalysisPool, workspace: Path
) -> None:
    with pytest.raises(AgentError, match=r"there is no file 'nope\.json' in the workspace"):
        await audited(pool, workspace, advisories="nope.json")
    (workspace / "folder").mkdir()
    with pytest.raises(AgentError, match="'folder' cannot be read: not a regular file"):
        await audited(pool, workspace, advisories="folder")


async def test_a_servers_database_that_is_not_there_is_named_by_its_setting(
    pool: AnalysisPool, workspace: Path
) -> None:
    agent = DependencyAuditor(
        pool=pool,
        code=CodeInput(workspace=str(workspace)),
        database=str(workspace / "nowhere" / "osv.zip"),
    )
    with pytest.raises(AgentError, match=r"no file 'osv\.zip'.*SUTAZAI_ADVISORY_DATABASE"):
        await agent.handle(assigned("dependency_audit", {}), Context())
