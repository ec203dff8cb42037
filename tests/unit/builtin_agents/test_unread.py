"""What users are told of code that no parser can read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import Agent, AgentError
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Place
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.summaries import Text, summarise
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.code_reviewer import CodeReviewer
from sutazai.builtin_agents.dependency_auditor import DependencyAuditor
from sutazai.builtin_agents.doc_generator import DocGenerator
from sutazai.builtin_agents.performance_analyst import PerformanceAnalyst
from sutazai.builtin_agents.refactoring_advisor import RefactoringAdvisor
from sutazai.builtin_agents.security_analyst import SecurityAnalyst
from sutazai.builtin_agents.type_checker import TypeChecker
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio

BROKEN = '"""Not Python."""\n\ndef f(:\n    pass\n'

Make = Callable[[AnalysisPool, CodeInput], Agent]

AGENTS: dict[str, Make] = {
    "code_review": lambda pool, code: CodeReviewer(pool=pool, code=code),
    "security_analysis": lambda pool, code: SecurityAnalyst(pool=pool, code=code),
    "performance_analysis": lambda pool, code: PerformanceAnalyst(
        pool=pool, code=code, sandbox=LinuxSandbox()
    ),
    "refactoring": lambda pool, code: RefactoringAdvisor(
        pool=pool, code=code, sandbox=LinuxSandbox()
    ),
    "type_check": lambda pool, code: TypeChecker(pool=pool, code=code),
    "dependency_audit": lambda pool, code: DependencyAuditor(pool=pool, code=code),
    "documentation": lambda pool, code: DocGenerator(pool=pool, code=code, sandbox=LinuxSandbox()),
}
REPORTING = [
    "code_review",
    "security_analysis",
    "performance_analysis",
    "refactoring",
    "type_check",
]
REFUSING = ["dependency_audit", "documentation"]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text('"""Good."""\n\nNUMBER = 1\n\n\ndef f():\n    """One."""\n')
    (tmp_path / "broken.py").write_text(BROKEN)
    return tmp_path


async def handled(
    task_type: str, pool: AnalysisPool, workspace: Path, **metadata: Any
) -> dict[str, Any]:
    agent = AGENTS[task_type](pool, CodeInput(workspace=str(workspace)))
    return await agent.handle(assigned(task_type, metadata), Context())


@pytest.mark.parametrize("task_type", REPORTING)
async def test_that_nothing_could_be_read_is_not_that_nothing_was_found(
    task_type: str, pool: AnalysisPool, workspace: Path
) -> None:
    result = await handled(task_type, pool, workspace, code=BROKEN)
    reason = result["unparsed"][0]["reason"]
    assert result["summary"] == f"The code could not be read (inline.py, line 3: {reason})"


@pytest.mark.parametrize("task_type", REPORTING)
async def test_none_of_several_files_could_be_read(
    task_type: str, pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "worse.py").write_text("x = (\n")
    result = await handled(task_type, pool, workspace, files=["broken.py", "worse.py"])
    assert result["summary"].startswith("None of the 2 files could be read (/broken.py, line 3: ")
    assert result["summary"].endswith("; and 1 more)")


@pytest.mark.parametrize("task_type", [*REPORTING, *REFUSING])
async def test_a_summary_says_which_file_was_not_read(
    task_type: str, pool: AnalysisPool, workspace: Path
) -> None:
    result = await handled(task_type, pool, workspace, files=["*.py"])
    [unparsed] = result["unparsed"]
    assert (unparsed["file"], unparsed["line"]) == ("/broken.py", 3)
    assert "; 1 of 2 files could not be read (/broken.py, line 3: " in result["summary"]


@pytest.mark.parametrize("task_type", REFUSING)
async def test_what_only_reads_python_says_where_it_could_not(
    task_type: str, pool: AnalysisPool, workspace: Path
) -> None:
    with pytest.raises(AgentError, match=r"broken\.py.*line 3"):
        await handled(task_type, pool, workspace, file="broken.py")


@pytest.mark.parametrize("task_type", ["refactoring", "type_check", "dependency_audit"])
async def test_a_file_that_is_no_text_is_named_in_the_refusal(
    task_type: str, pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "odd.py").write_bytes(b"# coding: utf-8\nx = '\xff'\n")
    with pytest.raises(AgentError, match=r"/odd\.py: line 2: not valid utf-8"):
        await handled(task_type, pool, workspace, file="odd.py")


@pytest.mark.parametrize("task_type", [*REPORTING, *REFUSING])
@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"files": []}, "`files` is empty: give paths or globs"),
        ({"file_path": ""}, "`file_path` is empty: give paths or globs"),
        ({"file": ["good.py", " "]}, "`file` holds an empty path: give"),
        ({"code": ""}, "`code` is empty: give the code itself"),
        ({"code": " \n"}, "`code` is empty: give the code itself"),
    ],
)
async def test_an_empty_field_is_refused_and_says_what_to_give(
    task_type: str, metadata: dict[str, Any], words: str, pool: AnalysisPool, workspace: Path
) -> None:
    with pytest.raises(AgentError, match=words):
        await handled(task_type, pool, workspace, **metadata)


@pytest.mark.parametrize("task_type", REPORTING)
async def test_null_is_as_if_the_field_were_left_out(
    task_type: str, pool: AnalysisPool, workspace: Path
) -> None:
    result = await handled(task_type, pool, workspace, file=None, files=None, code=None)
    assert result["metrics"]["files_analyzed"] == 2


async def test_a_folder_without_files_is_not_called_the_workspace(
    pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "empty").mkdir()
    with pytest.raises(AgentError, match="is empty: there is no file in it"):
        await handled("code_review", pool, workspace, file="empty")


async def test_binary_data_under_a_name_of_python_is_called_that(
    pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "picture.py").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\xff")
    result = await handled("code_review", pool, workspace, file="picture.py")
    assert result["summary"] == (
        "The code could not be read (/picture.py, line 1: binary data, not text)"
    )


async def test_of_other_languages_no_more_is_said_than_was_looked_for(
    pool: AnalysisPool, workspace: Path
) -> None:
    script = "function f(a) { return eval(a) }\n"
    result = await handled("code_review", pool, workspace, code=script, file="a.js")
    assert result["summary"] == (
        "Found no secrets; nothing else is looked for in files that are not Python"
    )
    assert result["metrics"]["files_only_scanned"] == 1
    reason = "JavaScript is not analysed, only searched for secrets"
    assert result["not_analysed"] == [{"file": "a.js", "reason": reason}]
    # A secret that was not asked for is none that is not there.
    secret = 'const token = "ghp_' + "q7Xz" * 9 + '"\n'
    asked = {"code": secret, "file": "a.js", "rules": ["performance"]}
    result = await handled("code_review", pool, workspace, **asked)
    assert result["summary"].startswith("Nothing but secrets is looked for")
    result = await handled("code_review", pool, workspace, file="good.py")
    assert result["metrics"]["files_only_scanned"] == 0
    assert result["summary"] == "Found no issues"


async def test_code_in_other_languages_is_not_passed_over(
    pool: AnalysisPool, workspace: Path
) -> None:
    for name in ("a.js", "b.js", "c.go", "notes.md"):
        (workspace / "good").mkdir(exist_ok=True)
        (workspace / "good" / name).write_text("eval(x)\n")
    (workspace / "good" / "d.py").write_text("VALUE = 1\n")
    agents = (CodeReviewer, SecurityAnalyst)
    for agent in agents:
        made = agent(pool=pool, code=CodeInput(workspace=str(workspace)))
        whole = await made.handle(assigned("security_analysis", {"file": "good"}), Context())
        assert whole["summary"] == (
            "Found no issues; not analysed, but for secrets, were files of code: "
            "2 of JavaScript, 1 of Go"
        )
        assert [one["file"] for one in whole["not_analysed"]] == [
            "/good/a.js",
            "/good/b.js",
            "/good/c.go",
        ]
        alone = await made.handle(assigned("security_analysis", {"file": "good/a.js"}), Context())
        assert alone["summary"].startswith("Found no secrets; nothing else is looked for")


async def test_where_there_is_no_python_no_costs_are_found_not_to_be_there(
    pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "notes.txt").write_text("Slow, slow, slow.\n")
    (workspace / "large.py").write_text("x = 1\n" * 600_000)
    for file, words in (
        ("notes.txt", "no Python file in what the task names, nor a `command`"),
        ("large.py", r"can be reviewed \(/large\.py: larger than"),
    ):
        with pytest.raises(AgentError, match=words):
            await handled("performance_analysis", pool, workspace, file=file)


def test_why_there_is_no_text_to_summarise_is_told(workspace: Path) -> None:
    (workspace / "picture.bin").write_bytes(b"\x00\x01")
    what = Reviewable(place=Place(root=str(workspace)), patterns=("picture.bin",))
    with pytest.raises(InputError, match=r"no text to summarise .*\(/picture\.bin: binary\)"):
        summarise(Text(what=what))
