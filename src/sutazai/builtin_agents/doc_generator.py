"""The agent that documents code: `doc-generator-01`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, Assignment, TaskContext
from sutazai.analysis.documentation.docstrings import Style
from sutazai.analysis.documentation.documenting import Documentation, Draft, Plan, document, plan
from sutazai.analysis.documentation.examples import Outcome
from sutazai.analysis.documentation.executing import Execution, execute
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.sandbox import Sandbox, SandboxUnavailable
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.environments import given_environment
from sutazai.builtin_agents.model_comments import Comments, asks_model
from sutazai.builtin_agents.model_docstrings import sentences
from sutazai.builtin_agents.unread import with_unread

_STYLES = {"google": Style.GOOGLE, "numpy": Style.NUMPY}


class DocGenerator:
    """Writes reference pages and docstrings, and tells where those that exist are wrong.

    `code` opens what tasks name. Examples run in the sandbox; the pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput, sandbox: Sandbox) -> None:
        self._pool = pool
        self._code = code
        self._sandbox = sandbox
        self._description = AgentDescription(
            agent_id="doc-generator-01",
            name="Documentation Generator",
            type="specialist",
            capabilities=("documentation",),
            max_capacity=3,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """Document what the metadata names.

        The result has `files` (path to content), `patch` (a unified diff), `coverage`, `stale` and
        `examples` with what they printed.
        """
        metadata = assignment.metadata
        async with self._code.opened(metadata) as given:
            style, wants_examples = _options(metadata)
            environment = given_environment(metadata.get("environment"))
            what = given.what
            await context.progress(5)
            made = await self._pool.call(plan, what)
            await context.progress(30, files=len(made.files))
            outcomes, unavailable = await self._run(what, made, environment, wanted=wants_examples)
            await context.progress(60, files=len(made.files), examples=len(outcomes))
            heads, comments = {}, None
            if asks_model(metadata, context):
                comments = Comments(context)
                heads = await sentences(self._pool, what, made.undocumented, comments)
            draft = Draft(
                plan=made,
                outcomes=outcomes,
                ran=wants_examples and not unavailable,
                style=style,
                whole=not what.inline and not what.patterns,
                heads=heads,
            )
            documentation = await self._pool.call(document, draft)
        await context.progress(100, files=len(made.files), examples=len(outcomes))
        answer = _answer(documentation, made, style, unavailable)
        if comments is not None:
            answer["docstrings"]["by_model"] = sorted(heads.keys() & set(documentation.added))
            answer["model"] = comments.report()
        answer["repository"] = given.repository
        return answer

    async def _run(
        self, what: Reviewable, made: Plan, environment: dict[str, str], *, wanted: bool
    ) -> tuple[list[Outcome], str]:
        """The examples' outcomes, and why there are none where nothing can be isolated."""
        if not wanted or not made.groups:
            return [], ""
        inline = {one.file: one.content for one in made.files} if what.place is None else {}
        execution = Execution(
            groups=made.groups,
            paths=made.roots,
            source=what.place.root if what.place is not None else None,
            files=inline,
            environment=environment,
        )
        try:
            return await execute(self._sandbox, execution), ""
        except SandboxUnavailable as error:
            return [], str(error)


def _options(metadata: Mapping[str, Any]) -> tuple[Style, bool]:
    style = metadata.get("style", "google")
    if not isinstance(style, str) or style.lower() not in _STYLES:
        raise InputError("`style` must be `google` or `numpy`.")
    examples = metadata.get("examples", True)
    if not isinstance(examples, bool):
        raise InputError("`examples` must be true or false.")
    return _STYLES[style.lower()], examples


def _answer(made: Documentation, planned: Plan, style: Style, unavailable: str) -> dict[str, Any]:
    statuses = [one.status for one in made.examples]
    public = made.public
    answer: dict[str, Any] = {
        "summary": with_unread(
            _summary(made),
            planned.unparsed,
            files=len(planned.files) + len(planned.unparsed),
            found=True,
        ),
        "style": style.value,
        "files": made.files,
        "files_truncated": made.files_truncated,
        "patch": made.patch,
        "docstrings": {"added": made.added, "corrected": made.corrected},
        "unpatched": msgspec.to_builtins(made.unpatched),
        "readme_section": made.readme,
        "coverage": {
            "public": public,
            "documented_before": made.documented_before,
            "documented_after": made.documented_after,
            "before": round(made.documented_before / public, 4) if public else None,
            "after": round(made.documented_after / public, 4) if public else None,
            "attributes": made.attributes,
        },
        "stale": msgspec.to_builtins(made.stale),
        "stale_truncated": made.stale_truncated,
        "examples": msgspec.to_builtins(made.examples),
        "metrics": {
            "files_analyzed": len(planned.files),
            "examples_passed": statuses.count("passed"),
            "examples_failed": statuses.count("failed"),
            "examples_not_run": statuses.count("not_run"),
            "stale": len(made.stale),
        },
        "unparsed": msgspec.to_builtins(planned.unparsed),
        "skipped": msgspec.to_builtins(planned.skipped),
        "skipped_total": planned.skipped_total,
        "model": None,
    }
    if made.not_imported:
        answer["not_imported"] = made.not_imported
    if unavailable:
        answer["examples_unavailable"] = unavailable
    return answer


def _summary(made: Documentation) -> str:
    failed = sum(one.status == "failed" for one in made.examples)
    said = (
        f"Documented {made.public} public names, {made.documented_before} of which had docstrings; "
        f"the patch adds {len(made.added)} and corrects {len(made.corrected)}"
    )
    if len(made.stale) == 1:
        said += "; 1 statement contradicts the code"
    elif made.stale:
        said += f"; {len(made.stale)} statements contradict the code"
    if failed:
        said += "; 1 example fails" if failed == 1 else f"; {failed} examples fail"
    return said
