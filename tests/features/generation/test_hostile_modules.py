"""Modules that do harm when they are imported or called, and some that only cannot be tested."""

import asyncio
import os
from pathlib import Path

import pytest

from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.sandbox import SandboxEnd, SandboxRun, SandboxUnavailable
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.test_generator import TestGeneratorAgent
from tests.features.generation.conftest import Generate, task
from tests.unit.builtin_agents.lent import Context

pytestmark = pytest.mark.anyio


async def test_what_a_module_does_at_import_reaches_nothing(
    generate: Generate, workspace: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    (workspace / "harmful.py").write_text(f"""
import pathlib, socket

DONE = []
for name, act in {{
    "outside": lambda: pathlib.Path({str(outside)!r}).write_text("harm"),
    "beside": lambda: pathlib.Path("/source/beside.txt").write_text("harm"),
    "network": lambda: socket.create_connection(("192.0.2.1", 80), timeout=5),
}}.items():
    try:
        act()
        DONE.append(name)
    except OSError:
        pass


def harm() -> list[str]:
    return list(DONE)
""")
    result = await generate(files=["harmful.py"])
    assert "assert harm() == []" in result["tests"][0]["content"]
    assert not outside.exists()
    assert not (workspace / "beside.txt").exists()
    # Seen from a worker thread, so that nothing here blocks.
    assert await asyncio.to_thread(os.listdir, workspace) == ["harmful.py"]


async def test_a_function_that_ends_the_process_or_never_ends_is_told_of(
    generate: Generate,
) -> None:
    result = await generate(
        code="""
            import os

            def leave(code: int) -> int:
                os._exit(code)
                return 1

            def forever(start: int) -> int:
                while True:
                    start += 1
                return start

            def double(number: int) -> int:
                return number * 2
        """
    )
    assert "def test_double_" in result["tests"][0]["content"]
    reasons = {item["function"]: item["reason"] for item in result["untested"]}
    assert "ended or stalled the process" in reasons["leave"]
    assert "too long" in reasons["forever"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import missing_package_of_somebody\ndef f(): pass\n", "missing_package_of_somebody"),
        ("raise RuntimeError('no database')\ndef f(): pass\n", "RuntimeError: no database"),
        ("import os\nos._exit(0)\ndef f(): pass\n", "ends the process"),
        ("import sys\nsys.exit(3)\ndef f(): pass\n", "ends the program (SystemExit: 3)"),
        ("while True:\n    print('more')\ndef f(): pass\n", "importing it takes too long"),
        ("name = input()\ndef f(): pass\n", "reads from standard input"),
        ("import os\nos.fork()\ndef f(): pass\n", "starts a process"),
        (
            "import subprocess\nP = subprocess.Popen(['sleep', '600'])\ndef f(): pass\n",
            "starts a process, and so would every test that imports it; let it do that in a",
        ),
        (
            "import os\nwhile True:\n    os.spawnlp(os.P_NOWAIT, 'sleep', '9')\ndef f(): pass\n",
            "starts more processes or threads than the sandbox allows",
        ),
        (
            "import builtins\nbuiltins.len = lambda one: 0\ndef f(): pass\n",
            "replaces Python's own len",
        ),
        ("import os, signal\nos.kill(-1, signal.SIGKILL)\ndef f(): pass\n", "kills processes"),
        (
            "import os\ndef f(x: int) -> int:\n    os.kill(os.getppid(), 9)\n    return x\n",
            "something in it, when it was called, ends the whole search",
        ),
        ("import time, os\nos.urandom(1)\ndef f():\n    return os.urandom(8)\n", "random"),
    ],
)
async def test_a_module_that_cannot_be_tested_says_why(
    generate: Generate, code: str, reason: str
) -> None:
    result = await generate(code=code, seconds=20)
    assert result["tests"] == []
    assert any(reason in item["reason"] for item in result["untested"])
    assert result["summary"].startswith("Wrote no test")


async def test_functions_that_would_spoil_the_run_are_told_of_and_the_rest_is_tested(
    generate: Generate,
) -> None:
    result = await generate(
        code="""
            import builtins
            import os

            def split(number: int) -> int:
                os.fork()
                return number + 1

            def spoil(number: int) -> int:
                builtins.len = lambda one: 7
                return number + 1

            def noise(text: str) -> str:
                while True:
                    print(text)

            def double(number: int) -> int:
                return number * 2
        """
    )
    assert "def test_double_" in result["tests"][0]["content"]
    assert not any(
        name.startswith(("test_split", "test_spoil")) for name in result["tests"][0]["tests"]
    )
    reasons = {item["function"]: item["reason"] for item in result["untested"]}
    assert "starts other processes" in reasons["split"]
    assert "replaces Python's own len" in reasons["spoil"]
    assert "too long" in reasons["noise"]


async def test_without_a_sandbox_nothing_is_run(pool: AnalysisPool) -> None:
    class Absent:
        async def run(self, run: SandboxRun) -> SandboxEnd:
            raise SandboxUnavailable("Allow user namespaces.")

    agent = TestGeneratorAgent(pool=pool, code=CodeInput(workspace=None), sandbox=Absent())
    with pytest.raises(AgentError, match="Allow user namespaces"):
        await agent.handle(task(code="def one() -> int:\n    return 1\n"), Context())
