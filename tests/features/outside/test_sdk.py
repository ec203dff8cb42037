"""Agents written with the SDK, against a server of their own that dies now and then."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sutazai_client import (
    Agent,
    Assignment,
    Cancelled,
    NotFound,
    SutazAIClient,
    TaskFailed,
    Unauthorized,
)

from tests.e2e.process import PASSWORD, ServerProcess
from tests.postgres import PostgresServer

PATIENCE = 60.0
PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server whose leases are short."""
    url = None
    if request.param == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        url = postgres.url(postgres.create(template=request.getfixturevalue("postgres_template")))
    data_dir = tmp_path_factory.mktemp("served") / "data"
    with ServerProcess(data_dir, database_url=url, lease_seconds=5) as server:
        yield server


@pytest.fixture
def client(served: ServerProcess) -> Iterator[SutazAIClient]:
    """Logged in as the admin."""
    with SutazAIClient(served.url.removesuffix("/api/v1"), attempts=8) as client:
        client.login("admin", PASSWORD)
        yield client


@contextlib.contextmanager
def working(agent: Agent) -> Iterator[None]:
    """The agent in a thread of its own; what ends it before its time is raised here."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            agent.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        agent.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)  # looks again; what is waited for is another process's


def is_online(client: SutazAIClient, agent_id: str) -> bool:
    with contextlib.suppress(NotFound):
        return bool(client.get_agent(agent_id)["status"] != "offline")
    return False


def done(client: SutazAIClient, task_id: str) -> object:
    client.wait_for_task(task_id, timeout=PATIENCE)
    return client.get_result(task_id)["result"]


def test_functions_do_tasks_and_say_how_far_they_are(client: SutazAIClient) -> None:
    agent = Agent("counting-01", client=client, capacity=2)
    shown = threading.Event()

    @agent.task("count_words")
    def count(assignment: Assignment) -> dict[str, int]:
        assignment.progress(50, words_seen=2)
        assert shown.wait(PATIENCE)
        return {"words": len(assignment.metadata["text"].split())}

    @agent.task("count_letters")
    async def letters(assignment: Assignment) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"letters": len(assignment.description)}

    with working(agent):
        until(lambda: is_online(client, "counting-01"))
        task = client.create_task("count_words", "", metadata={"text": "a b c"})["task_id"]
        until(lambda: client.get_task(task)["progress"] == 50)
        assert client.get_task(task)["metadata"]["words_seen"] == 2
        other = client.create_task("count_letters", "four")["task_id"]
        assert done(client, other) == {"letters": 4}
        shown.set()
        assert done(client, task) == {"words": 3}
    assert client.get_agent("counting-01")["metrics"]["tasks_completed"] == 2


def test_failures_crashes_and_answers_that_are_none(client: SutazAIClient) -> None:
    agent = Agent("troubled-01", client=client)

    @agent.task("trouble")
    def trouble(assignment: Assignment) -> dict[str, int] | None:
        match assignment.description:
            case "refuse":
                raise TaskFailed("There is no text.")
            case "crash once" if assignment.attempt == 1:
                raise RuntimeError("a secret of the inside")
            case "answer a number":
                return 5  # type: ignore[return-value]  # on purpose
        return None

    with working(agent):
        until(lambda: is_online(client, "troubled-01"))
        refused, crashing, wrong = (
            client.create_task("trouble", how)["task_id"]
            for how in ("refuse", "crash once", "answer a number")
        )
        assert client.wait_for_task(refused, PATIENCE)["error"] == {
            "code": "VALIDATION_ERROR",
            "message": "There is no text.",
        }
        assert done(client, crashing) == {}
        assert client.get_task(crashing)["attempt"] == 2
        error = client.wait_for_task(wrong, PATIENCE)["error"]
        assert "int" in error["message"]


def test_what_cannot_be_said_as_it_is_ends_the_task_all_the_same(client: SutazAIClient) -> None:
    agent = Agent("inept-01", client=client, capacity=8)
    results = {"set": {1}, "not a number": float("nan"), "half a character": "\ud800"}
    failures = {
        "long": TaskFailed("x" * 30_000, code="TOO_LONG"),
        "empty": TaskFailed(""),
        "NUL": TaskFailed("a\0b\ud800c", code="ODD"),
        "bad code": TaskFailed("full", code="out of disk"),
    }

    @agent.task("inept")
    def inept(assignment: Assignment) -> dict[str, object]:
        how = assignment.description
        if how in failures:
            raise failures[how]
        if how == "progress":
            assignment.progress(50, seen={1})  # type: ignore[arg-type]  # on purpose
        return {"value": results.get(how)}

    def error_of(task_id: str) -> tuple[str, str]:
        task = client.wait_for_task(task_id, PATIENCE)
        assert task["attempt"] == 1
        return task["error"]["code"], task["error"]["message"]

    with working(agent):
        until(lambda: is_online(client, "inept-01"))
        tasks = {how: client.create_task("inept", how)["task_id"] for how in (*results, *failures)}
        for how in results:
            code, message = error_of(tasks[how])
            assert (code, message.split(":")[0]) == (
                "INTERNAL_ERROR",
                "The agent's result is no JSON",
            )
        assert error_of(tasks["long"]) == ("TOO_LONG", "x" * 20_000)
        assert error_of(tasks["empty"]) == ("VALIDATION_ERROR", "The agent gave no reason.")
        assert error_of(tasks["NUL"]) == ("ODD", "a?b?c")
        assert error_of(tasks["bad code"]) == ("INTERNAL_ERROR", "out of disk: full")
        # A counter that is none is the function's own error, and not the agent's end.
        wrong = client.create_task("inept", "progress", max_attempts=1)["task_id"]
        assert "TypeError" in client.wait_for_task(wrong, PATIENCE)["error"]["message"]
        assert done(client, client.create_task("inept", "fine")["task_id"]) == {"value": None}


def test_a_cancelled_task_stops_its_function(client: SutazAIClient) -> None:
    agent = Agent("stoppable-01", client=client, capacity=2)
    begun = threading.Barrier(3)
    stopped: list[str] = []

    @agent.task("endless")
    def endless(assignment: Assignment) -> None:
        begun.wait(PATIENCE)
        try:
            while True:
                assignment.progress(1)
                time.sleep(0.02)  # what it does all the time
        except Cancelled:
            stopped.append("thread")
            raise

    @agent.task("endless_async")
    async def endless_async(assignment: Assignment) -> None:
        await asyncio.to_thread(begun.wait, PATIENCE)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append("loop")
            raise

    with working(agent):
        until(lambda: is_online(client, "stoppable-01"))
        tasks = [client.create_task(kind, "")["task_id"] for kind in ("endless", "endless_async")]
        begun.wait(PATIENCE)
        for task in tasks:
            client.cancel_task(task)
        until(lambda: sorted(stopped) == ["loop", "thread"])


def test_a_killed_server_costs_nothing_but_time(
    served: ServerProcess, client: SutazAIClient
) -> None:
    agent = Agent("patient-01", client=client)
    begun, go_on = threading.Event(), threading.Event()
    attempts: list[int] = []

    @agent.task("patience")
    def work(assignment: Assignment) -> dict[str, bool]:
        attempts.append(assignment.attempt)
        begun.set()
        assert go_on.wait(PATIENCE)
        return {"done": True}

    with working(agent):
        task = client.create_task("ping", "to see that it is up")["task_id"]
        done(client, task)
        until(lambda: is_online(client, "patient-01"))
        task = client.create_task("patience", "")["task_id"]
        assert begun.wait(PATIENCE)
        served.kill()
        go_on.set()  # the result is there while nobody is to take it
        served.start_again()
        assert done(client, task) == {"done": True}
        assert attempts == [1]
        assert client.get_task(task)["attempt"] == 1


def test_a_stopped_agent_gives_back_what_it_was_doing(
    served: ServerProcess, client: SutazAIClient, tmp_path: Path
) -> None:
    """By SIGTERM at once; after SIGKILL by the next one, or when the lease lapses."""
    joined = client.register_agent("mortal-01", name="x", type="x", capabilities=["endure"])
    key = joined["api_key"]
    notes = tmp_path / "notes"
    environment = {**os.environ, "SUTAZAI_AGENT_KEY": key, "SUTAZAI_URL": client.base_url}
    command = [sys.executable, str(PROGRAM), "mortal-01", "endure", str(notes)]

    def started(lines: int) -> "subprocess.Popen[bytes]":
        program = subprocess.Popen(command, env=environment)
        until(lambda: notes.exists() and len(notes.read_text().splitlines()) == lines)
        return program

    task = client.create_task("endure", "")["task_id"]
    program = started(1)
    program.send_signal(signal.SIGTERM)
    assert program.wait(PATIENCE) == 0
    for lines in (2, 3):
        # Who was killed cannot say so; its successor gives back what it held, or its lease lapses.
        program = started(lines)
        program.kill()
        program.wait(PATIENCE)
    attempts = [line.split() for line in notes.read_text().splitlines()]
    assert {task_id for task_id, _ in attempts} == {task}
    assert attempts[1][1] == "1"  # being stopped used no attempt up
    client.cancel_task(task)
    client.delete_agent("mortal-01")


def test_a_key_that_is_void_ends_the_agent(client: SutazAIClient) -> None:
    agent = Agent("unwanted-01", url=client.base_url, api_key="sk-sutazai-agent-nonsense")
    agent.task("whatever")(lambda assignment: None)
    with pytest.raises(Unauthorized):
        agent.run()


def test_an_agent_without_key_or_work_says_so() -> None:
    with pytest.raises(ValueError, match=r"@agent\.task"):
        Agent("idle").run()
    agent = Agent("keyless", url="http://127.0.0.1:9")
    agent.task("whatever")(lambda assignment: None)
    with pytest.raises(ValueError, match="SUTAZAI_AGENT_KEY"):
        agent.run()
