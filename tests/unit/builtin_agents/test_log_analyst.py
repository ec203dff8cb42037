"""The agent that reads logs, from metadata to its result."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.log_analyst import LogAnalyst
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio

LOG = "2026-11-25 10:00:00 ERROR lost 1\n2026-11-25 10:00:01 ERROR lost 2\n"


async def analysed(pool: AnalysisPool, workspace: Path | None, **metadata: Any) -> dict[str, Any]:
    code = CodeInput(workspace=None if workspace is None else str(workspace))
    assignment = assigned("log_analysis", metadata)
    result = await LogAnalyst(pool=pool, code=code).handle(assignment, Context())
    msgspec.json.encode(result)  # JSON-compatible, or this raises
    return result


async def test_a_log_given_inline(pool: AnalysisPool) -> None:
    result = await analysed(pool, None, log=LOG)
    assert result["summary"] == "2 entries in 1 template, 2 errors"
    assert result["metrics"]["by_severity"] == {"error": 2}
    assert result["time_range"]["end"] == "2026-11-25T10:00:01.000Z"
    assert [one["template"] for one in result["templates"]] == ["lost <NUM>"]


async def test_files_of_the_workspace(pool: AnalysisPool, tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text(LOG)
    (tmp_path / "app.log.1").write_text(LOG)
    result = await analysed(pool, tmp_path, files=["app.log*"])
    assert result["metrics"]["files_analyzed"] == 2
    assert (await analysed(pool, tmp_path))["metrics"]["entries"] == 4


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "no log"),
        ({"log": ""}, "`log`"),
        ({"log": ["x"]}, "`log`"),
        ({"log": "\ud800"}, "surrogate"),
        ({"files": ["absent.log"]}, "absent.log"),
        ({"files": ["../x.log"]}, r"\.\."),
    ],
)
async def test_wrong_metadata_fails_with_the_reason(
    pool: AnalysisPool, tmp_path: Path, metadata: dict[str, Any], words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        await analysed(pool, tmp_path, **metadata)
