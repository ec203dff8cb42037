"""The agent that looks for causes, from metadata to its result, with real runs in the sandbox."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.sandbox import Sandbox, SandboxEnd, SandboxRun, SandboxUnavailable
from sutazai.builtin_agents.bug_diagnoser import BugDiagnoser
from sutazai.builtin_agents.code_input import CodeInput
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio

USERS = """\
USERS = {"ada": {"name": "Ada"}}


def find(name):
    for key, user in USERS.items():
        if key == name:
            return user


def greeting(name, token="ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"):
    user = find(name)
    return "Hello " + user["name"]


if __name__ == "__main__":
    print(greeting("bob"))
"""
TEST = (
    "from app.users import greeting\n\n\ndef test_greeting():\n    assert greeting('bob') == 'x'\n"
)
TEXT = """\
Traceback (most recent call last):
  File "/srv/app/users.py", line 12, in greeting
    return "Hello " + user["name"]
                      ~~~~^^^^^^^^
TypeError: 'NoneType' object is not subscriptable
"""


class Absent:
    """A machine that can isolate nothing."""

    async def run(self, run: SandboxRun) -> SandboxEnd:
        raise SandboxUnavailable("Allow user namespaces.")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "app").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "app" / "__init__.py").write_text("")
    (folder / "app" / "users.py").write_text(USERS)
    (folder / "tests" / "test_users.py").write_text(TEST)
    return folder


async def diagnosed(
    pool: AnalysisPool, workspace: Path | None, sandbox: Sandbox | None = None, **metadata: Any
) -> dict[str, Any]:
    code = CodeInput(workspace=None if workspace is None else str(workspace))
    agent = BugDiagnoser(pool=pool, code=code, sandbox=sandbox or LinuxSandbox())
    assignment = assigned("bug_diagnosis", metadata)
    result = await agent.handle(assignment, Context())
    msgspec.json.encode(result)  # JSON-compatible, or this raises
    return result


async def test_a_traceback_beside_its_source(pool: AnalysisPool, workspace: Path) -> None:
    result = await diagnosed(pool, workspace, traceback=TEXT)
    assert result["failing"]["file"] == "/app/users.py"
    assert result["failing"]["expression"] == "user['name']"
    assert result["cause"]["kind"] == "returns-none"
    assert (result["suspects"][0]["line"], result["suspects"][0]["code"]) == (4, "def find(name):")
    assert result["reproduced"] is None


@pytest.mark.parametrize(
    "how",
    [
        {"test": "tests/test_users.py::test_greeting"},
        {"command": "pytest -k greeting"},
        {"command": ["python", "-m", "pytest", "tests"]},
        {"command": "python app/users.py"},
        {"command": ["python", "-m", "app.users"]},
        {"test": "tests/test_users.py", "traceback": TEXT},
    ],
    ids=["test", "pytest", "module pytest", "script", "module", "both"],
)
async def test_a_failure_is_made_to_happen_again_with_its_values(
    pool: AnalysisPool, workspace: Path, how: dict[str, Any]
) -> None:
    result = await diagnosed(pool, workspace, **how)
    assert result["reproduced"] is True
    values = {one["name"]: one["value"] for one in result["values"] if one["source"] == "run"}
    assert (values["user"], values["name"]) == ("None", "'bob'")
    assert "ghp_a1B2a1B2" not in str(result)
    assert result["cause"]["kind"] == "returns-none"
    assert result["failures"][0]["frames"][-1]["in_source"]


async def test_code_given_inline_is_run_alone(pool: AnalysisPool) -> None:
    code = "def f(n):\n    return 1 / n\n\n\nf(0)\n"
    result = await diagnosed(pool, None, code=code, command="python inline.py")
    assert result["failing"]["line"] == 2
    assert {"name": "n", "value": "0", "source": "run"} in result["values"]
    assert result["suspects"][0]["kind"] == "zero"


async def test_without_a_sandbox_the_traceback_is_still_read(
    pool: AnalysisPool, workspace: Path
) -> None:
    result = await diagnosed(pool, workspace, Absent(), traceback=TEXT, test="tests/test_users.py")
    assert result["run_unavailable"] == "Allow user namespaces."
    assert result["cause"]["kind"] == "returns-none"
    with pytest.raises(AgentError, match="user namespaces"):
        await diagnosed(pool, workspace, Absent(), test="tests/test_users.py")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "Give a `traceback`"),
        ({"traceback": ""}, "`traceback`"),
        ({"traceback": ["x"]}, "`traceback`"),
        ({"traceback": "no traceback"}, "no traceback"),
        ({"test": "--collect-only"}, "`test`"),
        ({"test": "a", "command": "b"}, "either"),
        ({"command": "rm -rf /"}, "`command`"),
        ({"command": "python -c 'print(1)'"}, "`command`"),
        ({"command": "pytest '"}, "quotation"),
        ({"command": 5}, "`command`"),
        ({"command": "python app/absent.py"}, "There is no file app/absent.py"),
        ({"command": "python app/__init__.py"}, "succeeds"),
        ({"traceback": TEXT, "diff": "no diff"}, "diff"),
        ({"traceback": TEXT, "environment": 5}, "environment"),
        ({"traceback": TEXT, "files": ["absent.py"]}, "absent"),
    ],
)
async def test_wrong_metadata_fails_with_the_reason(
    pool: AnalysisPool, workspace: Path, metadata: dict[str, Any], words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        await diagnosed(pool, workspace, **metadata)
