"""The agent that says what a change changes: `change-summarizer-01`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext
from sutazai.analysis.changes.summary import ChangeSummary, SummaryRequest, summarise_change
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Place
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.model_comments import (
    BY,
    Brief,
    Comments,
    Fact,
    asks_model,
    clean,
    strange,
)
from sutazai.llm.forms import StructForm

_MOST_FACTS = 40
_WANTED = (
    "You tell reviewers what a change does. In two to five plain sentences say what it changes and "
    "what that means for those who use the code. Use only what the material shows; write names as "
    "they stand there."
)


class _Overview(msgspec.Struct, kw_only=True):
    sentences: Annotated[list[Brief], msgspec.Meta(max_length=6)]


_OVERVIEW = StructForm(_Overview)


class ChangeSummarizer:
    """Reads a diff, or commits of the workspace's repository or of one that a task names.

    A diff's files are looked up where the task says: in the workspace, or in a repository. The
    pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput) -> None:
        self._pool = pool
        self._code = code
        self._description = AgentDescription(
            agent_id="change-summarizer-01",
            name="Change Summarizer",
            type="specialist",
            capabilities=("change_summary",),
            max_capacity=5,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """What changed (`files`, `symbols`), `risks`, a `checklist` and a `changelog` line."""
        try:
            request = _request(assignment.metadata)
        except InputError as error:
            raise AgentError(str(error)) from None
        await context.progress(10)
        asks = asks_model(assignment.metadata, context)
        request = msgspec.structs.replace(request, excerpt=asks)
        async with self._opened(assignment.metadata, request) as (request, repository):
            made = await self._pool.call(summarise_change, request)
        told = await _told(made, context) if asks else {"model": None}
        await context.progress(100, files=len(made.files), risks=len(made.risks))
        added = sum(one.added for one in made.files)
        return {
            "summary": made.summary,
            "files": msgspec.to_builtins(made.files),
            "symbols": msgspec.to_builtins(made.symbols),
            "symbols_truncated": made.symbols_truncated,
            "risk": {"level": made.level, "score": made.score},
            "risks": msgspec.to_builtins(made.risks),
            "checklist": made.checklist,
            "changelog": (
                {"kind": made.changelog_kind, "line": made.changelog_line}
                if made.changelog_kind
                else None
            ),
            "commits": msgspec.to_builtins(made.commits),
            "base": made.base,
            "head": made.head,
            "metrics": {
                "files_changed": len(made.files),
                "lines_added": added,
                "lines_removed": sum(one.removed for one in made.files),
            },
            "left_out": made.left_out,
            "repository": repository,
            **told,
        }

    @asynccontextmanager
    async def _opened(
        self, metadata: Mapping[str, Any], request: SummaryRequest
    ) -> AsyncIterator[tuple[SummaryRequest, dict[str, Any] | None]]:
        """The request with the place of what it names, and which repository was read."""
        if request.base is not None and metadata.get("repository") is not None:
            async with self._code.commits(metadata, request.base, request.head) as found:
                repository: dict[str, Any] = {
                    "url": found.repository,
                    "branch": metadata.get("branch"),
                    "commit": found.head,
                    "skipped": [],
                }
                place = Place(root=found.root)
                fetched = msgspec.structs.replace(
                    request, base=found.base, head=found.head, place=place
                )
                yield fetched, repository
            return
        named = {name: metadata.get(name) for name in ("repository", "branch")}
        if named["repository"] is None and self._code.workspace is None:
            named["code"] = "nothing is looked up"
        async with self._code.opened(named) as given:
            yield msgspec.structs.replace(request, place=given.what.place), given.repository


async def _told(made: ChangeSummary, context: TaskContext) -> dict[str, Any]:
    """The change in a model's words, as far as the change bears them out."""
    comments = Comments(context)
    fact = Fact(key="change", label="The change", text=_material(made))
    kept: list[str] = []
    dropped: list[dict[str, str]] = []
    async with comments.asking():
        answer = await comments.about(fact, _OVERVIEW, _WANTED, "What does it change?")
        for sentence in map(clean, answer.sentences if answer is not None else ()):
            unknown = strange(sentence, fact.text)
            if not sentence or unknown is not None:
                comments.count("comments_dropped")
                dropped.append({"text": sentence, "reason": f"the change has no {unknown}"})
            else:
                comments.count("comments")
                kept.append(sentence)
    overview = {"by": BY, "text": " ".join(kept), "dropped": dropped}
    return {"overview": overview, "model": comments.report()}


def _material(made: ChangeSummary) -> str:
    lines = [made.summary, *(one.subject for one in made.commits[:_MOST_FACTS])]
    lines += [f"{one.change} {one.file}, +{one.added} -{one.removed}" for one in made.files]
    for one in made.symbols[:_MOST_FACTS]:
        lines.append(f"{one.change} {one.kind} {one.symbol} in {one.file}. {one.breaking}".strip())
    lines += [f"{one.level} risk: {one.message}" for one in made.risks]
    return "\n".join([*lines[: 4 * _MOST_FACTS], made.excerpt])


def _request(metadata: Mapping[str, Any]) -> SummaryRequest:
    diff, base, head = (metadata.get(name) for name in ("diff", "base", "head"))
    for name, value in (("diff", diff), ("base", base), ("head", head)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise InputError(f"`{name}` must be a string that is not empty.")
    if diff is not None:
        if base is not None or head is not None:
            raise InputError("Give either a `diff`, or `base` and `head`.")
        return SummaryRequest(diff=diff)
    if base is None:
        raise InputError("Give a `diff`, or the commits as `base` and `head` (default HEAD).")
    if metadata.get("repository") is None:
        head = head or "HEAD"
    return SummaryRequest(base=base, head=head)
