"""The agent that checks types, from metadata to its result."""

from typing import Any

import pytest

from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.type_checker import TypeChecker
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio


async def checked(pool: AnalysisPool, **metadata: Any) -> dict[str, Any]:
    assignment = assigned("type_check", metadata)
    return await TypeChecker(pool=pool, code=CodeInput(workspace=None)).handle(
        assignment, Context()
    )


async def test_code_is_checked_and_annotated(pool: AnalysisPool) -> None:
    code = "def name():\n    return 'x'\n\n\nlength: int = name.missing\n"
    result = await checked(pool, code=code)
    assert result["summary"] == ("Found 1 type error; annotations for 1 function are in the patch")
    [issue] = result["issues"]
    assert (issue["rule"], issue["line"], issue["severity"]) == ("type-error", 5, "high")
    assert issue["code"] == "length: int = name.missing"
    assert issue["evidence"][0]["engine"] == "mypy"
    assert "+def name() -> str:" in result["patch"]
    assert result["metrics"]["functions_annotated_with_patch"] == 1


async def test_wrong_metadata_is_refused_by_name(pool: AnalysisPool) -> None:
    for metadata, named in (
        ({"strict": "yes"}, "strict"),
        ({"annotate": 1}, "annotate"),
        ({"python_version": "2.7"}, "python_version"),
        ({"python_version": 3.12}, "python_version"),
    ):
        with pytest.raises(AgentError) as refused:
            await checked(pool, code="x = 1\n", **metadata)
        assert named in refused.value.message
