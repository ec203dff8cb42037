"""Plans for goals that the rules do not understand, by a model that is held to what there is."""

import json
from pathlib import Path
from typing import Any

import httpx2

from tests.api.server import Server, serving, settings_for, submit
from tests.features.llm.test_prompts import healthy
from tests.scripted_model import Refuse, Say, ScriptedModel

JSON = dict[str, Any]
CODE = "def half(n):\n    return eval('n / 2')\n"
ODD = "Kindly give this module the third degree"


def choosing(*steps: JSON) -> Say:
    return Say(json.dumps({"steps": steps, "not_understood": ["kindly"]}))


def step(task_type: str, *after: str) -> JSON:
    return {"type": task_type, "why": f"it needs {task_type}", "after": list(after)}


async def outcome(client: httpx2.AsyncClient, goal: str, **metadata: Any) -> JSON:
    body = {"goal": goal, "code": CODE, **metadata}
    task = await submit(client, "orchestration", metadata=body)
    answer = await client.get(f"/tasks/{task['task_id']}/result", params={"wait": 25})
    assert answer.status_code == 200, answer.text
    shown: JSON = answer.json()
    return shown


async def test_a_model_plans_what_the_rules_do_not_understand_and_nothing_else(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    chosen = [step("security_analysis"), step("code_review", "security_analysis")]
    told: list[Say | Refuse] = []
    with ScriptedModel(lambda _: told.pop(0) if told else Refuse(400)) as model:
        settings = settings_for(data_dir, database_url, tmp_path, llm_url=model.url)
        async with serving(settings, roles=["user"]) as server:
            await healthy(server)
            await _plans(server, model, told, chosen)


async def _plans(
    server: Server, model: ScriptedModel, told: list[Say | Refuse], chosen: list[JSON]
) -> None:
    user = server.user
    # A wrong answer is sent back with the reason.
    told += [choosing(step("juggling")), choosing(*chosen)]
    done = await outcome(user, ODD, dry_run=True)
    assert done["status"] == "completed", done
    result = done["result"]
    assert (result["planner"], result["planner_note"]) == ("model", None)
    assert result["model"]["calls"] == 2
    first, second = result["plan"]["steps"]
    assert first["why"] == "The model says: it needs security_analysis."
    assert second["after"] == ["security_analysis"]
    assert result["plan"]["not_understood"] == ["kindly"]
    assert "juggling" in model.said()
    # What the goal rules out stays out, whatever the model says.
    told += [choosing(step("documentation"))] * 5
    without = await outcome(user, f"{ODD}, without docs", dry_run=True)
    assert without["status"] == "failed"
    assert "asks for nothing" in without["error"]["message"]
    told.clear()
    # Rules that understand need no model, and one that fails leaves them to it.
    calls = len(model.asked)
    by_rules = await outcome(user, "Review it.", dry_run=True)
    assert (by_rules["result"]["planner"], by_rules["result"]["model"]) == ("rules", None)
    assert (await outcome(user, ODD, planner="rules", dry_run=True))["status"] == "failed"
    assert len(model.asked) == calls
    partly = await outcome(user, f"Review it and {ODD}", dry_run=True)
    assert partly["result"]["planner"] == "rules"
    assert "The model made no plan" in partly["result"]["planner_note"]
    assert (await outcome(user, "Review it.", planner="model"))["status"] == "failed"
    # The plan that was made is the one that is executed, however often the task goes on.
    told.append(choosing(*chosen))
    executed = await outcome(user, f"{ODD} at once")
    assert executed["status"] == "completed", executed
    assert [one["status"] for one in executed["result"]["steps"]] == ["completed", "completed"]
    assert executed["result"]["planner"] == "model"
