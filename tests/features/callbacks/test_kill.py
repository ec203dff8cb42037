"""A server that is killed between two attempts goes on with the delivery when it is back."""

import asyncio
from pathlib import Path

import httpx2
import pytest
from standardwebhooks import Webhook

from tests.e2e.process import ServerProcess
from tests.features.callbacks.receiver import PATIENCE, Receiver, hang, status


@pytest.mark.parametrize("first", ["answers 500", "hangs"])
async def test_a_kill_between_and_amid_attempts_loses_no_delivery(
    database_url: str | None,
    data_dir: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    monkeypatch.setenv("SUTAZAI_CALLBACK_ALLOW", "127.0.0.0/8")
    monkeypatch.setenv("SUTAZAI_LEASE_SECONDS", "1")
    receiver.replies = [status(500) if first == "answers 500" else hang]
    server = await asyncio.to_thread(ServerProcess, data_dir, database_url=database_url)
    try:
        await asyncio.to_thread(server.wait_until_up)
        client = await asyncio.to_thread(server.client)
        task, secret = await asyncio.to_thread(_submit, client, receiver.url())
        await receiver.until_received(1)
        server.kill()
        await asyncio.to_thread(server.start_again)
        before, after = await receiver.until_received(2)
        delivery = await _delivered(client, task)
        client.close()
    finally:
        server.kill()
    assert before.headers["webhook-id"] == after.headers["webhook-id"]
    assert before.body == after.body
    assert Webhook(secret).verify(after.body, after.headers)["task_id"] == task
    # The kill may have come before the first attempt's end was written down.
    assert delivery["attempts"][-1]["status_code"] == 204
    assert len(receiver.received) == 2


def _submit(client: httpx2.Client, url: str) -> tuple[str, str]:
    secret = client.post("/callbacks/secret").json()["secret"]
    body = {"type": "ping", "description": "told", "callback_url": url}
    answer = client.post("/tasks", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["task_id"], secret


async def _delivered(client: httpx2.Client, task_id: str) -> dict[str, list[dict[str, int]]]:
    async with asyncio.timeout(PATIENCE):
        while True:
            params = {"task_id": task_id, "status": "delivered"}
            answer = await asyncio.to_thread(client.get, "/callbacks/deliveries", params=params)
            for delivery in answer.json()["deliveries"]:
                return dict(delivery)
            await asyncio.sleep(0.05)  # asks again; the log announces nothing
