"""The review agent, from metadata to the specification's result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sutazai.agents.contract import Agent, AgentError, Assignment, TaskContext
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.code_reviewer import CodeReviewer
from tests.unit.builtin_agents.lent import Cache, Context, assigned

pytestmark = pytest.mark.anyio

CODE = """\
import pickle


def load(data, rows):
    text = ""
    for row in rows:
        text += row.name
    return pickle.loads(data), text
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "src" / "auth").mkdir(parents=True)
    (folder / "src" / "auth" / "module.py").write_text(CODE)
    return folder


@pytest.fixture
def agent(pool: AnalysisPool, workspace: Path) -> CodeReviewer:
    return CodeReviewer(pool=pool, code=CodeInput(workspace=str(workspace)))


def assignment(metadata: dict[str, Any], task_type: str = "code_review") -> Assignment:
    return assigned(task_type, metadata)


async def handle(
    agent: CodeReviewer,
    metadata: dict[str, Any],
    task_type: str = "code_review",
    context: Context | None = None,
) -> dict[str, Any]:
    result = await agent.handle(assignment(metadata, task_type), context or Context())
    msgspec.json.encode(result)  # JSON-compatible, or this raises
    return result


async def test_the_reviewer_is_an_agent(agent: CodeReviewer) -> None:
    plain: Agent = agent
    context: TaskContext = Context()
    assert context is not None
    assert plain.description.agent_id == "code-reviewer-01"
    assert plain.description.capabilities == ("code_review", "security_analysis")
    assert plain.description.max_capacity == 5


async def test_the_specifications_example_gets_the_specifications_result(
    agent: CodeReviewer,
) -> None:
    result = await handle(
        agent,
        {
            "file_path": "/src/auth/module.py",
            "language": "python",
            "rules": ["security", "performance"],
        },
    )
    assert result["summary"] == "Found 1 security issue and 1 performance improvement"
    issue = result["issues"][0]
    assert issue["severity"] == "high"
    assert issue["type"] == "security"
    assert issue["file"] == "/src/auth/module.py"
    assert issue["line"] == 8
    assert issue["code"] == CODE.split("\n")[7]
    assert issue["suggestion"]
    assert issue["cwe"] == 502
    metrics = result["metrics"]
    assert metrics["lines_analyzed"] == 8
    assert metrics["issues_found"] == 2
    assert metrics["time_taken"] >= 0
    assert result["model"] is None
    assert set(result["analysers"]) == {"ruff", "bandit", "sutazai"}


async def test_the_workflow_example_reviews_the_code_it_holds(agent: CodeReviewer) -> None:
    result = await handle(agent, {"code": CODE, "rules": ["security", "performance"]})
    assert {issue["file"] for issue in result["issues"]} == {"inline.py"}
    assert result["metrics"]["issues_found"] == 2


async def test_no_input_means_the_whole_workspace(agent: CodeReviewer) -> None:
    result = await handle(agent, {})
    assert result["metrics"]["files_analyzed"] == 1


async def test_security_analysis_tells_of_security_only_unless_asked(agent: CodeReviewer) -> None:
    result = await handle(agent, {}, "security_analysis")
    assert {issue["type"] for issue in result["issues"]} == {"security"}
    result = await handle(agent, {"rules": ["all"]}, "security_analysis")
    assert {issue["type"] for issue in result["issues"]} == {"security", "performance"}


async def test_the_hit_of_the_cache_shows_in_the_result(agent: CodeReviewer) -> None:
    context = Context()
    first = await handle(agent, {}, context=context)
    second = await handle(agent, {"rules": ["security"]}, context=context)
    assert (first["metrics"]["cache_hit"], first["metrics"]["files_cached"]) == (False, 0)
    assert (second["metrics"]["cache_hit"], second["metrics"]["files_cached"]) == (True, 1)


async def test_progress_ends_at_a_hundred_with_its_counters(agent: CodeReviewer) -> None:
    context = Context()
    await handle(agent, {}, context=context)
    percents = [percent for percent, _ in context.told]
    assert percents == sorted(percents)
    assert context.told[-1] == (100, {"lines_processed": 8, "issues_found": 2})


async def test_what_is_left_out_is_told(agent: CodeReviewer, workspace: Path) -> None:
    (workspace / "broken.py").write_text("def f(:\n")
    (workspace / "picture.png").write_bytes(b"\x89PNG\x00\x00")
    with (workspace / "huge.py").open("wb") as file:
        file.truncate(50_000_000)
    (workspace / "accepted.py").write_text("eval(input())  # noqa: S307\n")
    result = await handle(agent, {})
    assert [item["file"] for item in result["unparsed"]] == ["/broken.py"]
    assert {item["file"] for item in result["skipped"]} == {"/picture.png", "/huge.py"}
    assert result["skipped_total"] == 2
    assert result["suppressed"] == 1


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"rules": ["speed"]}, "security, performance"),
        ({"rules": 5}, "rules"),
        ({"rules": [5]}, "rules"),
        ({"code": 5}, "code"),
        ({"code": "  "}, "empty"),
        ({"code": "\ud800"}, "surrogate"),
        ({"file_path": 5}, "file_path"),
        ({"files": [""]}, "files"),
        ({"files": ["../etc/passwd"]}, r"\.\."),
        ({"files": ["/etc/passwd"]}, "no '/etc/passwd'"),
        ({"files": ["*"] * 1001}, "at most"),
        ({"language": ["python"]}, "language"),
        ({"repository": "https://example.com/a.git"}, "repository"),
    ],
)
async def test_wrong_metadata_fails_with_the_reason_and_is_not_retried(
    agent: CodeReviewer, metadata: dict[str, Any], words: str
) -> None:
    with pytest.raises(AgentError, match=words) as caught:
        await handle(agent, metadata)
    assert not caught.value.retryable


async def test_an_empty_workspace_fails_with_a_clear_message(
    pool: AnalysisPool, tmp_path: Path
) -> None:
    with pytest.raises(AgentError, match="empty"):
        await handle(CodeReviewer(pool=pool, code=CodeInput(workspace=str(tmp_path))), {})


async def test_a_server_without_a_workspace_still_reviews_inline_code(pool: AnalysisPool) -> None:
    agent = CodeReviewer(pool=pool, code=CodeInput(workspace=None))
    assert (await handle(agent, {"code": CODE}))["metrics"]["issues_found"] == 2
    with pytest.raises(AgentError, match="no workspace"):
        await handle(agent, {})


async def test_the_only_file_named_being_unreadable_is_an_error(
    agent: CodeReviewer, workspace: Path
) -> None:
    (workspace / "data.bin").write_bytes(b"\x00\x01")
    with pytest.raises(AgentError, match="binary"):
        await handle(agent, {"file": "data.bin"})


async def test_other_languages_get_the_secret_scan(agent: CodeReviewer) -> None:
    code = "const password = 'k8-Quartz-Vellum-19';\neval(x);\n"
    result = await handle(agent, {"code": code, "language": "javascript"})
    assert [issue["rule"] for issue in result["issues"]] == ["hardcoded-secret"]


async def test_configuration_in_the_workspace_does_not_steer_the_review(
    agent: CodeReviewer, workspace: Path
) -> None:
    (workspace / "pyproject.toml").write_text("[tool.ruff]\nexclude = ['*']\n")
    (workspace / "ruff.toml").write_text("exclude = ['*']\n")
    (workspace / ".bandit").write_text("[bandit]\nskips: B301\n")
    (workspace / ".gitignore").write_text("*\n")
    result = await handle(agent, {})
    [issue] = [issue for issue in result["issues"] if issue["type"] == "security"]
    assert {evidence["engine"] for evidence in issue["evidence"]} == {"ruff", "bandit"}


async def test_it_foresees_an_answer_from_the_cache_only_while_nothing_has_changed(
    agent: CodeReviewer, workspace: Path
) -> None:
    context, metadata = Context(), {"files": ["src/**/*.py"]}
    cache = context.cache
    assert isinstance(cache, Cache)

    async def cached(more: Mapping[str, Any] = {}, *, has_model: bool = False) -> bool | None:
        given = {**metadata, **more}
        return await agent.is_cached("code_review", given, cache, has_model=has_model)

    assert await cached() is False
    await agent.handle(assignment(metadata), context)
    kept = dict(cache.entries)
    assert await cached() is True
    assert await cached({"rules": ["security"]}) is True
    # A model may have more to say, unless nobody asks it.
    assert await cached(has_model=True) is None
    assert await cached({"model": False}, has_model=True) is True
    assert await cached({"repository": "https://example.com/a"}) is None
    with pytest.raises(AgentError):
        await cached({"rules": ["nonsense"]})
    (workspace / "src" / "auth" / "module.py").write_text(CODE + "# more\n")
    assert await cached() is False
    assert cache.entries == kept
