"""The performance agent: patterns, complexity, and profiles of programs that really run."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.sandbox import Sandbox, SandboxEnd, SandboxRun, SandboxUnavailable
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.performance_analyst import PerformanceAnalyst
from sutazai.errors import ErrorCode
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio

REPORT = """\
import sys
from shop.text import cold, joined


def main():
    with open("names.txt") as file:
        names = file.read().split()
    print(len(joined(names * int(sys.argv[1]))))


main()
"""

TEXT = """\
def joined(names):
    text = ""
    for name in names:
        text += fold(name)
    return text


def fold(name):
    return name.strip().lower()


def cold(names):
    text = ""
    for name in names:
        text += name
    return text


def tangled(a, b):
    for x in a:
        for y in b:
            if x and y:
                if x > y:
                    while x:
                        x -= 1
                elif x < y:
                    return x
            else:
                return y
"""


OVERWRITING = """\
import atexit, pathlib
atexit.register(pathlib.Path("/sandbox/profiled.json").write_text, "[]")
"""


class Absent:
    """A machine that can isolate nothing."""

    async def run(self, run: SandboxRun) -> SandboxEnd:
        raise SandboxUnavailable("Allow user namespaces.")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop/__init__.py").touch()
    (folder / "shop/text.py").write_text(TEXT)
    (folder / "report.py").write_text(REPORT)
    (folder / "names.txt").write_text("Ada Grace Barbara")
    return folder


async def analysed(
    pool: AnalysisPool, workspace: Path | None, sandbox: Sandbox | None = None, **metadata: Any
) -> dict[str, Any]:
    code = CodeInput(workspace=None if workspace is None else str(workspace))
    agent = PerformanceAnalyst(pool=pool, code=code, sandbox=sandbox or LinuxSandbox())
    assignment = assigned("performance_analysis", metadata)
    result = await agent.handle(assignment, Context())
    msgspec.json.encode(result)  # JSON-compatible, or this raises
    return result


async def test_a_command_is_measured_and_ranks_what_was_found(
    pool: AnalysisPool, workspace: Path
) -> None:
    result = await analysed(pool, workspace, command=["python", "report.py", "2000"])
    profile = result["profile"]
    assert (profile["ended"], profile["exit_code"], profile["stdout"]) == (
        "normally",
        0,
        "30000\n",
    )
    rows = {row["function"]: row for row in profile["hottest_by_own_time"] if row["of_project"]}
    assert rows["fold"]["calls"] == 6000
    assert rows["fold"]["file"] == "/shop/text.py"
    assert rows["joined"]["cumulative_seconds"] >= rows["fold"]["cumulative_seconds"]
    assert TEXT.splitlines()[rows["fold"]["line"] - 1] == "def fold(name):"
    by_own = [row["own_seconds"] for row in profile["hottest_by_own_time"]]
    assert by_own == sorted(by_own, reverse=True)
    assert profile["peak_memory_bytes"] > 1_000_000
    # Both functions build a string in a loop; the one that ran comes first, with its figures.
    first, second = result["issues"]
    assert {first["rule"], second["rule"]} == {"string-building-in-loop"}
    assert first["measured"]["function"] == "joined"
    assert first["measured"]["calls"] == 1
    assert 0 < first["measured"]["share"] <= 1
    assert second["measured"] is None
    assert result["summary"].startswith("Found 2 costly patterns and 1 complex function")


async def test_complex_functions_are_listed_with_figures(
    pool: AnalysisPool, workspace: Path
) -> None:
    result = await analysed(pool, workspace, files=["shop/*.py"])
    (tangled,) = result["functions"]
    assert (tangled["name"], tangled["file"]) == ("tangled", "/shop/text.py")
    assert (tangled["cognitive"], tangled["cyclomatic"], tangled["nesting"]) == (18, 8, 5)
    assert result["functions_total"] == 4
    assert result["profile"]["measured"] is False
    assert "no `command`" in result["profile"]["reason"]


async def test_a_module_is_run_as_one(pool: AnalysisPool, workspace: Path) -> None:
    (workspace / "shop/__main__.py").write_text("import sys\nprint(__package__, sys.argv[1:])\n")
    result = await analysed(pool, workspace, command=["python", "-m", "shop", "x"])
    assert result["profile"]["stdout"] == "shop ['x']\n"


async def test_inline_code_is_run_too(pool: AnalysisPool) -> None:
    code = "def busy():\n    return sum(range(1000))\n\n\nfor _ in range(5):\n    busy()\n"
    result = await analysed(pool, None, code=code, command=["python", "inline.py"])
    rows = {row["function"]: row for row in result["profile"]["hottest_by_cumulative_time"]}
    assert (rows["busy"]["calls"], rows["busy"]["of_project"]) == (5, True)


@pytest.mark.parametrize(
    ("program", "how", "exit_code"),
    [
        ("raise ValueError('broken')", "exception", 1),
        ("import sys; sys.exit(3)", "normally", 3),
        ("import sys; sys.exit('told')", "normally", 1),
        ("while True: pass", "out of time", 0),
    ],
)
async def test_a_program_that_ends_badly_is_measured_up_to_there(
    pool: AnalysisPool, program: str, how: str, exit_code: int
) -> None:
    command, seconds = ["python", "inline.py"], 1 if how == "out of time" else 60
    result = await analysed(pool, None, code=program, command=command, seconds=seconds)
    profile = result["profile"]
    assert (profile["ended"], profile["exit_code"]) == (how, exit_code)
    assert bool(profile["error"]) == (how == "exception")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os._exit(7)", "exit code 7"),
        ("while True: print('x' * 1000)", "limit of output_bytes"),
        (OVERWRITING, "wrote over it"),
    ],
)
async def test_a_program_without_a_profile_fails_with_the_reason(
    pool: AnalysisPool, program: str, words: str
) -> None:
    with pytest.raises(AgentError, match=words) as failed:
        await analysed(pool, None, code=program, command=["python", "inline.py"])
    assert not failed.value.retryable


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"command": "python x.py"}, "list of strings"),
        ({"command": ["rm", "-rf", "/"]}, "Only Python"),
        ({"command": ["python", "-c", "1"]}, "Only Python"),
        ({"command": ["python"]}, "Only Python"),
        ({"command": ["python", "../x.py"]}, "climbs"),
        ({"command": ["python", "absent.py"]}, "no such file"),
        ({"code": "1", "command": ["python", "report.py"]}, "inline code is 'inline.py'"),
        ({"command": ["python", "x.py", "a\0b"]}, "NUL"),
        ({"command": ["python", "report.py"], "seconds": 0}, "`seconds`"),
        ({"top": "many"}, "`top`"),
    ],
)
async def test_wrong_metadata_is_refused(
    pool: AnalysisPool, workspace: Path, metadata: dict[str, Any], words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        await analysed(pool, workspace, **metadata)


async def test_without_a_sandbox_nothing_is_run(pool: AnalysisPool, workspace: Path) -> None:
    with pytest.raises(AgentError, match="Allow user namespaces") as failed:
        await analysed(pool, workspace, Absent(), command=["python", "report.py", "1"])
    assert failed.value.code is ErrorCode.SERVICE_UNAVAILABLE
    result = await analysed(pool, workspace, Absent())
    assert len(result["issues"]) == 2
