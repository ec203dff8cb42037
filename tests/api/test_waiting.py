"""`wait=`: its bounds, and that it holds back nobody else."""

import asyncio

import httpx2
import pytest

from tests.api.agents import Obedient
from tests.api.server import (
    PATIENCE,
    Server,
    ended,
    error_of,
    on_a_socket,
    reached,
    submit,
    wrong_fields,
)
from tests.api.workflows import begun, obey, step

PATHS = ["", "/result"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wait", ["-0.1", "25.1", "1e9", "nan", "inf", "-inf", "", "5s", "0x5"])
async def test_a_wait_out_of_bounds_is_named(server: Server, path: str, wait: str) -> None:
    task = await submit(server.user)
    answer = await server.user.get(f"/tasks/{task['task_id']}{path}", params={"wait": wait})
    assert list(wrong_fields(answer)) == ["wait"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wait", ["0", "0.5", "20", "25", "2.5e1"])
async def test_of_a_task_that_has_ended_the_answer_comes_at_once(
    server: Server, path: str, wait: str
) -> None:
    task = await submit(server.user)
    await ended(server.user, task["task_id"])
    answer = await server.user.get(f"/tasks/{task['task_id']}{path}", params={"wait": wait})
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")


async def test_all_who_wait_are_answered_when_the_task_ends(
    server: Server, obedient: Obedient
) -> None:
    task = await submit(server.user, "obey", metadata={"do": "wait"})
    path = f"/tasks/{task['task_id']}"
    await reached(server.user, task["task_id"], "processing")
    waiting = [
        asyncio.create_task(client.get(f"{path}{more}", params={"wait": 25}))
        for client in (server.user, server.admin, server.viewer)
        for more in PATHS
    ]
    # Somebody who gives up takes nobody along.
    gone = asyncio.create_task(server.user.get(path, params={"wait": 25}))
    await asyncio.wait([gone], timeout=0.05)
    gone.cancel()
    assert (await server.anonymous.get("/health")).status_code == 200
    obedient.gate.set()
    for answer in await asyncio.gather(*waiting):
        assert (answer.status_code, answer.json()["status"]) == (200, "completed")


async def test_a_task_that_is_cancelled_ends_the_wait_for_its_result(
    server: Server, obedient: Obedient
) -> None:
    task = await submit(server.user, "obey", metadata={"do": "hang"})
    path = f"/tasks/{task['task_id']}"
    await reached(server.user, task["task_id"], "processing")
    waiting = asyncio.create_task(server.user.get(f"{path}/result", params={"wait": 25}))
    await asyncio.wait([waiting], timeout=1)  # for it to arrive, on a busy machine too
    assert (await server.user.delete(path)).status_code == 200
    error_of(await waiting, 409, "CONFLICT")


@pytest.mark.parametrize("path", PATHS)
async def test_what_one_may_not_read_or_is_not_there_is_not_waited_for(
    server: Server, path: str
) -> None:
    unknown = "01a20af4-87b8-77fe-ac03-3a69b1fb45d4"
    answer = await server.admin.get(f"/tasks/{unknown}{path}", params={"wait": 25})
    error_of(answer, 404, "NOT_FOUND")
    answer = await server.anonymous.get(f"/tasks/{unknown}{path}", params={"wait": 25})
    error_of(answer, 401, "UNAUTHORIZED")


async def test_a_server_that_stops_answers_whoever_waits_with_how_it_is(
    fresh_server: Server,
) -> None:
    task = await submit(fresh_server.user, run_at="2099-01-01T00:00:00Z")
    headers = {"authorization": fresh_server.user.headers["authorization"]}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as client:
        async with on_a_socket(fresh_server.application) as port:
            base = f"http://127.0.0.1:{port}/api/v1"
            waiting = [
                asyncio.create_task(
                    client.get(f"{base}/tasks/{task['task_id']}{path}", params={"wait": 25})
                )
                for path in PATHS
            ]
            await asyncio.wait(waiting, timeout=0.05)
            assert (await client.get(f"{base}/health")).status_code == 200
        shown, result = await asyncio.gather(*waiting)
    assert (shown.status_code, shown.json()["status"]) == (200, "pending")
    error_of(result, 504, "TASK_TIMEOUT")


async def test_all_who_wait_for_an_execution_are_answered_when_it_ends(
    server: Server, obedient: Obedient
) -> None:
    execution_id = await begun(server.developer, obey("a", "wait"))
    path = f"/executions/{execution_id}"
    async with asyncio.timeout(PATIENCE):
        await obedient.running.wait()
    waiting = [
        asyncio.create_task(client.get(path, params={"wait": 25}))
        for client in (server.developer, server.admin)
    ]
    early = (await server.developer.get(path, params={"wait": 0.01})).json()
    assert early["status"] == "running"
    obedient.gate.set()
    for answer in await asyncio.gather(*waiting):
        assert answer.json()["status"] == "completed"
        assert answer.json()["steps"][0]["output"]
    for wait in ("-1", "25.1", "nan", ""):
        answer = await server.developer.get(path, params={"wait": wait})
        assert list(wrong_fields(answer)) == ["wait"]
    answer = await server.developer.get("/executions/exec-0", params={"wait": 25})
    error_of(answer, 404, "NOT_FOUND")
    error_of(await server.viewer.get(path, params={"wait": 25}), 403, "FORBIDDEN")


async def test_a_server_that_stops_answers_who_waits_for_an_execution(
    fresh_server: Server,
) -> None:
    execution_id = await begun(fresh_server.admin, step("ask", type="approval"))
    headers = {"authorization": fresh_server.admin.headers["authorization"]}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as client:
        async with on_a_socket(fresh_server.application) as port:
            url = f"http://127.0.0.1:{port}/api/v1/executions/{execution_id}"
            waiting = asyncio.create_task(client.get(url, params={"wait": 25}))
            await asyncio.wait([waiting], timeout=1)  # for it to arrive, on a busy machine too
        shown = await waiting
    assert (shown.status_code, shown.json()["status"]) == (200, "running")
