"""The specification's AgentMessage: how the server and agents on Redis talk.

A message is a JSON object on the receiver's channel, `agent:{agent_id}`. A request hands over an
assignment, whose id is the `correlation_id`; whatever the agent says of it carries that id.
"""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from sutazai import clock, ids
from sutazai.agents.contract import FAILURE_CODE, Assignment
from sutazai.errors import ErrorCode

COORDINATOR = "master-coordinator"
"""Who writes to agents, and whom they answer."""
MOST_MESSAGE_BYTES = 10 * 1024 * 1024
"""As for a request over HTTP."""

_MOST_COUNTERS = 20
_MOST_TEXT = 20_000
_MOST_COUNT = 2**53
_COUNTER = re.compile(r"[a-z][a-z0-9_]{0,63}")
# What the events of a task say themselves, and what is no counter.
_TAKEN = frozenset(
    {"task_id", "type", "status", "attempt", "assigned_agent", "assignment_id", "progress"}
)


def channel_of(agent_id: str) -> str:
    """The channel that an agent listens to."""
    return f"agent:{agent_id}"


class MessageType(StrEnum):
    """What a message is for."""

    REQUEST = "request"
    RESPONSE = "response"
    EVENT = "event"


class AgentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message; `timestamp` as its sender writes it, ours in RFC 3339."""

    message_id: str
    from_agent: str
    to_agent: str
    type: MessageType
    payload: dict[str, Any]
    timestamp: Any = None
    correlation_id: str | None = None


class Malformed(Exception):
    """What came is no message that could be understood; the text says why.

    `correlation_id`, `from_agent` and `type` are those that it names all the same, if it does.
    """

    def __init__(
        self,
        reason: str,
        *,
        correlation_id: str | None = None,
        from_agent: str | None = None,
        type: MessageType | None = None,  # noqa: A002  # the message's word
    ) -> None:
        super().__init__(reason)
        self.correlation_id = correlation_id
        self.from_agent = from_agent
        self.type = type


class Completed(msgspec.Struct, frozen=True):
    """The assignment is done; this came of it."""

    result: dict[str, Any]


class NotDone(msgspec.Struct, frozen=True):
    """The assignment cannot be done; only a `retryable` failure uses up further attempts."""

    code: str
    message: str
    retryable: bool


class GivenBack(msgspec.Struct, frozen=True):
    """The agent does not do it after all; no attempt is used up."""

    reason: str


class Alive(msgspec.Struct, frozen=True):
    """The agent is at it: how far in percent, None where it does not say, and what it counts."""

    progress: int | None
    counters: dict[str, int]


Said = Completed | NotDone | GivenBack | Alive


class _Envelope(msgspec.Struct):
    """A message whose payload has not been looked into yet."""

    message_id: str
    from_agent: str
    type: MessageType
    payload: msgspec.Raw
    to_agent: str = COORDINATOR
    timestamp: Any = None
    correlation_id: str | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_object = msgspec.json.Decoder(dict[str, Any])


def request_for(assignment: Assignment, agent_id: str) -> bytes:
    """The request that hands over an assignment; the same bytes but for the time, however often.

    What the task's metadata says stands beside the message's own words, which go before it.
    """
    payload = {
        **assignment.metadata,
        "action": assignment.type,
        "task_id": assignment.task_id,
        "assignment_id": assignment.assignment_id,
        "description": assignment.description,
        "attempt": assignment.attempt,
    }
    if assignment.traceparent is not None:
        payload["traceparent"] = assignment.traceparent
    # An agent may throw away what it has seen: who sends it again sends the same message.
    digest = hashlib.sha256(assignment.assignment_id.encode()).hexdigest()
    return _message(
        agent_id, MessageType.REQUEST, payload, assignment.assignment_id, f"msg-{digest[:20]}"
    )


def event_for(agent_id: str, correlation_id: str, payload: Mapping[str, Any]) -> bytes:
    """Something that an agent should know of an assignment it has, or had."""
    return _message(agent_id, MessageType.EVENT, payload, correlation_id, ids.new_id("msg"))


def _message(
    agent_id: str,
    kind: MessageType,
    payload: Mapping[str, Any],
    correlation_id: str,
    message_id: str,
) -> bytes:
    message = AgentMessage(
        message_id=message_id,
        from_agent=COORDINATOR,
        to_agent=agent_id,
        type=kind,
        payload=dict(payload),
        timestamp=clock.to_iso(clock.now()),
        correlation_id=correlation_id,
    )
    return msgspec.json.encode(message)


def read_message(data: bytes) -> AgentMessage:
    """A message from an agent. Raises Malformed."""
    if len(data) > 4 * MOST_MESSAGE_BYTES:
        raise Malformed("it is far too large to be looked into")
    try:
        envelope = _envelope.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"it is no AgentMessage: {error}"[:300]) from None
    about = _about(envelope)
    if len(data) > MOST_MESSAGE_BYTES:
        most = MOST_MESSAGE_BYTES // (1024 * 1024)
        reason = f"it has {len(data):,} bytes, and at most {most} MiB are taken"
        raise Malformed(reason, **about)
    try:
        payload = _object.decode(envelope.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"its payload is no JSON object: {error}"[:300], **about) from None
    return AgentMessage(
        message_id=envelope.message_id[:200],
        from_agent=envelope.from_agent,
        to_agent=envelope.to_agent,
        type=envelope.type,
        payload=payload,
        timestamp=envelope.timestamp,
        correlation_id=envelope.correlation_id,
    )


def _about(message: _Envelope | AgentMessage) -> dict[str, Any]:
    return {
        "correlation_id": message.correlation_id,
        "from_agent": message.from_agent,
        "type": message.type,
    }


def said_in(message: AgentMessage) -> Said:
    """What a response or an event says of an assignment. Raises Malformed."""
    about = _about(message)
    payload = message.payload
    if message.type is MessageType.EVENT:
        return _alive(payload, about)
    match payload.get("status"):
        case "completed":
            result = payload.get("result")
            if not isinstance(result, dict):
                raise Malformed("its `result` is no JSON object", **about)
            return Completed(result)
        case "failed":
            return _not_done(payload.get("error"), about)
        case "released":
            reason = payload.get("reason")
            return GivenBack(reason[:1000] if isinstance(reason, str) else "")
        case _:
            raise Malformed("its `status` is neither `completed` nor `failed`", **about)


def _not_done(error: Any, about: Mapping[str, Any]) -> NotDone:
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        raise Malformed("its `error` has no `message`", **about)
    message = error["message"].replace("\0", "\ufffd")[:_MOST_TEXT].strip()
    code = error.get("code")
    kept: str = ErrorCode.INTERNAL_ERROR
    if isinstance(code, str) and re.fullmatch(FAILURE_CODE, code):
        kept = code
    elif isinstance(code, str) and code:
        # What is no code is shown all the same: it may say more than the message.
        message = f"{code[:100]}: {message}"
    return NotDone(
        kept,
        message or "The agent gave no reason.",
        error.get("retryable") is True,
    )


def _alive(payload: Mapping[str, Any], about: Mapping[str, Any]) -> Alive:
    percent = payload.get("progress")
    if percent is not None and not (_is_count(percent) and percent <= 100):
        raise Malformed("its `progress` is no whole number from 0 to 100", **about)
    counters = {
        name: int(value)
        for name, value in payload.items()
        if name not in _TAKEN and _COUNTER.fullmatch(name) and _is_count(value)
    }
    return Alive(
        None if percent is None else int(percent), dict(list(counters.items())[:_MOST_COUNTERS])
    )


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and 0 <= value <= _MOST_COUNT
