"""The agent that summarises changes, from metadata to its result."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.change_summarizer import ChangeSummarizer
from sutazai.builtin_agents.code_input import CodeInput
from tests.unit.analysis.changes.repository import Repository
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio

DIFF = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-def f(a): return a\n+def f(a, b): return a\n"


async def summarised(pool: AnalysisPool, workspace: Path | None, **metadata: Any) -> dict[str, Any]:
    code = CodeInput(workspace=None if workspace is None else str(workspace))
    assignment = assigned("change_summary", metadata)
    result = await ChangeSummarizer(pool=pool, code=code).handle(assignment, Context())
    msgspec.json.encode(result)  # JSON-compatible, or this raises
    return result


async def test_a_range_of_the_workspace(pool: AnalysisPool, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "workspace")
    repository.commit("Begin", x_py="def f(a): return a\n")
    head = repository.commit("Add b", x_py="def f(a, b): return a\n")
    result = await summarised(pool, repository.root, base="HEAD~1")
    assert result["head"] == head
    assert result["commits"] == [{"commit": head[:7], "subject": "Add b"}]
    assert result["symbols"][0]["breaking"] == "`b` must be given"
    assert result["metrics"] == {"files_changed": 1, "lines_added": 1, "lines_removed": 1}
    assert result["changelog"] == {"kind": "Changed", "line": "Add b."}


async def test_a_diff_needs_no_workspace(pool: AnalysisPool, tmp_path: Path) -> None:
    alone = await summarised(pool, None, diff=DIFF)
    assert (alone["symbols"], len(alone["left_out"])) == ([], 1)
    (tmp_path / "x.py").write_text("def f(a): return a\n")
    known = await summarised(pool, tmp_path, diff=DIFF)
    assert (len(known["symbols"]), known["left_out"]) == (1, [])


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "Give a `diff`"),
        ({"diff": ""}, "`diff`"),
        ({"diff": 5}, "`diff`"),
        ({"diff": DIFF, "base": "HEAD"}, "either"),
        ({"base": ["HEAD"]}, "`base`"),
        ({"base": "HEAD~1"}, "no git repository"),
        ({"base": "a", "repository": "https://example.com/a.git"}, "No `repository` is fetched"),
        ({"diff": "no diff"}, "no unified diff"),
    ],
)
async def test_wrong_metadata_fails_with_the_reason(
    pool: AnalysisPool, tmp_path: Path, metadata: dict[str, Any], words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        await summarised(pool, tmp_path, **metadata)
