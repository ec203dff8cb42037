"""Examples executed in the sandbox; what ends a run does not take the others with it."""

import json
from pathlib import Path

import msgspec

from sutazai.analysis.documentation.examples import Group, Outcome
from sutazai.analysis.sandbox import MIB, Sandbox, SandboxLimits, SandboxRun

_RUNNER = Path(__file__).with_name("example_runner.py")
_MOST_RUNS = 6
_LIMITS = SandboxLimits(seconds=30, cpu_seconds=30, memory=1024 * MIB, processes=32)


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to run: `paths` are folders below the source (or the files) to import from."""

    groups: list[Group]
    paths: list[str]
    source: str | None = None
    hidden: tuple[str, ...] = ()
    files: dict[str, bytes] = {}
    environment: dict[str, str] = {}


async def execute(sandbox: Sandbox, execution: Execution) -> list[Outcome]:
    """The outcome of every group, in their order. Raises SandboxUnavailable."""
    waiting = list(execution.groups)
    outcomes: dict[int, Outcome] = {}
    for _ in range(_MOST_RUNS):
        if not waiting:
            break
        end = await sandbox.run(_run(execution, waiting))
        known = {group.id for group in waiting}
        for outcome in _read(end.files.get("outcomes.jsonl", b"")):
            if outcome.id in known:
                outcomes.setdefault(outcome.id, outcome)
        left = [group for group in waiting if group.id not in outcomes]
        if left:
            # The first without an outcome is the one that ended the process.
            reason = f"ended by the limit of {end.limit}" if end.limit else "ended the interpreter"
            outcomes[left[0].id] = Outcome(id=left[0].id, error=reason, examples=[])
        waiting = [group for group in waiting if group.id not in outcomes]
    for group in waiting:
        outcomes[group.id] = Outcome(
            id=group.id, error="not run: too many before it failed", examples=[]
        )
    return [outcomes[group.id] for group in execution.groups]


def _run(execution: Execution, groups: list[Group]) -> SandboxRun:
    base = "/source" if execution.source is not None else "."
    work = {
        "paths": [f"{base}/{path}".rstrip("/") for path in execution.paths],
        "groups": [msgspec.to_builtins(group) for group in groups],
    }
    return SandboxRun(
        argv=("python", "example_runner.py"),
        files={
            **execution.files,
            "example_runner.py": _RUNNER.read_bytes(),
            "examples.json": json.dumps(work).encode(),
        },
        source=execution.source,
        hidden=execution.hidden,
        environment=execution.environment,
        collect=("outcomes.jsonl",),
        limits=_LIMITS,
    )


def _read(content: bytes) -> list[Outcome]:
    """The lines that are outcomes: what ran may have written anything there."""
    decoder = msgspec.json.Decoder(Outcome)
    found = []
    for line in content.splitlines():
        try:
            found.append(decoder.decode(line))
        except msgspec.MsgspecError:
            continue
    return found
