"""What examples/ledger says there is to find, the agents find."""

from typing import Any

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import Agent
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.bug_diagnoser import BugDiagnoser
from sutazai.builtin_agents.change_summarizer import ChangeSummarizer
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.doc_generator import DocGenerator
from sutazai.builtin_agents.log_analyst import LogAnalyst
from tests.house_rules.tree import ROOT
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio

LEDGER = ROOT / "examples" / "ledger"


@pytest.fixture
def code() -> CodeInput:
    return CodeInput(workspace=str(LEDGER))


async def result_of(agent: Agent, **metadata: Any) -> dict[str, Any]:
    assignment = assigned(agent.description.capabilities[0], metadata)
    return await agent.handle(assignment, Context())


async def test_its_documentation(pool: AnalysisPool, code: CodeInput) -> None:
    result = await result_of(DocGenerator(pool=pool, code=code, sandbox=LinuxSandbox()))
    found = {(one["kind"], one["symbol"]) for one in result["stale"]}
    assert found == {
        ("unknown-parameter", "ledger.accounts.find"),
        ("never-raised", "ledger.accounts.find"),
        ("wrong-default", "ledger.accounts.transfer"),
        ("wrong-example", "ledger.money.parse"),
    }
    assert result["coverage"]["after"] == 1
    assert ">>> fee(10)\n1" in result["files"]["docs/reference/ledger.money.md"]


async def test_its_failing_test(pool: AnalysisPool, code: CodeInput) -> None:
    agent = BugDiagnoser(pool=pool, code=code, sandbox=LinuxSandbox())
    result = await result_of(agent, test="tests/test_accounts.py")
    assert result["cause"]["kind"] == "returns-none"
    assert result["suspects"][0]["code"] == "def find(name):"
    assert {"name": "name", "value": "'holidays'", "source": "run"} in result["values"]


async def test_its_change(pool: AnalysisPool, code: CodeInput) -> None:
    diff = (LEDGER / "change.diff").read_text()
    result = await result_of(ChangeSummarizer(pool=pool, code=code), diff=diff)
    assert [one["breaking"] for one in result["symbols"]] == ["`note` is taken no more"]
    rules = {one["rule"] for one in result["risks"]}
    assert {"public-api", "check-removed", "tests-missing"} <= rules
    assert result["left_out"] == []


async def test_its_log(pool: AnalysisPool, code: CodeInput) -> None:
    result = await result_of(LogAnalyst(pool=pool, code=code))
    names = {one["id"]: one["template"] for one in result["templates"]}
    bursts = {names[one["template"]].split(" request")[0] for one in result["bursts"]}
    assert bursts == {"transfer failed", "connection to the bank lost, trying again"}
    assert all("T02:10" in one["start"] for one in result["bursts"])
    assert [one["type"] for one in result["exceptions"]] == ["ledger.bank.BankDown"]
    assert result["followers"][0]["times"] == 40
