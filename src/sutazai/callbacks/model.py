"""What a delivery is, what it says, and when it is tried again; plain values."""

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from sutazai.clock import SECOND
from sutazai.tasks.model import TaskEnded

MOST_BODY_BYTES = 20_000
_MOST_MESSAGE = 2_000
_LONGEST_WAIT = 24 * 3600 * SECOND

DELAYS = tuple(
    seconds * SECOND for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""Microseconds to wait after each failed attempt: the schedule of Standard Webhooks."""


class DeliveryStatus(StrEnum):
    """Where a delivery stands; only `pending` ones are sent."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Attempt(msgspec.Struct, frozen=True):
    """One try; times in microseconds. `error` says why it does not count as delivered."""

    started_at: int
    duration: int
    status_code: int | None
    error: str | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message about one task's end, to one URL; its id is the `webhook-id` of every attempt."""

    delivery_id: str
    task_id: str
    user_id: str
    url: str
    status: DeliveryStatus
    attempts: tuple[Attempt, ...]
    created_at: int
    next_attempt_at: int | None
    ended_at: int | None


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to list; unset fields do not narrow."""

    user_id: str | None = None
    task_id: str | None = None
    status: DeliveryStatus | None = None


class DeliveryPage(NamedTuple):
    """Newest first; `next_cursor` is None on the last page."""

    deliveries: list[Delivery]
    next_cursor: str | None


class NewSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret just made, shown this once; times in microseconds.

    `previous_until`: how long messages are signed with the one before, too.
    """

    secret: str
    created_at: int
    previous_until: int | None

    def __repr__(self) -> str:
        return f"NewSecret(created_at={self.created_at}, secret hidden)"


def body_of(ended: TaskEnded, *, public_url: str) -> str:
    """The message's JSON: the specification's task_id, status and result, and a failure's error.

    A result that would make it 20 kB or more is left out, and `result_url` says where it is.
    """
    shown: dict[str, Any] = {"task_id": ended.task_id, "status": ended.status, "result": None}
    if ended.error is not None:
        message = ended.error.message[:_MOST_MESSAGE]
        shown["error"] = {"code": ended.error.code, "message": message}
    if ended.result is not None:
        size = len(ended.result.encode())
        if size + len(msgspec.json.encode(shown)) < MOST_BODY_BYTES:
            shown["result"] = msgspec.Raw(ended.result.encode())
        else:
            shown["result_url"] = f"{public_url}/api/v1/tasks/{ended.task_id}/result"
    return msgspec.json.encode(shown).decode()


def delay_after(
    attempt: int, *, delays: tuple[int, ...], jitter: float, retry_after: float | None
) -> int:
    """Microseconds until the next attempt, after so many failed ones.

    `jitter` is a random number in [0, 1). The receiver's wish (`retry_after`, seconds) can make it
    later, up to a day.
    """
    usual = int(delays[min(attempt, len(delays)) - 1] * (0.9 + 0.2 * jitter))
    wished = 0 if retry_after is None else int(min(retry_after * SECOND, _LONGEST_WAIT))
    return max(usual, wished)
