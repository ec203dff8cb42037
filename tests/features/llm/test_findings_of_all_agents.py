"""A model on top of what every agent finds: it explains and ranks, and its repairs are proven."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import Agent
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.dependency_auditor import DependencyAuditor
from sutazai.builtin_agents.performance_analyst import PerformanceAnalyst
from sutazai.builtin_agents.refactoring_advisor import RefactoringAdvisor
from sutazai.builtin_agents.security_analyst import SecurityAnalyst
from sutazai.builtin_agents.type_checker import TypeChecker
from sutazai.database import Database
from tests.features.llm.on_facts import CONFIRMED, JSON, each, facts, handled, saying
from tests.features.llm.rig import asking
from tests.scripted_model import ScriptedModel

ASSESSES, REPAIRS = "For each candidate", "Rewrite"
Make = Callable[[AnalysisPool, CodeInput], Agent]


@pytest.fixture
async def pool() -> AsyncIterator[AnalysisPool]:
    pool = AnalysisPool(processes=1)
    await pool.start()
    yield pool
    await pool.close()


APART = "of no interest to anybody"
COSTLY = f"""
def listed(rows):
    found = ""
    for row in rows:
        for other in rows:
            if row in list(rows):
                found += str(row)
    return found


def unrelated():
    return "{APART}"
"""
DEAD = f"""
def used():
    return 1
    print("never")


print(used())


# {APART}: neither is this line near to anything that was found, nor does any agent have to send it
"""
WRONG = f"""
def length(text: str) -> int:
    return text


{"# nothing here" + chr(10) * 14}

def unrelated() -> str:
    return "{APART}"
"""
MANIFEST = "requests\nflask\n"
AGENTS: dict[str, tuple[Make, str, dict[str, str]]] = {
    "performance": (
        lambda pool, code: PerformanceAnalyst(pool=pool, code=code, sandbox=LinuxSandbox()),
        "performance_analysis",
        {"app.py": COSTLY},
    ),
    "refactoring": (
        lambda pool, code: RefactoringAdvisor(pool=pool, code=code, sandbox=LinuxSandbox()),
        "refactoring",
        {"app.py": DEAD},
    ),
    "types": (
        lambda pool, code: TypeChecker(pool=pool, code=code),
        "type_check",
        {"app.py": WRONG},
    ),
    "dependencies": (
        lambda pool, code: DependencyAuditor(pool=pool, code=code),
        "dependency_audit",
        {"requirements.txt": MANIFEST, "app.py": f"import yaml\n{chr(10) * 20}WORDS = '{APART}'\n"},
    ),
    "security": (
        lambda pool, code: SecurityAnalyst(pool=pool, code=code),
        "security_analysis",
        {
            "app.py": f"import os\n\n\ndef run(host):\n    os.system('ping ' + host)\n\n\n"
            f"def unrelated():\n    return '{APART}'\n"
        },
    ),
}


@pytest.mark.parametrize("name", AGENTS)
async def test_every_agent_with_findings_has_them_explained(
    database: Database, pool: AnalysisPool, tmp_path: Path, name: str
) -> None:
    make, task_type, files = AGENTS[name]
    folder = tmp_path / "code"
    folder.mkdir()
    for file, text in files.items():
        (folder / file).write_text(text)
    agent = make(pool, CodeInput(workspace=str(folder)))
    without = await handled(agent, task_type, None)
    assert without["model"] is None
    assert not [issue for issue in without["issues"] if "assessment" in issue]
    with ScriptedModel(saying(**{ASSESSES: each(**CONFIRMED)})) as server:
        async with asking(database, server.url) as rig:
            result = await handled(agent, task_type, rig.lent())
            refused = await handled(agent, task_type, rig.lent(), model=False)
    assert facts(result) == facts(without)
    assert facts(result)
    assert result["summary"] == without["summary"]
    assert result["model"]["problem"] is None or "right form" in result["model"]["problem"]
    assert result["model"]["comments"] == len(facts(result))
    for issue in result["issues"]:
        assert issue["assessment"]["by"] == "model"
        assert issue["assessment"]["explanation"] == "so"
    assert APART not in server.said()
    assert refused["model"] is None


async def test_a_repair_must_break_the_flow_through_the_whole_project(
    database: Database, pool: AnalysisPool, tmp_path: Path
) -> None:
    (tmp_path / "db.py").write_text(
        "import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n"
    )
    (tmp_path / "app.py").write_text(
        "from db import load\n\n\ndef view(request):\n    return load(request.body)\n"
    )
    agent = SecurityAnalyst(pool=pool, code=CodeInput(workspace=str(tmp_path)))

    def fixes(replacement: str) -> Callable[[str], JSON]:
        def answer(user: str) -> JSON:
            told = {"first_line": 5, "last_line": 5, "replacement": replacement}
            return told if "/app.py" in user else {**told, "first_line": 0}

        return answer

    outcomes = {}
    for replacement in ("    return load(request.body or b'')", "    return len(request.body)"):
        script = saying(**{ASSESSES: each(**CONFIRMED), REPAIRS: fixes(replacement)})
        with ScriptedModel(script) as server:
            async with asking(database, server.url) as rig:
                result = await handled(agent, "security_analysis", rig.lent())
        fixed = [issue["file"] for issue in result["issues"] if "fix" in issue]
        outcomes[replacement] = (fixed, result["model"]["fixes_proven"])
    # Nothing is wrong with either in the file alone: only the look at the whole tells them apart.
    assert list(outcomes.values()) == [([], 0), (["/app.py"], 1)]
    assert "len" not in (tmp_path / "app.py").read_text()


@pytest.mark.parametrize(
    ("replacement", "proven"),
    [
        ("    return len(text)", 1),
        ("    return text  # type: ignore[return-value]", 0),
        ("    return cast(int, text)", 0),
        ("    return text + 1", 0),
        ("    return (", 0),
    ],
)
async def test_a_type_is_repaired_where_the_checker_says_so(
    database: Database, pool: AnalysisPool, replacement: str, proven: int
) -> None:
    def repair(user: str) -> JSON:
        return {"first_line": 3, "last_line": 3, "replacement": replacement}

    agent = TypeChecker(pool=pool, code=CodeInput(workspace=None))
    code = f"from typing import cast\n{WRONG}".replace("\n\n", "\n", 1)
    with ScriptedModel(saying(**{ASSESSES: each(**CONFIRMED), REPAIRS: repair})) as server:
        async with asking(database, server.url) as rig:
            result = await handled(agent, "type_check", rig.lent(), code=code)
    assert result["model"]["fixes_proven"] == proven
    assert len([issue for issue in result["issues"] if "fix" in issue]) == proven
