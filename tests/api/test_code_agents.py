"""The agents that work on code, as tasks through the API."""

import asyncio
from typing import Any

from tests.api.server import FINAL, JSON, Server, submit

# Seconds: these run programs of their own, which takes a while where much else goes on.
PATIENCE = 120


async def over(server: Server, task_id: str) -> JSON:
    """The task once it has ended."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await server.user.get(f"/tasks/{task_id}", params={"wait": 20})
            task: JSON = answer.json()
            if task["status"] in FINAL:
                return task


async def result_of(server: Server, task_type: str, **metadata: Any) -> JSON:
    """The result of a task that must be completed."""
    task = await submit(server.user, task_type, metadata=metadata, max_attempts=1)
    ended = await over(server, task["task_id"])
    answer = (await server.user.get(f"/tasks/{task['task_id']}/result")).json()
    assert ended["status"] == "completed", answer
    result: JSON = answer["result"]
    return result


async def test_documentation_is_a_task(server: Server) -> None:
    folder = server.workspace / "documented"
    folder.mkdir()
    (folder / "prices.py").write_text("def gross(net: int) -> int:\n    return net * 119 // 100\n")
    result = await result_of(server, "documentation", files=["documented/*.py"], style="numpy")
    assert result["coverage"]["after"] == 1
    assert ">>> gross(3)\n3" in result["files"]["docs/reference/prices.md"]
    assert "+    >>> gross(3)" in result["patch"]
    task = await submit(
        server.user, "documentation", agent="doc-generator-01", metadata={"style": 1}
    )
    assert (await over(server, task["task_id"]))["status"] == "failed"


async def test_a_change_summary_is_a_task(server: Server) -> None:
    diff = (
        "--- /dev/null\n+++ b/shop/rates.py\n@@ -0,0 +1,2 @@\n"
        "+def rate(name):\n+    return eval(name)\n"
    )
    result = await result_of(server, "change_summary", diff=diff)
    assert result["changelog"] == {"kind": "Added", "line": "Add `rate`."}
    assert result["risk"]["level"] == "high"
    [call] = [one for one in result["risks"] if one["rule"] == "dangerous-call"]
    assert call["evidence"][0]["line"] == 2
    task = await submit(server.user, "change_summary", metadata={"base": "HEAD~1"})
    assert (await over(server, task["task_id"]))["status"] == "failed"


async def test_a_log_analysis_is_a_task(server: Server) -> None:
    log = "".join(f"2026-11-25 10:00:{n:02} ERROR cannot reach 10.0.0.{n}\n" for n in range(30))
    result = await result_of(server, "log_analysis", log=log)
    assert [one["template"] for one in result["templates"]] == ["cannot reach <IP>"]
    assert result["metrics"]["by_severity"] == {"error": 30}


async def test_a_profile_is_a_task(server: Server) -> None:
    folder = server.workspace / "profiled"
    folder.mkdir()
    (folder / "run.py").write_text("def busy(n):\n    return sum(range(n))\n\n\nprint(busy(9))\n")
    command = ["python", "profiled/run.py"]
    result = await result_of(server, "performance_analysis", files=["profiled"], command=command)
    rows = {row["function"]: row for row in result["profile"]["hottest_by_own_time"]}
    assert (rows["busy"]["file"], rows["busy"]["line"]) == ("/profiled/run.py", 1)
    assert result["profile"]["stdout"] == "36\n"


async def test_the_servers_own_files_are_not_shown_to_what_is_run(server: Server) -> None:
    code = (
        "import os\nfound = []\nfor at, folders, names in os.walk('/'):\n"
        "    folders[:] = [one for one in folders if one not in ('usr', 'proc', 'lib')]\n"
        "    found += [one for one in names if one in ('jwt_secret', 'sutazai.db', '.env')]\n"
        "print(found)\n"
    )
    (server.workspace / "look.py").write_text(code)
    result = await result_of(
        server, "performance_analysis", file="look.py", command=["python", "look.py"]
    )
    assert result["profile"]["stdout"] == "[]\n"


async def test_refactoring_is_a_task(server: Server) -> None:
    folder = server.workspace / "refactored"
    folder.mkdir()
    (folder / "sums.py").write_text(
        "import os\n\n\ndef total(a):\n    return sum([x for x in a])\n"
    )
    result = await result_of(server, "refactoring", files=["refactored"], tests=False)
    assert {fix["rule"] for fix in result["fixes"]} >= {"F401"}
    assert "-import os" in result["patch"]
    assert result["tests"]["reason"] == "`tests` is false"


async def test_a_bug_diagnosis_is_a_task(server: Server) -> None:
    folder = server.workspace / "diagnosed"
    folder.mkdir()
    (folder / "half.py").write_text("def half(n):\n    return 10 / n\n\n\nhalf(0)\n")
    result = await result_of(
        server, "bug_diagnosis", files=["diagnosed"], command="python diagnosed/half.py"
    )
    assert result["reproduced"] is True
    assert result["failing"]["expression"] == "10 / n"
    assert {"name": "n", "value": "0", "source": "run"} in result["values"]
