"""The client: one method for each thing the server can do."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from sutazai_client.calls import given, part
from sutazai_client.errors import SutazAIError, WaitTimeout
from sutazai_client.findings import FindingCalls
from sutazai_client.tokens import MemoryTokens, Tokens, TokenStore
from sutazai_client.transport import Transport, tokens_of

FINAL = frozenset({"completed", "failed", "cancelled"})
"""The statuses in which a task has ended."""

_LONGEST_WAIT = 20.0
_SHORTEST_POLL = 0.2


class SutazAIClient(FindingCalls):
    """Talks to one server, as one user; answers are the API's JSON as dictionaries.

    Give `token` (an access token) or `api_key`, or call `login`. Tokens of a login are renewed by
    themselves. `timeout` is seconds for one request, `attempts` how often one is tried where the
    server is out of reach or busy: repeating is safe, nothing happens twice. Methods raise
    SutazAIError.

        with SutazAIClient() as client:
            client.login("admin", password)
            task = client.create_task("code_review", "Review the parser", metadata={"file": "p.py"})
            print(client.get_result(task["task_id"], wait=60)["result"]["summary"])
    """

    def __init__(
        self,
        base_url: str = "http://localhost:10010",
        token: str | None = None,
        *,
        api_key: str | None = None,
        tokens: TokenStore | None = None,
        timeout: float = 30.0,
        attempts: int = 4,
    ) -> None:
        store = MemoryTokens(Tokens(token) if token else None) if tokens is None else tokens
        self._transport = Transport(
            base_url, store=store, api_key=api_key, timeout=timeout, attempts=attempts
        )

    @property
    def base_url(self) -> str:
        """The server's address, without `/api/v1`."""
        return self._transport.base_url

    @property
    def token(self) -> str | None:
        """The access token in use; None without a session."""
        tokens = self._transport.store.load()
        return None if tokens is None else tokens.access_token

    @property
    def tokens(self) -> Tokens | None:
        """The session's tokens, to be kept by who wants to go on with it later."""
        return self._transport.store.load()

    def close(self) -> None:
        """Let the connections go; the session stays."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- who one is

    def login(self, username: str, password: str) -> str:
        """Start a session; returns its access token."""
        pair = self._transport.open("/auth/login", {"username": username, "password": password})
        tokens = tokens_of(pair)
        self._transport.store.save(tokens)
        return tokens.access_token

    def refresh(self) -> str:
        """Renew the tokens now; done by itself when they are about to lapse."""
        tokens = self._transport.store.load()
        renewed = None if tokens is None else self._transport.renew(tokens)
        if renewed is None:
            raise SutazAIError("There is no session to renew. Log in first.", code="UNAUTHORIZED")
        return renewed.access_token

    def logout(self) -> None:
        """End the session; its tokens are void."""
        self._transport.call("POST", "/auth/logout")
        self._transport.store.save(None)

    def me(self) -> dict[str, Any]:
        """The account in use, with its roles, tier and permissions."""
        return self._dict("GET", "/auth/me")

    # --- tasks

    def create_task(
        self,
        task_type: str,
        description: str,
        *,
        idempotency_key: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Submit a task; once this returns, the server will not lose it.

        Further fields: `priority` (1 to 10), `metadata`, `timeout_seconds`, `max_attempts`,
        `run_at`, `depends_on`, `agent`, `tags`, `callback_url`. The same `idempotency_key` never
        makes a second task; without one, each call makes one task, however often it has to be sent.
        """
        body = {"type": task_type, "description": description, **kwargs}
        return self._dict("POST", "/tasks", body=body, key=idempotency_key)

    def get_task(self, task_id: str, *, wait: float = 0) -> dict[str, Any]:
        """A task as it is now; with `wait`, as soon as it has ended or so many seconds are over.

        The server waits for 25 seconds at most; see `wait_for_task`.
        """
        params = {"wait": wait} if wait > 0 else None
        return self._dict("GET", f"/tasks/{part(task_id)}", params=params, wait=wait)

    def wait_for_task(self, task_id: str, timeout: float = 300) -> dict[str, Any]:
        """The task once it is completed, failed or cancelled.

        TimeoutError after `timeout` seconds; the task goes on.
        """
        return _wait(f"Task {task_id}", partial(self.get_task, task_id), timeout)

    def get_result(self, task_id: str, *, wait: float = 0) -> dict[str, Any]:
        """What came of a task: `status`, and `result` or `error`.

        Waits for the end up to `wait` seconds, any number; then, and for a cancelled task, raises.
        """
        if wait > _LONGEST_WAIT:
            self.wait_for_task(task_id, timeout=wait)
            wait = 0
        params = {"wait": wait} if wait > 0 else None
        return self._dict("GET", f"/tasks/{part(task_id)}/result", params=params, wait=wait)

    def list_tasks(self, **filters: Any) -> dict[str, Any]:
        """A page of tasks, newest first: `tasks`, `total`, `next_cursor`.

        Filters: `status`, `type`, `agent`, `priority`, `tag`, `submitter`, `created_after`,
        `created_before`; `limit` (up to 100), `offset` or `cursor`.
        """
        return self._dict("GET", "/tasks", params=given(filters))

    def iter_tasks(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Every task that matches, newest first, page after page. Filters: see `list_tasks`."""
        cursor = filters.pop("cursor", None)
        filters.setdefault("limit", 100)
        while True:
            page = self.list_tasks(**filters, cursor=cursor)
            yield from page["tasks"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def cancel_task(self, task_id: str) -> dict[str, Any]:
        """End a task that is waiting or running."""
        return self._dict("DELETE", f"/tasks/{part(task_id)}")

    # --- workflows

    def create_workflow(
        self,
        name: str,
        steps: Sequence[Mapping[str, Any]],
        *,
        description: str = "",
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Keep a workflow; each step has at least `step_id` and `type`."""
        body = {"name": name, "description": description, "steps": list(steps)}
        return self._dict("POST", "/workflows", body=body, key=idempotency_key)

    def get_workflow(self, workflow_id: str) -> dict[str, Any]:
        """A workflow in its newest version, with its steps."""
        return self._dict("GET", f"/workflows/{part(workflow_id)}")

    def list_workflows(self, **page: Any) -> dict[str, Any]:
        """A page of workflows, newest first: `workflows`, `next_cursor`; `limit`, `cursor`."""
        return self._dict("GET", "/workflows", params=given(page))

    def iter_workflows(self) -> Iterator[dict[str, Any]]:
        """Every workflow, newest first."""
        return self._pages("/workflows", "workflows", {})

    def update_workflow(
        self,
        workflow_id: str,
        name: str,
        steps: Sequence[Mapping[str, Any]],
        *,
        description: str = "",
    ) -> dict[str, Any]:
        """Make a workflow's next version; executions keep theirs."""
        body = {"name": name, "description": description, "steps": list(steps)}
        return self._dict("PUT", f"/workflows/{part(workflow_id)}", body=body)

    def delete_workflow(self, workflow_id: str) -> None:
        """Take a workflow away; its executions go on and can be read.

        Conflict where other workflows or schedules execute it.
        """
        self._transport.call("DELETE", f"/workflows/{part(workflow_id)}")

    def plan_workflow(
        self,
        workflow_id: str,
        input: Mapping[str, Any] | None = None,  # noqa: A002  # the API's word
    ) -> dict[str, Any]:
        """What an execution with this input would do: order, agents, what is cached, time.

        Executes nothing.
        """
        path = f"/workflows/{part(workflow_id)}/plan"
        return self._dict("POST", path, body={"input": dict(input or {})})

    def execute_workflow(
        self,
        workflow_id: str,
        input: Mapping[str, Any] | None = None,  # noqa: A002  # the API's word
        *,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Begin a workflow; once this returns, the server will not lose the execution."""
        path = f"/workflows/{part(workflow_id)}/execute"
        return self._dict("POST", path, body={"input": dict(input or {})}, key=idempotency_key)

    # --- executions

    def list_executions(self, workflow_id: str, **page: Any) -> dict[str, Any]:
        """A page of a workflow's executions, newest first: `executions`, `next_cursor`."""
        path = f"/workflows/{part(workflow_id)}/executions"
        return self._dict("GET", path, params=given(page))

    def iter_executions(self, workflow_id: str) -> Iterator[dict[str, Any]]:
        """Every execution of a workflow, newest first."""
        return self._pages(f"/workflows/{part(workflow_id)}/executions", "executions", {})

    def get_execution(self, execution_id: str, *, wait: float = 0) -> dict[str, Any]:
        """An execution with every step, its task, its times and its output.

        With `wait`, as soon as it has ended or so many seconds are over, 25 at most; see
        `wait_for_execution`.
        """
        params = {"wait": wait} if wait > 0 else None
        return self._dict("GET", f"/executions/{part(execution_id)}", params=params, wait=wait)

    def wait_for_execution(self, execution_id: str, timeout: float = 300) -> dict[str, Any]:
        """The execution with its steps once it is completed, failed or cancelled.

        TimeoutError after `timeout` seconds; the execution goes on.
        """
        return _wait(execution_id, partial(self.get_execution, execution_id), timeout)

    def cancel_execution(self, execution_id: str) -> dict[str, Any]:
        """End an execution and its tasks."""
        return self._dict("DELETE", f"/executions/{part(execution_id)}")

    def retry_execution(self, execution_id: str) -> dict[str, Any]:
        """Do again what failed of an execution; what is finished is kept."""
        return self._dict("POST", f"/executions/{part(execution_id)}/retry")

    def pause_execution(self, execution_id: str) -> dict[str, Any]:
        """Begin no more steps of an execution; what runs goes on."""
        return self._dict("POST", f"/executions/{part(execution_id)}/pause")

    def resume_execution(self, execution_id: str) -> dict[str, Any]:
        """Go on with a paused execution."""
        return self._dict("POST", f"/executions/{part(execution_id)}/resume")

    def approve_step(
        self, execution_id: str, step_id: str, *, approved: bool, comment: str = ""
    ) -> dict[str, Any]:
        """Let a step that waits for a person go on, or fail with `approved=False`."""
        path = f"/executions/{part(execution_id)}/steps/{part(step_id)}/approve"
        return self._dict("POST", path, body={"approved": approved, "comment": comment})

    def post_event(
        self,
        event_type: str,
        data: dict[str, Any],
        *,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Answer every approval step that waits for this event; they are in `answered`.

        `data` says `approved`, perhaps a `comment`, and whatever else the step is to put out.
        """
        body: dict[str, Any] = {"event_type": event_type, "data": data}
        if correlation_id is not None:
            body["correlation_id"] = correlation_id
        return self._dict("POST", "/events", body=body, key=idempotency_key)

    # --- schedules

    def create_schedule(
        self, name: str, *, idempotency_key: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Have something begin by itself, with one of each pair.

        `cron` (with `timezone`) or `at` says when; `task` (as for `create_task`: `type`,
        `description` …) or `workflow` (`workflow_id`, `input`) says what. Further fields:
        `misfire` (`run_once`, `skip`), `misfire_grace_seconds`, `paused`.
        """
        body = {"name": name, **given(fields)}
        return self._dict("POST", "/schedules", body=body, key=idempotency_key)

    def get_schedule(self, schedule_id: str) -> dict[str, Any]:
        """A schedule with its next due times."""
        return self._dict("GET", f"/schedules/{part(schedule_id)}")

    def list_schedules(self, **filters: Any) -> dict[str, Any]:
        """A page of schedules, newest first: `schedules`, `next_cursor`.

        Filters: `status`, `owner` (a user's id, or `me`); `limit`, `cursor`.
        """
        return self._dict("GET", "/schedules", params=given(filters))

    def iter_schedules(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Every schedule that matches, newest first. Filters: see `list_schedules`."""
        return self._pages("/schedules", "schedules", filters)

    def update_schedule(self, schedule_id: str, **changes: Any) -> dict[str, Any]:
        """Change some fields of a schedule."""
        return self._dict("PATCH", f"/schedules/{part(schedule_id)}", body=changes)

    def pause_schedule(self, schedule_id: str) -> dict[str, Any]:
        """Have a schedule begin nothing for now; what is due meanwhile is not made up for."""
        return self.update_schedule(schedule_id, paused=True)

    def resume_schedule(self, schedule_id: str) -> dict[str, Any]:
        """Go on with the next due time."""
        return self.update_schedule(schedule_id, paused=False)

    def delete_schedule(self, schedule_id: str) -> None:
        """Take a schedule and its history away; what it has begun goes on."""
        self._transport.call("DELETE", f"/schedules/{part(schedule_id)}")

    def schedule_history(self, schedule_id: str, **page: Any) -> dict[str, Any]:
        """A page of what became of the due times, newest first: `history`, `next_cursor`."""
        path = f"/schedules/{part(schedule_id)}/history"
        return self._dict("GET", path, params=given(page))

    # --- agents

    def list_agents(self) -> dict[str, Any]:
        """Every agent with its load, and how many are active, idle and busy."""
        return self._dict("GET", "/agents")

    def get_agent(self, agent_id: str) -> dict[str, Any]:
        """An agent with its configuration, metrics and resources."""
        return self._dict("GET", f"/agents/{part(agent_id)}")

    def update_agent_config(self, agent_id: str, **changes: Any) -> dict[str, Any]:
        """Change some of an agent's settings."""
        return self._dict("PATCH", f"/agents/{part(agent_id)}/config", body=changes)

    # --- agents from outside

    def register_agent(
        self,
        agent_id: str,
        *,
        name: str,
        type: str,  # noqa: A002  # the API's word
        capabilities: Sequence[str],
        max_capacity: int = 1,
        transport: str = "http",
    ) -> dict[str, Any]:
        """Let an agent join; `api_key` is its own key, shown once, null if it had joined before."""
        body = {
            "agent_id": agent_id,
            "name": name,
            "type": type,
            "capabilities": list(capabilities),
            "max_capacity": max_capacity,
            "transport": transport,
        }
        return self._dict("POST", "/agents", body=body)

    def update_agent(self, agent_id: str, **said: Any) -> dict[str, Any]:
        """Replace what an agent says of itself: the fields of `register_agent`, all of them."""
        return self._dict("PUT", f"/agents/{part(agent_id)}", body=said)

    def renew_agent_key(self, agent_id: str) -> dict[str, Any]:
        """A new `api_key` for an agent from outside; the old one ends."""
        return self._dict("POST", f"/agents/{part(agent_id)}/key")

    def delete_agent(self, agent_id: str) -> None:
        """Delete an agent from outside; what it was doing goes to others."""
        self._transport.call("DELETE", f"/agents/{part(agent_id)}")

    # --- events, health

    def events(self, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """A page of the event log: `events` with an id above `after`, and `next_after`."""
        return self._dict("GET", "/events", params={"after": after, "limit": limit})

    def iter_events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Every event after a cursor up to now, in order."""
        while True:
            page = self.events(after, limit=1000)
            yield from page["events"]
            if page["next_after"] <= after:
                return
            after = page["next_after"]

    def health(self) -> dict[str, Any]:
        """How the server and its parts are; needs no login."""
        return self._dict("GET", "/health")

    # --- users and API keys

    def list_users(self, *, limit: int = 100, offset: int = 0) -> dict[str, Any]:
        """A page of accounts, oldest first."""
        return self._dict("GET", "/users", params={"limit": limit, "offset": offset})

    def get_user(self, user_id: str) -> dict[str, Any]:
        """One account."""
        return self._dict("GET", f"/users/{part(user_id)}")

    def create_user(
        self, username: str, password: str, *, roles: Sequence[str] = ("user",), tier: str = "free"
    ) -> dict[str, Any]:
        """Make an account."""
        body = {"username": username, "password": password, "roles": list(roles), "tier": tier}
        return self._dict("POST", "/users", body=body)

    def update_user(self, user_id: str, **changes: Any) -> dict[str, Any]:
        """Change `password`, `roles`, `tier` or `enabled`; a new password ends the sessions."""
        return self._dict("PATCH", f"/users/{part(user_id)}", body=changes)

    def delete_user(self, user_id: str) -> None:
        """Remove an account with its sessions and keys."""
        self._transport.call("DELETE", f"/users/{part(user_id)}")

    def create_api_key(self, name: str, *, expires_at: str | None = None) -> dict[str, Any]:
        """A key with this user's rights; `api_key` in the answer is not shown again."""
        body = given({"name": name, "expires_at": expires_at})
        return self._dict("POST", "/auth/keys", body=body)

    def list_api_keys(self) -> dict[str, Any]:
        """This user's keys, without their secrets."""
        return self._dict("GET", "/auth/keys")

    def delete_api_key(self, key_id: str) -> None:
        """Make a key void."""
        self._transport.call("DELETE", f"/auth/keys/{part(key_id)}")


class _Get(Protocol):
    """Asks how something is, or how it is once it has ended."""

    def __call__(self, *, wait: float) -> dict[str, Any]:
        """Waits so many seconds at most."""
        ...


def _wait(what: str, get: _Get, timeout: float) -> dict[str, Any]:
    """What `get` answers once it is completed, failed or cancelled."""
    end = time.monotonic() + timeout
    while True:
        begun = time.monotonic()
        found = get(wait=min(_LONGEST_WAIT, max(0.0, end - begun)))
        if found["status"] in FINAL:
            return found
        now = time.monotonic()
        if now >= end:
            raise WaitTimeout(f"{what} did not complete in {timeout:g} seconds")
        # A server that is stopping answers at once: do not ask in a tight loop.
        time.sleep(max(0.0, min(_SHORTEST_POLL, end - now) - (now - begun)))
