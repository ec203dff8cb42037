"""An agent of your own: functions that do tasks, wherever this program runs."""

import asyncio
import contextlib
import inspect
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from sutazai_client.assignment import Assignment, Cancelled, TaskFailed
from sutazai_client.client import SutazAIClient
from sutazai_client.doors import Door, HttpDoor
from sutazai_client.errors import Conflict, SutazAIError
from sutazai_client.joining import join

_logger = logging.getLogger("sutazai_client.agent")

_WAIT = 20.0
_PROGRESS_SECONDS = 0.25
_USUAL_LEASE = 10.0
# The key is void, or the agent was deleted.
_UNWANTED = frozenset({401, 403, 404})
# As the server takes a failure's.
_CODE = re.compile("[A-Z][A-Z0-9_]{0,31}")
_MOST_MESSAGE = 20_000
_SHORTEST_BEAT, _LONGEST_BEAT = 0.3, 5.0

Work = Callable[[Assignment], dict[str, Any] | Awaitable[dict[str, Any] | None] | None]
W = TypeVar("W", bound=Work)


class Agent:
    """Joins a server and does the tasks of the types that its functions take.

    Give the agent's own `api_key` (from `sutazai agent register`), or a `client` that is logged in
    as somebody who may change agents: then the agent registers itself. `capacity` is how many
    tasks it does at once, `drain_seconds` how long running ones may finish when it is stopped;
    what is not done by then is given back. One program runs an `agent_id` at a time. With a
    `redis_url` it talks through that Redis instead of HTTP (`sutazai-client[redis]`), and needs no
    key once it is registered.

        agent = Agent("word-counter-01", api_key="sk-sutazai-agent-…")

        @agent.task("word_count")
        def count(assignment):
            return {"words": len(assignment.metadata["text"].split())}

        agent.run()
    """

    def __init__(
        self,
        agent_id: str,
        *,
        url: str | None = None,
        api_key: str | None = None,
        client: SutazAIClient | None = None,
        name: str | None = None,
        type: str = "specialist",  # noqa: A002  # the API's word
        capacity: int = 1,
        drain_seconds: float = 10.0,
        redis_url: str | None = None,
    ) -> None:
        """`url` and `api_key` default to SUTAZAI_URL and SUTAZAI_AGENT_KEY of the environment."""
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.agent_id = agent_id
        self._url = url or (client.base_url if client else None) or os.environ.get("SUTAZAI_URL")
        self._api_key = api_key or os.environ.get("SUTAZAI_AGENT_KEY")
        self._client = client
        self._redis_url = redis_url
        self._said = {"name": name or agent_id, "type": type, "max_capacity": capacity}
        self._said["transport"] = "http" if redis_url is None else "redis"
        self._capacity = capacity
        self._drain_seconds = drain_seconds
        self._work: dict[str, Work] = {}
        self._running: dict[str, tuple[Assignment, asyncio.Task[None]]] = {}
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lease = _USUAL_LEASE

    def task(self, task_type: str) -> Callable[[W], W]:
        """Have a function do the tasks of a type.

        It gets an Assignment and returns the result, a dictionary of what JSON can say. A plain
        function runs in a thread of its own; one that is `async` in the agent's event loop, where
        it is cancelled when nobody wants its result any more.
        """

        def take(work: W) -> W:
            self._work[task_type] = work
            return work

        return take

    def run(self) -> None:
        """Work until SIGTERM, SIGINT or `stop`; SutazAIError where the server does not want it."""
        asyncio.run(self.serve())

    def stop(self) -> None:
        """End `run` in good order; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def serve(self) -> None:
        """As `run`, in an event loop of the caller's."""
        if not self._work:
            raise ValueError("The agent has nothing to do. Decorate a function with @agent.task.")
        self._loop = asyncio.get_running_loop()
        self._stopping.clear()
        door = await self._door()
        try:
            with self._signals():
                await self._serve(door)
        finally:
            await door.close()

    async def _door(self) -> Door:
        key = self._api_key
        if key is None and (self._redis_url is None or self._client is not None):
            said = {**self._said, "capabilities": list(self._work)}
            key = await asyncio.to_thread(join, self._client, self.agent_id, said)
        if self._redis_url is not None:
            # Only now: most agents do without that package.
            from sutazai_client.redis_door import RedisDoor

            return RedisDoor(self._redis_url, agent_id=self.agent_id)
        url = self._url or "http://localhost:10010"
        return HttpDoor(url, agent_id=self.agent_id, api_key=key or "")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        in_charge = threading.current_thread() is threading.main_thread()
        for number in numbers if in_charge else ():
            loop.add_signal_handler(number, self._stopping.set)
        try:
            yield
        finally:
            for number in numbers if in_charge else ():
                loop.remove_signal_handler(number)

    async def _serve(self, door: Door) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        working = asyncio.create_task(self._work_on(door))
        try:
            await asyncio.wait([stopping, working], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (stopping, working):
                one.cancel()
            (end,) = await asyncio.gather(working, return_exceptions=True)
        if isinstance(end, Exception):
            raise end

    async def _work_on(self, door: Door) -> None:
        await self._arrive(door)
        loops = [
            asyncio.create_task(work)
            for work in (self._claim(door), self._beat(door), self._tell(door))
        ]
        try:
            await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loops[0].cancel()
            await asyncio.wait(loops[:1])
            await self._drain(door)
            for one in loops:
                one.cancel()
            ends = await asyncio.gather(*loops, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _arrive(self, door: Door) -> None:
        """Go online; what a predecessor was doing when it died is given back."""
        pulse = await door.arrive()
        self._lease = float(pulse["lease_seconds"])
        for held in pulse["assignments"]:
            with contextlib.suppress(Conflict):
                reason = {"reason": "the agent was restarted"}
                await door.report(held["assignment_id"], "release", reason)
        _logger.info("%s is there for %s.", self.agent_id, ", ".join(self._work))

    # --- what goes on all the time

    async def _claim(self, door: Door) -> None:
        while True:
            self._changed.clear()
            free = self._capacity - len(self._running)
            if free <= 0:
                await self._changed.wait()
                continue
            for given in await door.claim(wait=_WAIT, limit=free):
                assignment = Assignment(given)
                doing = asyncio.create_task(self._do(door, assignment))
                self._running[assignment.assignment_id] = (assignment, doing)

    async def _beat(self, door: Door) -> None:
        while True:
            await asyncio.sleep(min(_LONGEST_BEAT, max(_SHORTEST_BEAT, self._lease / 3)))
            try:
                pulse = await door.beat(list(self._running))
            except SutazAIError as error:
                if error.status in _UNWANTED:
                    raise
                _logger.warning("The heartbeat failed: %s", error.message)
            else:
                self._lease = float(pulse["lease_seconds"])
                for assignment_id in pulse["cancelled"]:
                    self._cancel(assignment_id)

    async def _tell(self, door: Door) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            for assignment, _ in list(self._running.values()):
                said = assignment.take_progress()
                if said is None:
                    continue
                try:
                    await door.report(assignment.assignment_id, "progress", dict(said))
                except Conflict:
                    self._cancel(assignment.assignment_id)
                except SutazAIError as error:
                    _logger.warning("Progress was not told: %s", error)

    def _cancel(self, assignment_id: str) -> None:
        found = self._running.get(assignment_id)
        if found is not None:
            assignment, doing = found
            _logger.info("%s was cancelled.", assignment.task_id)
            assignment.cancel()
            doing.cancel()

    async def _drain(self, door: Door) -> None:
        doing = [task for _, task in self._running.values()]
        if doing:
            await asyncio.wait(doing, timeout=self._drain_seconds)
        left = list(self._running.values())
        for assignment, task in left:
            assignment.cancel()
            task.cancel()
        for assignment, _ in left:
            # Briefly: where the server is away, the lease lapses by itself.
            with contextlib.suppress(SutazAIError, TimeoutError):
                async with asyncio.timeout(8):
                    reason = {"reason": "the agent was stopped"}
                    await door.report(assignment.assignment_id, "release", reason)

    # --- one assignment

    async def _do(self, door: Door, assignment: Assignment) -> None:
        try:
            verb, body = await self._outcome(assignment)
            await self._hand_in(door, assignment, verb, body)
        except Cancelled:
            return
        finally:
            self._running.pop(assignment.assignment_id, None)
            self._changed.set()

    async def _hand_in(
        self, door: Door, assignment: Assignment, verb: str, body: dict[str, Any]
    ) -> None:
        try:
            await door.report(assignment.assignment_id, verb, body)
        except Conflict as error:
            _logger.warning("%s: %s", assignment.task_id, error.message)
        except SutazAIError as error:
            _logger.warning("%s: the server refused the report: %s", assignment.task_id, error)
            why = {"error": {"message": f"The agent's report was refused: {error}"[:_MOST_MESSAGE]}}
            with contextlib.suppress(SutazAIError):
                await door.report(assignment.assignment_id, "fail", why)

    async def _outcome(self, assignment: Assignment) -> tuple[str, dict[str, Any]]:
        try:
            work = self._work.get(assignment.type)
            if work is None:
                raise TaskFailed(f"{self.agent_id} has no function for {assignment.type!r}.")
            result = await _call(work, assignment)
        except TaskFailed as error:
            return "fail", {"error": _said(error)}
        except (Exception, SystemExit) as error:
            _logger.exception("%s: the attempt crashed.", assignment.task_id)
            message = f"The attempt crashed: {type(error).__name__}."
            return "fail", {"error": {"message": message, "retryable": True}}
        if result is not None and not isinstance(result, dict):
            message = f"The agent's result is not a dictionary but {type(result).__name__}."
            return "fail", {"error": {"message": message}}
        try:
            json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            said = TaskFailed(f"The agent's result is no JSON: {error}", code="INTERNAL_ERROR")
            return "fail", {"error": _said(said)}
        return "complete", {"result": result or {}}


def _said(failure: TaskFailed) -> dict[str, Any]:
    """A failure as the server takes it: none may get lost for how it is put."""
    code, message = str(failure.code), str(failure.message)
    if not _CODE.fullmatch(code):
        code, message = "INTERNAL_ERROR", f"{code}: {message}"
    # Neither lone surrogates nor NUL can be kept.
    message = message.encode("utf-8", "replace").decode().replace("\0", "?")[:_MOST_MESSAGE]
    return {
        "code": code,
        "message": message or "The agent gave no reason.",
        "retryable": bool(failure.retryable),
    }


async def _call(work: Work, assignment: Assignment) -> Any:
    if inspect.iscoroutinefunction(work):
        return await work(assignment)
    result = await _in_a_thread(work, assignment)
    return await result if inspect.isawaitable(result) else result


async def _in_a_thread(work: Work, assignment: Assignment) -> Any:
    """What the function returns; a thread that does not stop when told to holds nobody up."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = work(assignment)
        except BaseException as error:  # whatever it is, the loop is to hear of it
            # A future cannot hold StopIteration.
            failure = RuntimeError(repr(error)) if isinstance(error, StopIteration) else error
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=assignment.task_id, daemon=True).start()
    return await done
