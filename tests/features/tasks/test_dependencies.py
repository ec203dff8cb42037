import itertools
from datetime import UTC, datetime, timedelta

from tests.api.agents import Obedient
from tests.api.server import JSON, Server, ended, reached, submit, wrong_fields
from tests.features.tasks.test_running import events_of


async def held(server: Server) -> JSON:
    """A task that runs until the gate opens."""
    return await submit(server.user, "obey", "parent", metadata={"do": "wait"})


async def test_a_task_waits_for_the_one_it_depends_on(server: Server, obedient: Obedient) -> None:
    parent = await held(server)
    child = await submit(server.user, depends_on=[parent["task_id"]])
    assert (child["status"], child["pending_reason"]) == ("pending", "dependency")
    assert child["estimated_completion"] is None
    seen = (await server.user.get(f"/tasks/{child['task_id']}")).json()
    assert seen["depends_on"] == [parent["task_id"]]
    obedient.gate.set()
    after = await ended(server.user, child["task_id"])
    before = await ended(server.user, parent["task_id"])
    assert (before["status"], after["status"]) == ("completed", "completed")
    assert datetime.fromisoformat(after["started_at"]) >= datetime.fromisoformat(
        before["completed_at"]
    )
    told = [event["event_type"] for event in await events_of(server, child["task_id"])]
    assert told[:2] == ["task.created", "task.queued"]


async def test_a_task_waits_for_all_it_depends_on(server: Server, obedient: Obedient) -> None:
    parent = await held(server)
    quick = await submit(server.user)
    child = await submit(server.user, depends_on=[quick["task_id"], parent["task_id"]])
    await ended(server.user, quick["task_id"])
    seen = (await server.user.get(f"/tasks/{child['task_id']}")).json()
    assert (seen["status"], seen["pending_reason"]) == ("pending", "dependency")
    obedient.gate.set()
    assert (await ended(server.user, child["task_id"]))["status"] == "completed"


async def test_a_dependency_that_is_done_already_holds_nothing_up(server: Server) -> None:
    parent = await submit(server.user)
    await ended(server.user, parent["task_id"])
    child = await submit(server.user, depends_on=[parent["task_id"], parent["task_id"]])
    assert child["status"] == "queued"
    assert (await ended(server.user, child["task_id"]))["status"] == "completed"


async def test_the_failure_of_a_dependency_fails_the_whole_chain(
    server: Server, obedient: Obedient
) -> None:
    running = await held(server)
    parent = await submit(server.user, "obey", metadata={"do": "fail"})
    chain = [parent]
    for _ in range(3):
        chain.append(await submit(server.user, depends_on=[chain[-1]["task_id"]]))
    both = await submit(server.user, depends_on=[chain[-1]["task_id"], running["task_id"]])
    obedient.gate.set()
    for before, task in itertools.pairwise(chain):
        seen = await ended(server.user, task["task_id"])
        assert (seen["status"], seen["attempt"]) == ("failed", 0)
        assert seen["error"]["code"] == "CONFLICT"
        assert before["task_id"] in seen["error"]["message"]
    assert (await ended(server.user, both["task_id"]))["status"] == "failed"


async def test_cancelling_a_dependency_fails_what_waits_for_it(server: Server) -> None:
    parent = await submit(server.user, run_at="2999-01-01T00:00:00Z")
    child = await submit(server.user, depends_on=[parent["task_id"]])
    await server.user.delete(f"/tasks/{parent['task_id']}")
    seen = await ended(server.user, child["task_id"])
    assert seen["status"] == "failed"
    assert "cancelled" in seen["error"]["message"]


async def test_a_cancelled_dependent_stays_cancelled(server: Server, obedient: Obedient) -> None:
    parent = await held(server)
    child = await submit(server.user, depends_on=[parent["task_id"]])
    await server.user.delete(f"/tasks/{child['task_id']}")
    obedient.gate.set()
    await ended(server.user, parent["task_id"])
    seen = (await server.user.get(f"/tasks/{child['task_id']}")).json()
    assert seen["status"] == "cancelled"


async def test_a_dependency_that_failed_or_is_unknown_is_refused(
    server: Server, obedient: Obedient
) -> None:
    failed = await submit(server.user, "obey", metadata={"do": "fail"})
    await ended(server.user, failed["task_id"])
    for other in (failed["task_id"], "01a20af4-87b8-77fe-ac03-3a69b1fb45d4"):
        body = {"type": "ping", "description": "x", "depends_on": [other]}
        wrong = wrong_fields(await server.user.post("/tasks", json=body))
        assert other in wrong["depends_on"]


async def test_a_dependent_for_later_waits_for_its_time_too(
    server: Server, obedient: Obedient
) -> None:
    parent = await held(server)
    later = datetime.now(UTC) + timedelta(hours=1)
    child = await submit(server.user, depends_on=[parent["task_id"]], run_at=later.isoformat())
    assert child["pending_reason"] == "dependency"
    obedient.gate.set()
    await ended(server.user, parent["task_id"])
    seen = await reached(server.user, child["task_id"], "pending")
    assert seen["pending_reason"] == "scheduled"
