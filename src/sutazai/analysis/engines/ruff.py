"""Ruff as a child process over one batch of files, started first and collected last."""

import subprocess
from pathlib import Path

import msgspec
from ruff import find_ruff_bin  # type: ignore[import-untyped]  # ships no types

from sutazai.analysis.catalogue import BY_CODE, ruff_codes
from sutazai.analysis.findings import RawFinding, Severity
from sutazai.analysis.source import Source

_TIMEOUT_SECONDS = 60.0
MESSAGES_PER_FILE = 20_000
"""Messages taken from ruff for one file; whoever reads the results can tell by the number."""

_OPTIONS = (
    "check",
    # Nothing in the reviewed tree may steer the review: no configuration, no ignore files.
    "--isolated",
    "--no-cache",
    "--no-respect-gitignore",
    "--ignore-noqa",
    "--exit-zero",
    "--quiet",
    "--output-format=json-lines",
    "--target-version=py314",
    "--config=lint.mccabe.max-complexity=15",
)


class RuffError(Exception):
    """Ruff did not deliver; the message holds what it said."""


class RuffTimeout(RuffError):
    """Ruff was stopped because it took too long."""


class _Place(msgspec.Struct):
    row: int
    column: int


class _Message(msgspec.Struct):
    filename: str
    message: str
    location: _Place
    end_location: _Place
    code: str | None = None


class RuffRun:
    """One run over `sources`, working in the background from the moment it is made.

    `folder` must be empty and private; the texts are written into it under names of our own, so
    that ruff reads exactly what was read before, and nothing else.
    """

    def __init__(self, sources: list[Source], folder: Path) -> None:
        self._files: dict[str, str] = {}
        for number, source in enumerate(sources):
            suffix = ".pyi" if source.file.endswith(".pyi") else ".py"
            name = f"f{number:05d}{suffix}"
            (folder / name).write_text(source.text, "utf-8", errors="replace", newline="")
            self._files[name] = source.file
        self._output = folder / "ruff.jsonl"
        command = [find_ruff_bin(), *_OPTIONS, f"--select={','.join(ruff_codes())}"]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "."],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
            )

    def results(self) -> dict[str, list[RawFinding]]:
        """Wait for ruff; its findings by file. Raises RuffError."""
        try:
            _, errors = self._process.communicate(timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.stop()
            raise RuffTimeout(f"ruff took longer than {_TIMEOUT_SECONDS:.0f} s") from None
        if self._process.returncode != 0:
            raise RuffError(errors.decode("utf-8", "replace").strip()[:500] or "ruff failed")
        found: dict[str, list[RawFinding]] = {file: [] for file in self._files.values()}
        for message in msgspec.json.Decoder(_Message).decode_lines(self._output.read_bytes()):
            file = self._files.get(Path(message.filename).name)
            if file is None or len(found[file]) >= MESSAGES_PER_FILE:
                continue
            if raw := _raw(message):
                found[file].append(raw)
        return found

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()


def _raw(message: _Message) -> RawFinding | None:
    rule = BY_CODE.get(message.code or "")
    if rule is None or message.code is None:
        return None
    return RawFinding(
        engine="ruff",
        code=message.code,
        rule=rule.name,
        line=message.location.row,
        column=message.location.column,
        end_line=message.end_location.row,
        message=message.message,
        # A constant command line is a habit to break, not an injection.
        severity=Severity.LOW if "seems safe" in message.message else None,
    )
