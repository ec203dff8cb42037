"""Agents on Redis: the specification's AgentMessage over the durable assignments.

Redis forgets: a message is with whoever listens at that moment, or with nobody. So what was handed
out stays an assignment under lease, in the database. As long as somebody listens on an agent's
channel its leases are renewed here; what nothing was heard of is sent again, under the same message
id; and what comes back counts only while the lease holds, from whichever process it was sent.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from sutazai.adapters.redis_server import RedisServer, reason_of
from sutazai.agents.messages import (
    COORDINATOR,
    AgentMessage,
    Alive,
    Completed,
    GivenBack,
    Malformed,
    MessageType,
    NotDone,
    Said,
    channel_of,
    event_for,
    read_message,
    request_for,
    said_in,
)
from sutazai.agents.service import AgentDirectory
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.tasks.assignments import Assignments
from sutazai.tasks.claims import Given

TRANSPORT = "redis"

_logger = structlog.get_logger(__name__)

_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_CLAIM_SECONDS = 20.0
_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
# What is not with anybody who listens is not tried again at once.
_UNHEARD_SECONDS = 1.0
# How long nothing may be heard of an assignment before it is sent again; doubled each time.
_SILENCE_SECONDS = 30.0
_LONGEST_SILENCE = 600.0
# After a gap in a connection messages may be lost either way; those still on their way come first.
_AFTER_GAP_SECONDS = 3.0
# A process that has not sent a request lets the one that has take the answer.
_AFTER_YOU_SECONDS = 1.0
# A listener that hears nothing for so long asks whether Redis is still there.
_ASK_SECONDS = 10.0
_READERS = 8
_MOST_QUEUED = 500
_MOST_REMEMBERED = 10_000


class _Sent:
    """An assignment that an agent has, as far as is known here."""

    __slots__ = ("due", "given", "ours", "silence")

    def __init__(self, given: Given, *, ours: bool) -> None:
        self.given = given
        self.ours = ours
        self.silence = _SILENCE_SECONDS
        self.due = 0.0
        self.heard(first=True)

    def heard(self, *, first: bool = False) -> None:
        """It was just sent, or the agent has just spoken of it."""
        # Who has not sent it itself waits longer, for who has.
        self.silence = _SILENCE_SECONDS * (1 if self.ours or not first else 2)
        self.due = time.monotonic() + self.silence

    def sent_again(self) -> None:
        self.silence = min(2 * self.silence, _LONGEST_SILENCE)
        self.due = time.monotonic() + self.silence


class RedisAgents:
    """Hands assignments to agents on Redis, and takes what they answer."""

    def __init__(
        self,
        server: RedisServer,
        *,
        directory: AgentDirectory,
        assignments: Assignments,
        lease_seconds: float,
    ) -> None:
        self._client = server.client(_SECONDS)
        # Waiting for messages has no end of its own.
        self._listener = server.client(None)
        self._directory = directory
        self._assignments = assignments
        self._renew_seconds = min(5.0, lease_seconds / 3)
        self._present: frozenset[str] = frozenset()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._sent: dict[str, dict[str, _Sent]] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._queues = [asyncio.Queue[bytes](_MOST_QUEUED) for _ in range(_READERS)]
        self._loops: list[asyncio.Task[None]] = []
        self._later: set[asyncio.Task[None]] = set()
        self._renewed_at = 0.0

    async def start(self) -> None:
        """Begin to listen, and to look who is there."""
        loops = [self._listen(), self._watch(), *map(self._read, self._queues)]
        self._loops = [asyncio.create_task(loop) for loop in loops]

    async def stop(self) -> None:
        """Hand out nothing more; what agents have stays theirs, for whoever listens next."""
        tasks = {*self._loops, *self._serving.values(), *self._later}
        while tasks:
            for task in tasks:
                task.cancel()
            # More than once: a client in the middle of reconnecting can swallow it.
            _, tasks = await asyncio.wait(tasks, timeout=1)
        self._loops = []
        self._serving.clear()

    # --- who is there

    async def _watch(self) -> None:
        pause, is_lost = _LOOK_SECONDS, False
        while True:
            try:
                await self._look()
                pause, is_lost = _LOOK_SECONDS, False
            except (RedisError, OSError, TimeoutError) as error:
                if not is_lost:
                    _logger.warning("agents.redis_lost", reason=reason_of(error))
                is_lost = True
                self._note_present(frozenset())
                pause = min(2 * pause, _LONGEST_PAUSE)
            except SutazaiError as error:
                _logger.warning("agents.redis_look_failed", reason=error.message)
            except Exception:  # one look that fails must not be the last
                _logger.exception("agents.redis_look_failed")
            await asyncio.sleep(pause)

    async def _look(self) -> None:
        ids = [one.agent_id for one in self._directory.agents() if one.transport == TRANSPORT]
        present: frozenset[str] = frozenset()
        if ids:
            counts = await self._client.pubsub_numsub(*map(channel_of, ids))
            listened = {_text(name) for name, count in counts if count > 0}
            present = frozenset(one for one in ids if channel_of(one) in listened)
        self._note_present(present)
        for agent_id in present:
            await self._send_again(agent_id)
        if time.monotonic() - self._renewed_at >= self._renew_seconds:
            self._renewed_at = time.monotonic()
            for agent_id in sorted(present):
                await self._renew(agent_id)

    def _note_present(self, present: frozenset[str]) -> None:
        for agent_id in self._present - present:
            self._serving.pop(agent_id).cancel()
        for agent_id in present - self._present:
            self._suspect(agent_id)
            self._serving[agent_id] = asyncio.create_task(self._serve(agent_id))
            self._renewed_at = 0.0
        self._present = present

    def _suspect(self, agent_id: str) -> None:
        """What this agent has may not have reached it, or its answer not us."""
        soon = time.monotonic() + _AFTER_GAP_SECONDS
        for sent in self._sent.get(agent_id, {}).values():
            sent.due = min(sent.due, soon)

    async def _renew(self, agent_id: str) -> None:
        """The agent is there, so what it has stays its; tell it of what is not any more."""
        known = self._sent.setdefault(agent_id, {})
        before = set(known)
        pulse = await self._beat(agent_id)
        if pulse is None:
            return
        for assignment_id in before - pulse:
            # Cancelled, over its time, or handed to another.
            if known.pop(assignment_id, None) is not None:
                told = {"action": "cancel", "assignment_id": assignment_id}
                await self._tell(agent_id, assignment_id, told)
        unknown = pulse - set(known)
        if unknown:
            for given in await self._assignments.held(agent_id, unknown):
                known.setdefault(given.assignment.assignment_id, _Sent(given, ours=False))

    async def _beat(self, agent_id: str) -> set[str] | None:
        try:
            pulse = await self._assignments.heartbeat(agent_id)
        except SutazaiError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                _logger.warning("agents.redis_not_renewed", reason=error.message)
            return None
        return {one.assignment_id for one in pulse.assignments}

    # --- to the agents

    async def _serve(self, agent_id: str) -> None:
        """Hand over whatever there is for one agent, for as long as it is there."""
        while True:
            try:
                agent = self._directory.agent(agent_id)
                capacity = agent.max_capacity if agent else 1
                given = await self._assignments.claim(
                    agent_id, wait=_CLAIM_SECONDS, limit=max(1, min(capacity, 100))
                )
                for one in given:
                    await self._hand_over(agent_id, one)
            except SutazaiError as error:
                if error.code is not ErrorCode.NOT_FOUND:
                    _logger.warning("agents.redis_claim_failed", reason=error.message)
                await asyncio.sleep(_PAUSE)
            except Exception:
                _logger.exception("agents.redis_claim_failed")
                await asyncio.sleep(_PAUSE)

    async def _hand_over(self, agent_id: str, given: Given) -> None:
        assignment_id = given.assignment.assignment_id
        self._sent.setdefault(agent_id, {})[assignment_id] = _Sent(given, ours=True)
        try:
            heard = await self._client.publish(
                channel_of(agent_id), request_for(given.assignment, agent_id)
            )
            reason = "nobody listens on the agent's channel"
        except (RedisError, OSError, TimeoutError) as error:
            heard, reason = 0, f"Redis cannot be reached: {reason_of(error)}"
        if heard == 0:
            self._sent[agent_id].pop(assignment_id, None)
            with contextlib.suppress(SutazaiError):  # else its lease lapses
                await self._assignments.release(
                    agent_id, assignment_id, reason=reason, delay_seconds=_UNHEARD_SECONDS
                )

    async def _send_again(self, agent_id: str) -> None:
        now = time.monotonic()
        for sent in list(self._sent.get(agent_id, {}).values()):
            if sent.due <= now:
                sent.sent_again()
                await self._client.publish(
                    channel_of(agent_id), request_for(sent.given.assignment, agent_id)
                )

    async def _tell(self, agent_id: str, correlation_id: str, payload: Mapping[str, Any]) -> None:
        # Only to spare it work: that nothing more counts is seen to elsewhere.
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await self._client.publish(
                channel_of(agent_id), event_for(agent_id, correlation_id, payload)
            )

    # --- from the agents

    async def _listen(self) -> None:
        pause = _PAUSE
        while True:
            try:
                async with self._listener.pubsub() as channel:
                    await channel.subscribe(channel_of(COORDINATOR))
                    pause = _PAUSE
                    for agent_id in list(self._sent):
                        self._suspect(agent_id)
                    await self._hear(channel)
            except (RedisError, OSError, TimeoutError) as error:
                _logger.warning("agents.redis_unheard", reason=reason_of(error))
            except Exception:
                _logger.exception("agents.redis_unheard")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _hear(self, channel: PubSub) -> None:
        """Until the connection breaks, or says nothing although it was asked."""
        asked = False
        while True:
            message = await channel.get_message(timeout=_ASK_SECONDS)
            if message is None:
                if asked:
                    raise TimeoutError("no answer in time")
                await channel.ping()
            elif message["type"] == "message":
                data: bytes = message["data"]
                await self._queues[_shard(data)].put(data)
            asked = message is None

    async def _read(self, queue: asyncio.Queue[bytes]) -> None:
        while True:
            data = await queue.get()
            try:
                await self._take(data)
            except SutazaiError as error:
                _logger.warning("agents.message_not_taken", reason=error.message)
            except Exception:
                _logger.exception("agents.message_not_taken")

    async def _take(self, data: bytes) -> None:
        try:
            message = read_message(data)
            if message.type is MessageType.REQUEST or self._knows(message):
                return
            said = said_in(message)
        except Malformed as error:
            await self._refuse(error)
            return
        agent_id, assignment_id = message.from_agent, message.correlation_id
        if assignment_id is None:
            if isinstance(said, Alive) and self._is_ours(agent_id):
                await self._assignments.heartbeat(agent_id, holding=[])
            return
        sent = self._sent.get(agent_id, {}).get(assignment_id)
        if sent is not None and sent.ours:
            await self._report(agent_id, assignment_id, said)
        else:
            self._in_a_moment(agent_id, assignment_id, said)

    def _is_ours(self, agent_id: str) -> bool:
        agent = self._directory.agent(agent_id)
        return agent is not None and agent.transport == TRANSPORT

    def _knows(self, message: AgentMessage) -> bool:
        """Whether this very message came before."""
        key = f"{message.from_agent}\0{message.message_id}"
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def _in_a_moment(self, agent_id: str, assignment_id: str, said: Said) -> None:
        async def later() -> None:
            await asyncio.sleep(_AFTER_YOU_SECONDS)
            try:
                await self._report(agent_id, assignment_id, said)
            except SutazaiError as error:
                _logger.warning("agents.message_not_taken", reason=error.message)

        if len(self._later) < _MOST_REMEMBERED:
            task = asyncio.create_task(later())
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    async def _report(self, agent_id: str, assignment_id: str, said: Said) -> None:
        known = self._sent.get(agent_id, {})
        try:
            match said:
                case Completed(result=result):
                    await self._assignments.complete(agent_id, assignment_id, result)
                    known.pop(assignment_id, None)
                case NotDone(code=code, message=text, retryable=retryable):
                    await self._assignments.fail(
                        agent_id, assignment_id, code=code, message=text, retryable=retryable
                    )
                    known.pop(assignment_id, None)
                case GivenBack(reason=reason):
                    await self._assignments.release(
                        agent_id, assignment_id, reason=reason, delay_seconds=_UNHEARD_SECONDS
                    )
                    known.pop(assignment_id, None)
                case Alive():
                    await self._alive(agent_id, assignment_id, said)
        except SutazaiError as error:
            if error.code is ErrorCode.VALIDATION_ERROR:  # a result that is too large
                await self._fail(agent_id, assignment_id, error.message)
            elif error.code in (ErrorCode.CONFLICT, ErrorCode.NOT_FOUND):
                known.pop(assignment_id, None)
                await self._tell_refused(agent_id, assignment_id, error)
            else:
                raise

    async def _alive(self, agent_id: str, assignment_id: str, said: Alive) -> None:
        sent = self._sent.get(agent_id, {}).get(assignment_id)
        if sent is not None:
            sent.heard()
        if said.progress is not None or said.counters:
            await self._assignments.progress(
                agent_id, assignment_id, said.progress or 0, said.counters
            )
        else:
            await self._assignments.heartbeat(agent_id, holding=[assignment_id])

    async def _refuse(self, error: Malformed) -> None:
        """Tell the agent that it was not understood; an answer that was not is a failed attempt."""
        agent_id, assignment_id = error.from_agent, error.correlation_id
        _logger.info("agents.message_refused", agent=(agent_id or "")[:64], reason=str(error))
        if agent_id is None or assignment_id is None or not self._is_ours(agent_id):
            return
        sent = self._sent.get(agent_id, {}).get(assignment_id)
        if sent is not None and not sent.ours:
            return
        text = f"The agent's message was refused: {error}."
        if error.type is MessageType.RESPONSE:
            await self._fail(agent_id, assignment_id, text)
        else:
            wrong = SutazaiError(ErrorCode.VALIDATION_ERROR, text)
            await self._tell_refused(agent_id, assignment_id, wrong)

    async def _fail(self, agent_id: str, assignment_id: str, text: str) -> None:
        """End an attempt whose answer is none; another, perhaps of another agent, may do better."""
        self._sent.get(agent_id, {}).pop(assignment_id, None)
        wrong = SutazaiError(ErrorCode.VALIDATION_ERROR, text)
        try:
            await self._assignments.fail(
                agent_id, assignment_id, code=wrong.code, message=text, retryable=True
            )
            await self._tell_refused(agent_id, assignment_id, wrong)
        except SutazaiError as error:
            if error.code not in (ErrorCode.CONFLICT, ErrorCode.NOT_FOUND):
                raise
            await self._tell_refused(agent_id, assignment_id, error)

    async def _tell_refused(self, agent_id: str, assignment_id: str, error: SutazaiError) -> None:
        if self._is_ours(agent_id):
            told = {
                "action": "refused",
                "assignment_id": assignment_id,
                "error": {"code": str(error.code), "message": error.message},
            }
            await self._tell(agent_id, assignment_id[:128], told)


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _shard(data: bytes) -> int:
    """Which reader takes a message: all of one agent go to one, so they stay in their order."""
    start = data.find(b'"from_agent"')
    return hash(data[start : start + 90].partition(b",")[0]) % _READERS
