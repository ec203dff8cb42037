from tests.api.agents import Obedient
from tests.api.server import Server, ended, error_of, new_user, reached, submit
from tests.features.tasks.test_running import events_of


async def test_a_queued_task_is_cancelled_and_never_runs(
    server: Server, obedient: Obedient
) -> None:
    running = await submit(server.user, "obey", "running", metadata={"do": "wait"})
    await reached(server.user, running["task_id"], "processing")
    task = await submit(server.user, "obey", "never")
    answer = await server.user.delete(f"/tasks/{task['task_id']}")
    assert answer.status_code == 200
    assert answer.json().keys() == {"task_id", "status", "cancelled_at"}
    assert answer.json()["status"] == "cancelled"
    obedient.gate.set()
    await ended(server.user, running["task_id"])
    last = await submit(server.user, "obey", "last")
    await ended(server.user, last["task_id"])
    assert obedient.order == ["running", "last"]
    events = await events_of(server, task["task_id"])
    assert [event["event_type"] for event in events] == ["task.created", "task.cancelled"]


async def test_a_pending_task_is_cancelled(server: Server) -> None:
    task = await submit(server.user, run_at="2999-01-01T00:00:00Z")
    assert task["status"] == "pending"
    assert (await server.user.delete(f"/tasks/{task['task_id']}")).status_code == 200
    seen = (await server.user.get(f"/tasks/{task['task_id']}")).json()
    assert seen["status"] == "cancelled"
    assert "cancelled_at" in seen
    assert "pending_reason" not in seen


async def test_cancelling_a_running_task_stops_its_agent(
    server: Server, obedient: Obedient
) -> None:
    task = await submit(server.user, "obey", metadata={"do": "hang"})
    await reached(server.user, task["task_id"], "processing")
    assert (await server.user.delete(f"/tasks/{task['task_id']}")).json()["status"] == "cancelled"
    # The one place of the agent is free again.
    follower = await submit(server.user, "obey")
    assert (await ended(server.user, follower["task_id"]))["status"] == "completed"
    assert obedient.stopped == [task["task_id"]]


async def test_a_result_that_comes_after_the_cancellation_is_refused(
    server: Server, obedient: Obedient
) -> None:
    task = await submit(server.user, "obey", metadata={"do": "not stop"})
    await reached(server.user, task["task_id"], "processing")
    await server.user.delete(f"/tasks/{task['task_id']}")
    obedient.gate.set()
    follower = await submit(server.user, "obey")
    await ended(server.user, follower["task_id"])
    assert (await server.user.get(f"/tasks/{task['task_id']}")).json()["status"] == "cancelled"
    error_of(await server.user.get(f"/tasks/{task['task_id']}/result"), 409, "CONFLICT")
    assert (await events_of(server, task["task_id"]))[-1]["event_type"] == "task.cancelled"


async def test_a_finished_task_cannot_be_cancelled(server: Server, obedient: Obedient) -> None:
    done = await submit(server.user)
    failed = await submit(server.user, "obey", metadata={"do": "fail"})
    for task in (done, failed):
        status = (await ended(server.user, task["task_id"]))["status"]
        answer = await server.user.delete(f"/tasks/{task['task_id']}")
        assert status in error_of(answer, 409, "CONFLICT")["message"]
        assert (await server.user.get(f"/tasks/{task['task_id']}")).json()["status"] == status


async def test_cancelling_twice_answers_the_same(server: Server) -> None:
    task = await submit(server.user, run_at="2999-01-01T00:00:00Z")
    first = await server.user.delete(f"/tasks/{task['task_id']}")
    second = await server.user.delete(f"/tasks/{task['task_id']}")
    assert (first.status_code, first.json()) == (second.status_code, second.json())


async def test_whoever_waits_for_a_task_learns_that_it_was_cancelled(
    server: Server, obedient: Obedient
) -> None:
    task = await submit(server.user, "obey", metadata={"do": "hang"})
    await server.user.delete(f"/tasks/{task['task_id']}")
    seen = await server.user.get(f"/tasks/{task['task_id']}", params={"wait": 20})
    assert seen.json()["status"] == "cancelled"


async def test_only_owners_and_writers_cancel(server: Server) -> None:
    later = {"run_at": "2999-01-01T00:00:00Z"}
    owner = await new_user(server, "the-owner", "user")
    theirs = await submit(owner, **later)
    for other in (server.user, server.viewer):
        error_of(await other.delete(f"/tasks/{theirs['task_id']}"), 403, "FORBIDDEN")
    assert (await owner.delete(f"/tasks/{theirs['task_id']}")).status_code == 200
    for writer in (server.developer, server.admin):
        another = await submit(owner, **later)
        assert (await writer.delete(f"/tasks/{another['task_id']}")).status_code == 200
