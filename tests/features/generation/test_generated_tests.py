"""What comes out: tests that pass, that notice faults, and that a person can read."""

import ast
import json
import re
from textwrap import dedent
from typing import Any

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.sandbox import SandboxLimits, SandboxRun
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.test_generator import TestGeneratorAgent
from tests.features.generation.conftest import Generate, task
from tests.unit.builtin_agents.lent import Context

pytestmark = pytest.mark.anyio

PRICES = dedent('''
    """Prices of a shop."""

    REBATES = {"SPRING": 10, "VIP": 25}

    def rebate(total: int, code: str | None = None) -> int:
        """What is left of a total in cents."""
        if total < 0:
            raise ValueError("the total is negative")
        if code is None:
            return total
        if code not in REBATES:
            raise KeyError(code)
        return total - total * REBATES[code] // 100

    class Basket:
        def __init__(self, limit: int = 3) -> None:
            self.limit = limit
            self.items: list[str] = []

        def add(self, item: str) -> int:
            if len(self.items) >= self.limit:
                raise OverflowError("the basket is full")
            self.items.append(item.strip().lower())
            return len(self.items)
''')
FAULTS = {
    "total < 0": "total <= 0",
    "return total\n": "return total + 1\n",
    "code not in": "code in",
    "total - total": "total + total",
    "// 100": "// 101",
    ">= self.limit": "> self.limit",
    ".lower()": "",
    "self.limit = limit": "self.limit = 3",
}


# Runs the tests of each folder, one after the other, and tells how pytest ended.
EACH = """
import json, os, subprocess, sys
ends = {}
for name in sorted(os.listdir("each")):
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=f"each/{name}", env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    ends[name] = [done.returncode, done.stdout]
print(json.dumps(ends))
"""


@pytest.fixture(scope="session")
async def prices(pool: AnalysisPool, sandbox: LinuxSandbox) -> dict[str, Any]:
    """What a task about PRICES answers; tests share it."""
    agent = TestGeneratorAgent(pool=pool, code=CodeInput(workspace=None), sandbox=sandbox)
    return await agent.handle(task(code=PRICES, file="prices.py"), Context())


async def test_they_pass_and_notice_faults(prices: dict[str, Any], sandbox: LinuxSandbox) -> None:
    [file] = prices["tests"]
    assert (file["module"], file["source_file"]) == ("prices", "prices.py")
    assert all(old in PRICES for old in FAULTS)
    versions = [PRICES, *(PRICES.replace(old, new, 1) for old, new in FAULTS.items())]
    files = {"each.py": EACH}
    for number, version in enumerate(versions):
        files[f"each/{number}/prices.py"] = version
        files[f"each/{number}/{file['file']}"] = file["content"]
    end = await sandbox.run(
        SandboxRun(
            argv=("python", "each.py"),
            files={name: text.encode() for name, text in files.items()},
            environment={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            limits=SandboxLimits(seconds=120, cpu_seconds=120),
        )
    )
    ends = json.loads(end.stdout)
    assert ends["0"][0] == 0, ends["0"][1]
    noticed = [fault for number, fault in enumerate(FAULTS, 1) if ends[str(number)][0] == 1]
    assert len(noticed) >= 7, set(FAULTS) - set(noticed)


async def test_coverage_and_mutation_score_are_told(prices: dict[str, Any]) -> None:
    assert prices["coverage"] == prices["tests"][0]["coverage"]
    assert prices["coverage"]["line"] == 1.0
    assert prices["coverage"]["branch"] == 1.0
    assert prices["mutation"]["score"] >= 0.7
    assert prices["mutation"]["mutants"] >= 15
    assert prices["untested"] == []
    assert "for 1 module, which reach 100% of the lines" in prices["summary"]


async def test_they_are_few_and_have_names_that_tell(prices: dict[str, Any]) -> None:
    [file] = prices["tests"]
    tree = ast.parse(file["content"])
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [test.name for test in tests] == file["tests"]
    assert len(tests) <= 25 * file["coverage"]["statements"] / 100
    assert all(re.match(r"test_(rebate|basket)_\w+", test.name) for test in tests)
    assert any("raises" in test.name for test in tests)
    for test in tests:
        assert any(isinstance(node, ast.Assert | ast.With) for node in ast.walk(test))
    assert all(len(line) <= 100 for line in file["content"].splitlines())


async def test_functions_can_be_chosen_and_their_number_limited(generate: Generate) -> None:
    result = await generate(code=PRICES, file="prices.py", functions=["Basket.add"], max_tests=1)
    [file] = result["tests"]
    assert len(file["tests"]) == 1
    assert file["tests"][0].startswith("test_basket_add")
    assert "rebate" not in file["content"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"style": "unittest"}, "style"),
        ({"max_tests": 0}, "max_tests"),
        ({"seconds": 1000}, "seconds"),
        ({"functions": ["a b"]}, "a b"),
        ({"functions": 7}, "functions"),
        ({"functions": ["rebat"]}, "no function or class 'rebat'.*There are rebate, Basket"),
        ({"code": "x = 1\n"}, "no function"),
        ({"code": "def broken(:\n"}, "line 1"),
    ],
)
async def test_what_cannot_be_used_is_named(
    generate: Generate, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(AgentError, match=named):
        await generate(**{"code": PRICES, **wrong})
