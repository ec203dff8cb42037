"""What users and agents do with remembered findings: dismiss, take back, list, recall."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from sutazai import clock
from sutazai.agents.contract import AgentError, Assignment
from sutazai.analysis.globs import InputError
from sutazai.analysis.sarif import sarif_log
from sutazai.analysis.sarif_input import read_sarif
from sutazai.database import Connection, Database
from sutazai.errors import ErrorCode, SutazaiError, invalid, not_found
from sutazai.events import log
from sutazai.events.model import NewEvent, Origin
from sutazai.findings import memory, store
from sutazai.findings.model import Baseline, Dismissal, FindingPage, project_of
from sutazai.findings.shape import has_findings
from sutazai.limits.idempotency import Replayable
from sutazai.tasks.model import Task, TaskStatus
from sutazai.tasks.service import Tasks

_EVERYBODY = ""
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_TASK_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FROM_SARIF = "sarif"


class Findings:
    """The memory of findings, by project; `workspace` is the one that tasks may name files in."""

    def __init__(
        self,
        *,
        database: Database,
        tasks: Tasks,
        workspace: str,
        reads_all_results: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`reads_all_results` says of a user's id whether others' results are open to it."""
        self._database = database
        self._tasks = tasks
        self._workspace = workspace
        self._reads_all_results = reads_all_results

    # --- for users

    async def dismiss(
        self,
        task_id: str,
        fingerprint: str,
        *,
        reason: str,
        user_id: str,
        for_everybody: bool,
        origin: Origin,
        replay: Replayable | None = None,
    ) -> Dismissal:
        """Leave a finding of a task out of later reviews of its project.

        NOT_FOUND where the task has no such finding; CONFLICT where it belongs to no project.
        """
        task = await self._tasks.get(task_id)
        issues = await self._issues(task)
        if all(issue["fingerprint"] != fingerprint for issue in issues):
            raise not_found("finding", fingerprint)
        dismissal = Dismissal(
            project=self._project(task),
            fingerprint=fingerprint,
            owner=_EVERYBODY if for_everybody else user_id,
            reason=reason,
            dismissed_by=user_id,
            dismissed_at=clock.now(),
            task_id=task_id,
        )

        def make(connection: Connection) -> Dismissal:
            store.dismiss(connection, dismissal)
            data = {"task_id": task_id, "fingerprint": fingerprint, "reason": reason}
            _tell(connection, "dismissed", data, task, origin)
            return dismissal

        def unit(connection: Connection) -> Dismissal:
            if replay is None:
                return make(connection)
            return replay(connection, Dismissal, partial(make, connection))

        return await self._database.run(unit)

    async def restore(
        self,
        task_id: str,
        fingerprint: str,
        *,
        user_id: str,
        for_everybody: bool,
        origin: Origin,
    ) -> None:
        """Take a dismissal back; NOT_FOUND where there is none that is the user's to take back."""
        task = await self._tasks.get(task_id)
        project = self._project(task)
        owners = [user_id, _EVERYBODY] if for_everybody else [user_id]

        def unit(connection: Connection) -> None:
            if not store.restore(connection, project, fingerprint, owners=owners):
                raise not_found("dismissal of the finding", fingerprint)
            data = {"task_id": task_id, "fingerprint": fingerprint}
            _tell(connection, "restored", data, task, origin)

        await self._database.run(unit)

    async def of_task(
        self, task_id: str, *, dismissed: bool | None, limit: int, offset: int
    ) -> FindingPage:
        """A task's findings, each with its dismissal as it is now, or None."""
        task = await self._tasks.get(task_id)
        known = await self._dismissals(task)
        found = [
            {**issue, "dismissed": known.get(issue["fingerprint"])}
            for issue in await self._issues(task)
        ]
        if dismissed is not None:
            found = [one for one in found if (one["dismissed"] is not None) == dismissed]
        return FindingPage(findings=found[offset : offset + limit], total=len(found))

    async def sarif(self, task_id: str, *, wait: float, version: str) -> bytes:
        """A task's result as a SARIF log, with what has been dismissed since.

        CONFLICT where the task has no result, VALIDATION_ERROR where that has no findings.
        """
        outcome = await self._tasks.result(task_id, wait=wait)
        task = await self._tasks.get(task_id)
        result = await asyncio.to_thread(_decoded, outcome.result)
        if not await asyncio.to_thread(has_findings, result):
            raise invalid("format", "The result of this task has no findings to show as SARIF")
        known = await self._dismissals(task)
        reasons = {fingerprint: one["reason"] for fingerprint, one in known.items()}
        make = partial(sarif_log, result, version=version, task_type=task.type, dismissals=reasons)
        return await asyncio.to_thread(lambda: msgspec.json.encode(make()))

    def _project(self, task: Task) -> str:
        project = project_of(task.metadata, self._workspace)
        if project is None:
            message = (
                "Inline code belongs to no project that could be remembered. "
                "Name one when submitting the task: metadata.project."
            )
            raise SutazaiError(ErrorCode.CONFLICT, message)
        return project

    async def _issues(self, task: Task) -> list[dict[str, Any]]:
        """All that a task found, whether its result lists it or sets it apart."""
        outcome = await self._tasks.result(task.task_id)
        return await asyncio.to_thread(_all_issues, outcome.result)

    async def _dismissals(self, task: Task) -> dict[str, dict[str, Any]]:
        project = project_of(task.metadata, self._workspace)
        if project is None:
            return {}
        return await self._recalled(project, task.submitted_by)

    async def _recalled(self, project: str, user_id: str) -> dict[str, dict[str, Any]]:
        owners = [user_id, _EVERYBODY]
        read = partial(store.dismissals, project=project, owners=owners)
        found = await self._database.read(read)
        return {fingerprint: one.shown for fingerprint, one in found.items()}

    # --- for agents

    async def remember(
        self, assignment: Assignment, submitted_by: str, result: dict[str, Any]
    ) -> dict[str, Any]:
        """A fresh result with what is remembered of its project; others pass as they are.

        `metadata.sarif` is merged in; `metadata.since` leaves nothing but what is new. AgentError
        where either cannot be used.
        """
        if not await asyncio.to_thread(has_findings, result):
            return result
        metadata = assignment.metadata
        project = project_of(metadata, self._workspace)
        dismissals: dict[str, dict[str, Any]] = {}
        known: frozenset[str] = frozenset()
        if metadata.get("sarif") is not None:
            external = await asyncio.to_thread(_read_sarif, metadata["sarif"])
            merge = partial(memory.with_external, result, external)
            result, dismissals, known = await asyncio.to_thread(merge)
        if project is not None and assignment.configuration.get("memory_enabled", True):
            dismissals |= await self._recalled(project, submitted_by)
        result = memory.without_dismissed(result, dismissals)
        wanted = metadata.get("since")
        if wanted == _FROM_SARIF:
            if metadata.get("sarif") is None:
                raise AgentError("`since` is `sarif`, and there is no `sarif` in the metadata.")
            result = memory.since(result, Baseline(None, None, []), known)
        elif wanted is not None:
            base = result.get("since_base")
            if isinstance(base, list):
                result = {name: value for name, value in result.items() if name != "since_base"}
                baseline = Baseline(None, str(wanted), base)
            else:
                baseline = await self._baseline(project, wanted, submitted_by)
            result = await asyncio.to_thread(memory.since, result, baseline, frozenset())
        if project is not None:
            repository = result.get("repository")
            commit = repository.get("commit") if isinstance(repository, Mapping) else None
            note = partial(
                store.note_review,
                task_id=assignment.task_id,
                project=project,
                commit=commit,
                now=clock.now(),
            )
            await self._database.run(note)
        return result

    async def _baseline(self, project: str | None, wanted: Any, user_id: str) -> Baseline:
        if project is None:
            raise AgentError(
                "`since` compares reviews of a project, and inline code has none. Name one: "
                "`project`."
            )
        if isinstance(wanted, str) and _TASK_ID.fullmatch(wanted):
            read = partial(store.project_reviewed, task_id=wanted)
            reviewed = await self._database.read(read)
            candidates = [wanted] if reviewed == project else []
            missing = f"There is no completed review {wanted} of this project"
        elif isinstance(wanted, str) and _COMMIT.fullmatch(wanted):
            read_all = partial(store.reviews_of, project=project, commit=wanted)
            candidates = await self._database.read(read_all)
            missing = (
                f"The workspace's own repository has no commit {wanted} that can be read (a "
                "`repository` needs its whole id), and there is no completed review of this "
                "project at it"
            )
        else:
            raise AgentError(
                "`since` must be a task's id, a commit of 7 or more hexadecimal digits, or `sarif`."
            )
        tasks = await self._tasks.find(candidates)
        # What has gone since then is shown, too, and so is only told to who may read it there.
        reads_all = await self._reads_all_results(user_id)
        done = [
            task_id
            for task_id in candidates
            if (task := tasks.get(task_id)) is not None
            and task.status is TaskStatus.COMPLETED
            and (reads_all or task.submitted_by == user_id)
        ]
        if not done:
            raise AgentError(f"{missing} that you may read. Review it first, or leave `since` out.")
        outcome = await self._tasks.result(done[0])
        issues = await asyncio.to_thread(_all_issues, outcome.result)
        commit = await self._database.read(partial(store.commit_reviewed, task_id=done[0]))
        return Baseline(done[0], commit, list(issues))


def _decoded(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


def _all_issues(text: str | None) -> list[dict[str, Any]]:
    result = _decoded(text)
    if not has_findings(result):
        return []
    apart: Sequence[dict[str, Any]] = result.get("dismissed") or ()
    unchanged = (result.get("baseline") or {}).get("unchanged") or ()
    bare = [{name: value for name, value in one.items() if name != "dismissed"} for one in apart]
    return [*result["issues"], *unchanged, *bare]


def _read_sarif(value: Any) -> Any:
    try:
        return read_sarif(value)
    except InputError as error:
        raise AgentError(str(error)) from None


def _tell(
    connection: Connection, what: str, data: dict[str, Any], task: Task, origin: Origin
) -> None:
    event = NewEvent(f"finding.{what}", data, origin, "tasks", task.submitted_by)
    log.append(connection, [event], now=clock.now())
