from datetime import datetime, timedelta

import httpx2
import pytest

from sutazai.tasks import listing_store
from tests.api.server import JSON, Server, ended, error_of, new_user, submit, wrong_fields

LATER = "2999-01-01T00:00:00Z"


async def listed(client: httpx2.AsyncClient, **filters: str | int) -> JSON:
    answer = await client.get("/tasks", params=filters)
    assert answer.status_code == 200, answer.text
    page: JSON = answer.json()
    return page


def ids(page: JSON) -> list[str]:
    return [task["task_id"] for task in page["tasks"]]


async def test_a_list_has_the_fields_of_the_specification(fresh_server: Server) -> None:
    task = await submit(fresh_server.user, run_at=LATER)
    page = await listed(fresh_server.user, status="pending", limit=10, offset=0)
    assert (page["total"], page["limit"], page["offset"]) == (1, 10, 0)
    assert page["next_cursor"] is None
    assert "total_is_at_least" not in page
    [shown] = page["tasks"]
    assert (
        shown.items()
        >= {
            "task_id": task["task_id"],
            "type": "ping",
            "status": "pending",
            "priority": 5,
            "created_at": task["created_at"],
        }.items()
    )


async def test_the_newest_come_first_and_pages_meet(fresh_server: Server) -> None:
    made = [(await submit(fresh_server.user, run_at=LATER))["task_id"] for _ in range(7)]
    newest = made[::-1]
    by_offset = [
        one
        for offset in range(0, 9, 3)
        for one in ids(await listed(fresh_server.user, limit=3, offset=offset))
    ]
    assert by_offset == newest
    page = await listed(fresh_server.user, limit=3)
    by_cursor = ids(page)
    while page["next_cursor"] is not None:
        page = await listed(fresh_server.user, limit=3, cursor=page["next_cursor"])
        assert page["total"] == 7
        by_cursor += ids(page)
    assert by_cursor == newest


async def test_a_cursor_skips_and_repeats_nothing_while_tasks_come_in(
    fresh_server: Server,
) -> None:
    made = [(await submit(fresh_server.user, run_at=LATER))["task_id"] for _ in range(4)]
    page = await listed(fresh_server.user, limit=2)
    await submit(fresh_server.user, run_at=LATER)
    rest = await listed(fresh_server.user, limit=2, cursor=page["next_cursor"])
    assert ids(page) + ids(rest) == made[::-1]


async def test_totals_follow_every_change_of_status(fresh_server: Server) -> None:
    done = await submit(fresh_server.user)
    await ended(fresh_server.user, done["task_id"])
    waiting = [await submit(fresh_server.user, run_at=LATER) for _ in range(3)]
    await fresh_server.user.delete(f"/tasks/{waiting[0]['task_id']}")
    expected = {"completed": 1, "pending": 2, "cancelled": 1, "failed": 0, "queued": 0}
    for status, count in expected.items():
        page = await listed(fresh_server.user, status=status)
        assert (page["total"], len(page["tasks"])) == (count, count), status
    assert (await listed(fresh_server.user))["total"] == 4


async def test_filters_narrow_alone_and_together(fresh_server: Server) -> None:
    other = await new_user(fresh_server, "somebody", "user")
    mine = fresh_server.user
    a = await submit(mine, priority=9, tags=["red", "round"], run_at=LATER)
    b = await submit(mine, priority=2, tags=["red"], run_at=LATER)
    c = await submit(other, priority=9, tags=["round"], run_at=LATER)
    d = await submit(mine, "code_review", metadata={"code": "x = 1\n"})
    await ended(mine, d["task_id"])
    a, b, c, d = (task["task_id"] for task in (a, b, c, d))
    somebody = (await other.get("/auth/me")).json()["user_id"]
    expected: list[tuple[dict[str, str | int], list[str]]] = [
        ({"priority": 9}, [c, a]),
        ({"tag": "red"}, [b, a]),
        ({"type": "code_review"}, [d]),
        ({"agent": "code-reviewer-01"}, [d]),
        ({"submitter": somebody}, [c]),
        ({"submitter": "me"}, [d, b, a]),
        ({"status": "pending", "tag": "round"}, [c, a]),
        ({"status": "completed", "tag": "round"}, []),
        ({"tag": "red", "priority": 9, "type": "ping"}, [a]),
        ({"tag": "nothing has this"}, []),
        ({"type": "' OR '1'='1"}, []),
    ]
    for filters, wanted in expected:
        page = await listed(mine, **filters)
        assert (ids(page), page["total"]) == (wanted, len(wanted)), filters


async def test_times_narrow_with_the_later_bound_left_out(fresh_server: Server) -> None:
    made = [await submit(fresh_server.user, run_at=LATER) for _ in range(3)]
    moments = [task["created_at"] for task in made]
    first, second, third = (task["task_id"] for task in made)
    after = await listed(fresh_server.user, created_after=moments[1])
    assert ids(after) == [third, second]
    before = await listed(fresh_server.user, created_before=moments[1])
    assert ids(before) == [first]
    between = await listed(fresh_server.user, created_after=moments[1], created_before=moments[2])
    assert ids(between) == [second]
    elsewhere = datetime.fromisoformat(moments[1]) + timedelta(days=1)
    assert ids(await listed(fresh_server.user, created_after=elsewhere.isoformat())) == []
    for edge in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):
        assert (await listed(fresh_server.user, created_after=edge))["total"] in (0, 3)


async def test_a_total_beyond_the_counted_says_that_there_are_more(
    fresh_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_store, "MOST_COUNTED", 3)
    for _ in range(4):
        await submit(fresh_server.user, run_at=LATER, tags=["many"])
    page = await listed(fresh_server.user, tag="many", limit=1)
    assert (page["total"], page["total_is_at_least"]) == (3, True)
    page = await listed(fresh_server.user, status="pending", limit=1)
    assert page["total"] == 4
    assert "total_is_at_least" not in page


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "many"),
        ("offset", "-1"),
        ("offset", "99999999999999999999"),
        ("status", "done"),
        ("priority", "0"),
        ("priority", "11"),
        ("cursor", "nonsense"),
        ("created_after", "yesterday"),
        ("created_before", "2026-01-01"),
        ("tag", "\0"),
        ("type", "x" * 65),
    ],
)
async def test_a_wrong_parameter_is_named(server: Server, name: str, value: str) -> None:
    answer = await server.user.get("/tasks", params={name: value})
    assert list(wrong_fields(answer)) == [name]


async def test_every_role_may_list_and_nobody_else(server: Server) -> None:
    for client in server.clients.values():
        assert (await client.get("/tasks")).status_code == 200
    error_of(await server.anonymous.get("/tasks"), 401, "UNAUTHORIZED")
