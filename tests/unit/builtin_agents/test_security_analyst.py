"""The agent that looks at whole projects for security, from metadata to its result."""

from pathlib import Path

import pytest

from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.security_analyst import SecurityAnalyst
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio


async def test_a_project_is_looked_at_as_a_whole(pool: AnalysisPool, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\n")
    (tmp_path / "db.py").write_text(
        "import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n"
    )
    (tmp_path / "app.py").write_text(
        "from db import load\n\n\ndef view(request):\n    return load(request.body)\n"
    )
    agent = SecurityAnalyst(pool=pool, code=CodeInput(workspace=str(tmp_path)))
    assignment = assigned("security_analysis", {})
    context = Context()
    result = await agent.handle(assignment, context)
    told = {(one["file"], one["rule"], one["line"]) for one in result["issues"]}
    assert told >= {
        ("/app.py", "unsafe-deserialization", 5),
        ("/db.py", "unsafe-deserialization", 5),
        ("/Dockerfile", "container-runs-as-root", 1),
    }
    assert {one["type"] for one in result["issues"]} == {"security"}
    assert result["by_weakness"]["CWE-502"] == 2
    assert result["looked_at"] == {"python": 2, "template": 0, "configuration": 1, "other": 0}
    assert context.told[-1][0] == 100
    assert context.told[-1][1]["issues_found"] == len(result["issues"])
