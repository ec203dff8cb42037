import asyncio
from typing import Any

from tests.api.agents import Chief, Obedient
from tests.api.server import JSON, PATIENCE, Server, ended, submit
from tests.features.tasks.test_running import events_of


def call(task_type: str = "ping", **more: Any) -> JSON:
    """One thing for the chief to have done."""
    return {"type": task_type, **more}


async def led(server: Server, *calls: JSON, **more: Any) -> JSON:
    """A task of the chief that must be accepted."""
    at_once = more.pop("at_once", False)
    crash = more.pop("crash", False)
    metadata = {"calls": calls, "at_once": at_once, "crash": crash}
    return await submit(server.user, "chief", metadata=metadata, **more)


async def answers(server: Server, task: JSON) -> list[JSON]:
    """What came of a task's calls; it must complete."""
    path = f"/tasks/{task['task_id']}/result"
    outcome = (await server.user.get(path, params={"wait": 25})).json()
    assert outcome["status"] == "completed", outcome
    found: list[JSON] = outcome["result"]["answers"]
    return found


async def children(server: Server, task: JSON) -> list[JSON]:
    """The tasks that a task had done, oldest first."""
    page = (await server.user.get("/tasks", params={"parent": task["task_id"]})).json()
    found: list[JSON] = page["tasks"]
    return found[::-1]


async def failure(server: Server, task: JSON) -> JSON:
    """Why a task failed."""
    seen = await ended(server.user, task["task_id"])
    assert seen["status"] == "failed"
    error: JSON = seen["error"]
    return error


async def test_an_agent_has_a_task_done_and_goes_on_with_its_result(
    server: Server, chief: Chief
) -> None:
    task = await led(server, call(metadata={"n": 1}), call(metadata={"n": 2}), priority=7)
    assert await answers(server, task) == [{"n": 1}, {"n": 2}]
    made = await children(server, task)
    assert [one["metadata"] for one in made] == [{"n": 1}, {"n": 2}]
    for one in made:
        assert one["parent_task_id"] == task["task_id"]
        assert one["priority"] == 7
        assert one["description"] == "delegated"
    seen = await ended(server.user, task["task_id"])
    assert {one["submitted_by"] for one in made} == {seen["submitted_by"]}
    assert "parent_task_id" not in seen
    assert seen["attempt"] == 1
    # Once for each result that it went on with.
    assert chief.handled[task["task_id"]] == 3
    told = [event["event_type"] for event in await events_of(server, task["task_id"])]
    waits = ["task.waiting", "task.resumed"]
    begun = ["task.created", "task.assigned", "task.started"]
    assert told == [*begun, *waits, *waits, "task.completed"]


async def test_what_is_delegated_at_once_is_done_side_by_side(
    server: Server, chief: Chief, obedient: Obedient
) -> None:
    many = [call(metadata={"n": number}) for number in range(5)]
    task = await led(server, *many, call("obey", metadata={"do": "wait"}), at_once=True)
    async with asyncio.timeout(PATIENCE):
        while True:
            if len(await children(server, task)) == 6:
                break
            await asyncio.sleep(0.01)  # asks again; each is a submission of its own
    obedient.gate.set()
    found = await answers(server, task)
    assert found[:5] == [{"n": number} for number in range(5)]
    assert chief.handled[task["task_id"]] == 2


async def test_a_waiting_task_says_so_and_leaves_its_place_to_others(
    server: Server, obedient: Obedient
) -> None:
    task = await led(server, call("obey", metadata={"do": "wait"}))
    await obedient.running.wait()
    # The chief has room for one task, and has one that waits.
    other = await led(server, call("chief-1", metadata={"calls": [call("chief-2")]}))
    assert len(await answers(server, other)) == 1
    seen = (await server.user.get(f"/tasks/{task['task_id']}")).json()
    assert (seen["status"], seen["pending_reason"]) == ("processing", "children")
    agent = (await server.admin.get("/agents/chief-01")).json()
    assert agent["current_load"] == 0
    obedient.gate.set()
    await answers(server, task)
    assert "pending_reason" not in (await server.user.get(f"/tasks/{task['task_id']}")).json()


async def test_a_chain_that_comes_round_or_grows_too_deep_is_refused(server: Server) -> None:
    circle = call("chief-1", metadata={"calls": [call("chief")]})
    error = await failure(server, await led(server, circle))
    assert error["code"] == "CONFLICT"
    assert "chief-01 (chief) → chief-01 (chief-1)" in error["message"]
    deep = call("ping")
    for depth in range(6, 0, -1):
        deep = call(f"chief-{depth}", metadata={"calls": [deep]})
    error = await failure(server, await led(server, deep))
    assert error["code"] == "CONFLICT"
    assert "5 deep" in error["message"]
    deep = call("chief-7")
    for depth in range(4, 0, -1):
        deep = call(f"chief-{depth}", metadata={"calls": [deep]})
    assert len(await answers(server, await led(server, deep))) == 1


async def test_a_delegated_task_that_fails_is_an_error_the_agent_may_catch(
    server: Server, obedient: Obedient
) -> None:
    bad = call("obey", metadata={"do": "fail"})
    task = await led(server, {**bad, "caught": True}, call(metadata={"n": 1}))
    caught, pinged = await answers(server, task)
    assert caught["code"] == "VALIDATION_ERROR"
    [failed, _] = await children(server, task)
    assert failed["task_id"] in caught["caught"]
    assert "It cannot be done." in caught["caught"]
    assert pinged == {"n": 1}
    error = await failure(server, await led(server, bad))
    assert "It cannot be done." in error["message"]


async def test_what_nobody_can_do_is_refused_at_once(server: Server) -> None:
    error = await failure(server, await led(server, call("juggle")))
    assert error["code"] == "VALIDATION_ERROR"
    assert "juggle" in error["message"]
    error = await failure(server, await led(server, call("ping", agent="chief-01")))
    assert "chief-01 cannot do ping" in error["message"]
    error = await failure(server, await led(server, call("ping", key="k" * 101)))
    assert "1 to 100" in error["message"]


async def test_two_calls_of_one_key_are_one(server: Server) -> None:
    task = await led(server, call(key="k", metadata={"n": 1}), call(key="k", metadata={"n": 2}))
    assert await answers(server, task) == [{"n": 1}, {"n": 1}]
    assert len(await children(server, task)) == 1
    error = await failure(server, await led(server, call(key="k"), call("twin", key="k")))
    assert "a key of its own" in error["message"]


async def test_an_attempt_after_a_crash_finds_what_was_delegated_before(
    server: Server, chief: Chief
) -> None:
    task = await led(server, call(metadata={"n": 1}), crash=True, max_attempts=2)
    assert await answers(server, task) == [{"n": 1}]
    assert len(await children(server, task)) == 1
    assert (await ended(server.user, task["task_id"]))["attempt"] == 2
    assert chief.handled[task["task_id"]] == 3


async def test_cancelling_a_task_cancels_what_it_delegated_down_to_the_last(
    server: Server, obedient: Obedient
) -> None:
    below = call("obey", metadata={"do": "hang"})
    task = await led(server, call("chief-1", metadata={"calls": [below]}))
    await obedient.running.wait()
    assert (await server.user.delete(f"/tasks/{task['task_id']}")).status_code == 200
    [middle] = await children(server, task)
    [last] = await children(server, middle)
    assert (middle["status"], last["status"]) == ("cancelled", "cancelled")
    follower = await submit(server.user, "obey")
    assert (await ended(server.user, follower["task_id"]))["status"] == "completed"
    assert obedient.stopped == [last["task_id"]]


async def test_what_was_delegated_does_not_outlive_a_task_that_failed(
    server: Server, obedient: Obedient
) -> None:
    hangs, fails = call("obey", metadata={"do": "hang"}), {"fail": "enough of that"}
    task = await led(server, hangs, fails, at_once=True)
    assert (await failure(server, task))["message"] == "enough of that"
    # Whether its end or the submission came first.
    assert {one["status"] for one in await children(server, task)} <= {"cancelled"}
    follower = await submit(server.user, "obey")
    assert (await ended(server.user, follower["task_id"]))["status"] == "completed"


async def test_cancelling_the_delegated_task_alone_is_told_to_its_parent(
    server: Server, obedient: Obedient
) -> None:
    task = await led(server, call("obey", metadata={"do": "hang"}, caught=True))
    await obedient.running.wait()
    [child] = await children(server, task)
    await server.user.delete(f"/tasks/{child['task_id']}")
    [caught] = await answers(server, task)
    assert caught["code"] == "CONFLICT"
    assert "was cancelled" in caught["caught"]
