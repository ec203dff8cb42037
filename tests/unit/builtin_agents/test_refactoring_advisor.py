"""The refactoring agent: what it finds, and patches that are proven by the project's own tests."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.sandbox import Sandbox, SandboxEnd, SandboxRun, SandboxUnavailable
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.refactoring_advisor import RefactoringAdvisor
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio

SHOP = """\
import os
import json


def total(prices):
    unused = 1
    if prices:
        return sum([price for price in prices])
    else:
        return 0


def _forgotten():
    return json.dumps({})
"""

# Its import is used in a way that only a run can show.
SECRETIVE = """\
import os


def where():
    return globals()["o" + "s"].sep
"""

TESTS = """\
from shop import secretive, sums


def test_total():
    assert sums.total([1, 2]) == 3
    assert sums.total([]) == 0


def test_where():
    assert secretive.where() == "/"


def test_that_fails_anyway():
    assert sums.total([1]) == 2
"""


class Absent:
    """A machine that can isolate nothing."""

    async def run(self, run: SandboxRun) -> SandboxEnd:
        raise SandboxUnavailable("Allow user namespaces.")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "shop").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "shop/__init__.py").touch()
    (folder / "shop/sums.py").write_text(SHOP)
    (folder / "shop/secretive.py").write_text(SECRETIVE)
    (folder / "tests/test_shop.py").write_text(TESTS)
    return folder


async def advised(
    pool: AnalysisPool, workspace: Path | None, sandbox: Sandbox | None = None, **metadata: Any
) -> dict[str, Any]:
    code = CodeInput(workspace=None if workspace is None else str(workspace))
    agent = RefactoringAdvisor(pool=pool, code=code, sandbox=sandbox or LinuxSandbox())
    assignment = assigned("refactoring", metadata)
    result = await agent.handle(assignment, Context())
    msgspec.json.encode(result)  # JSON-compatible, or this raises
    return result


async def test_fixes_keep_the_tests_passing_and_those_that_do_not_are_dropped(
    pool: AnalysisPool, workspace: Path
) -> None:
    result = await advised(pool, workspace)
    tests = result["tests"]
    assert tests["before"] == {"passed": 2, "failed": 1}
    assert tests["after"] == {"passed": 2, "failed": 1}
    assert (tests["ran"], tests["keeps_passing"], tests["files"]) == (True, True, 1)
    assert [one["file"] for one in result["fixes_dropped"]] == ["/shop/secretive.py"]
    assert {fix["file"] for fix in result["fixes"]} == {"/shop/sums.py"}
    assert {fix["rule"] for fix in result["fixes"]} >= {"F401", "F841", "RET505"}
    assert "with which 2 tests pass as before" in result["summary"]
    (finding,) = result["issues"]
    assert finding["description"] == "Nothing in the project uses the function `_forgotten`."
    assert finding["code"] == "def _forgotten():"
    # The patch is what its users' own tools take, and does nothing to the workspace by itself.
    assert (workspace / "shop/sums.py").read_text() == SHOP
    _apply(workspace, result["patch"])
    assert "import os" not in (workspace / "shop/sums.py").read_text()
    again = await advised(pool, workspace, files=["shop/sums.py"])
    assert (again["patch"], again["fixes"]) == ("", [])
    assert again["tests"]["reason"] == "there is nothing to fix"


def _apply(folder: Path, patch: str) -> None:
    subprocess.run(["git", "apply", "-"], cwd=folder, input=patch.encode(), check=True)


async def test_packages_of_tests_that_share_a_name_are_all_run(
    pool: AnalysisPool, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "tests").mkdir(parents=True)
        (tmp_path / name / "tests/__init__.py").touch()
        (tmp_path / name / "tests/conftest.py").write_text(
            f"import pytest\n\n\n@pytest.fixture\ndef here():\n    return {name!r}\n"
        )
        (tmp_path / name / "tests/test_it.py").write_text(
            f"def test_where(here):\n    assert here == {name!r}\n"
        )
    (tmp_path / "sums.py").write_text("import os\n\n\ndef one():\n    return 1\n")
    result = await advised(pool, tmp_path)
    assert result["tests"]["before"] == {"passed": 2}
    assert result["tests"]["keeps_passing"] is True
    assert result["tests"]["reason"] is None
    assert "with which 2 tests pass as before" in result["summary"]


async def test_why_tests_could_not_be_run_is_told(pool: AnalysisPool, tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text("import os\n")
    (tmp_path / "conftest.py").write_text("raise ValueError('no database here')\n")
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    result = await advised(pool, tmp_path)
    assert result["tests"]["ran"] is False
    assert result["tests"]["reason"] == ("the tests could not be run: ValueError: no database here")
    assert "not proven by tests: the tests could not be run: ValueError" in result["summary"]


async def test_test_modules_that_cannot_be_loaded_are_told_of(
    pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "tests/test_more.py").write_text("import no_such_module_anywhere\n")
    result = await advised(pool, workspace)
    assert result["tests"]["before"] == {"passed": 2, "failed": 1, "error": 1}
    assert result["tests"]["reason"].startswith("1 test module could not be loaded")
    assert "no_such_module_anywhere" in result["tests"]["output"]


async def test_what_is_not_proven_by_tests_says_so(pool: AnalysisPool, workspace: Path) -> None:
    result = await advised(pool, workspace, tests=False, files=["shop/sums.py"])
    assert result["tests"]["keeps_passing"] is None
    assert result["tests"]["reason"] == "`tests` is false"
    assert result["patch"]
    result = await advised(pool, workspace, Absent(), files=["shop/sums.py"])
    assert result["tests"]["reason"] == "Allow user namespaces."
    assert "not proven by tests" in result["summary"]
    (workspace / "tests/test_shop.py").write_text("import no_such_module\n")
    result = await advised(pool, workspace, files=["shop/sums.py"])
    assert result["tests"]["reason"] == "no test passes, with or without fixes"
    assert "no_such_module" in result["tests"]["output"]
    (workspace / "tests/test_shop.py").unlink()
    result = await advised(pool, workspace, files=["shop/sums.py"])
    assert result["tests"]["reason"] == "the project has no tests"


async def test_inline_code_is_fixed_too(pool: AnalysisPool) -> None:
    result = await advised(pool, None, code=SHOP)
    assert result["tests"]["reason"] == "inline code has no tests"
    assert {fix["rule"] for fix in result["fixes"]} >= {"F401", "F841", "RET505"}


async def test_files_of_other_encodings_are_not_patched(
    pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "shop/dos.py").write_bytes(b"import os\r\n\r\nprint(1)\r\n")
    result = await advised(pool, workspace, files=["shop/dos.py"])
    assert result["patch"] == ""


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"tests": "yes"}, "`tests`"),
        ({"seconds": 0}, "`seconds`"),
        ({"seconds": True}, "`seconds`"),
        ({"code": "x", "file": "a.txt"}, "no Python"),
    ],
)
async def test_wrong_metadata_is_refused(
    pool: AnalysisPool, workspace: Path, metadata: dict[str, Any], words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        await advised(pool, workspace, **metadata)
