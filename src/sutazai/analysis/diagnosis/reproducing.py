"""A failure made to happen again in the sandbox, with the values that its frames had."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sutazai.analysis.sandbox import MIB, Sandbox, SandboxLimits, SandboxRun

_RUNNER = Path(__file__).with_name("failure_runner.py")
_LIMITS = SandboxLimits(
    seconds=60, cpu_seconds=60, memory=1024 * MIB, processes=64, file_bytes=128 * MIB
)


class RecordedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame as it was; `values` are short reprs of its local variables."""

    file: str
    line: int
    function: str
    values: dict[str, str]


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """How the run went. `text` is the traceback, empty where nothing was raised.

    `passed` and `skipped` count tests. `is_recorded`: it came to its end, and said so.
    """

    text: str
    frames: list[RecordedFrame]
    exit_code: int
    output: str
    limit: str | None = None
    passed: int = 0
    skipped: int = 0
    is_recorded: bool = True

    def succeeded(self, command: list[str]) -> bool:
        """Whether nothing failed; of tests, whether some passed and none was left out."""
        ended = self.is_recorded and self.limit is None and self.exit_code == 0 and not self.text
        tested = command[0] != "pytest" or (self.passed > 0 and not self.skipped)
        return ended and tested


async def reproduce(
    sandbox: Sandbox,
    command: list[str],
    *,
    source: str | None,
    files: Mapping[str, bytes],
    environment: Mapping[str, str],
    replaced: Mapping[str, bytes] | None = None,
) -> Reproduction:
    """Run the command on a folder, or on files alone. Raises SandboxUnavailable.

    For the files of the folder that are `replaced`, another content is shown.
    """
    work = {"command": command, "source": "/source" if source is not None else "."}
    inline = (
        {} if source is not None else {f"code/{name}": content for name, content in files.items()}
    )
    if source is None:
        work["source"] = "code"
    end = await sandbox.run(
        SandboxRun(
            argv=("python", "failure_runner.py"),
            files={
                **inline,
                "failure_runner.py": _RUNNER.read_bytes(),
                "command.json": json.dumps(work).encode(),
            },
            source=source,
            replaced=replaced or {},
            environment=environment,
            collect=("failure.json",),
            limits=_LIMITS,
        )
    )
    said = end.files.get("failure.json", b"")
    try:
        seen = msgspec.json.decode(said, type=Reproduction)
    except msgspec.MsgspecError:
        output = (end.stdout + end.stderr).decode("utf-8", "replace")
        return Reproduction(
            text="",
            frames=[],
            exit_code=end.exit_code,
            output=output[-20_000:],
            limit=end.limit,
            is_recorded=False,
        )
    return msgspec.structs.replace(seen, limit=end.limit)
