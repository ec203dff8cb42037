"""Runs of mypy over copies of the files, without the project's own configuration and plugins."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from sutazai.analysis.pool import AnalysisError

SECONDS = 240.0
"""How long all runs for one task may take together."""

_PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


class Message(msgspec.Struct, frozen=True):
    """One line of mypy's output; `line` from 1, `column` from 0, -1 where it names no place."""

    file: str
    line: int
    column: int
    message: str
    severity: str
    code: str | None = None
    hint: str | None = None
    end_line: int = 0
    end_column: int = 0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to check; `version` is a Python version such as `3.12`.

    `newer`: some file has syntax that this Python's own parser does not know. mypy's other parser
    reads it, but miscounts columns behind characters that are not ASCII.
    """

    strict: bool = False
    version: str | None = None
    newer: bool = False


class Checker:
    """Writes files below a private folder and has mypy check them, as often as asked."""

    def __init__(self, folder: Path, options: Options, *, seconds: float = SECONDS) -> None:
        """All runs together end `seconds` from now."""
        self._folder = folder
        self._options = options
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """Until no run may go on."""
        return self._deadline - time.monotonic()

    def run(self, files: Mapping[str, str]) -> list[Message]:
        """Check these files (path to text). AnalysisError where mypy itself fails.

        Files whose modules have the same name are checked apart from each other.
        """
        found: list[Message] = []
        for number, batch in enumerate(batches(list(files))):
            found += self._batch(number, {file: files[file] for file in batch})
        return found

    def _batch(self, number: int, files: Mapping[str, str]) -> list[Message]:
        # Where they lie stays the same from run to run: what did not change is not checked again.
        root = self._folder / f"source-{number}"
        names: dict[str, str] = {}
        for file, text in files.items():
            name = file.lstrip("/")
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text("utf-8", "surrogatepass") != text:
                path.write_text(text, "utf-8", "surrogatepass")
            names[name] = file
        listing = self._folder / f"files-{number}.txt"
        listing.write_text("\n".join(names), "utf-8", "surrogatepass")
        output = self._mypy(root, listing, import_roots(names))
        messages = [
            msgspec.json.decode(line, type=Message)
            for line in output.splitlines()
            if line.startswith("{")
        ]
        return [
            msgspec.structs.replace(one, file=names[one.file])
            for one in messages
            if one.file in names
        ]

    def _mypy(self, root: Path, listing: Path, roots: Sequence[str]) -> str:
        command = [sys.executable, "-P", "-m", "mypy", "--config-file=", "--output=json"]
        command += ["--no-error-summary", "--check-untyped-defs", "--no-site-packages"]
        command += ["--ignore-missing-imports", "--explicit-package-bases"]
        command += [f"--cache-dir={self._folder / 'cache'}"]
        if not self._options.newer:
            command += ["--no-native-parser"]
        if self._options.strict:
            # What is imported from elsewhere is Any here, so strictness about that says nothing.
            command += ["--strict", "--allow-subclassing-any", "--allow-untyped-decorators"]
            command += ["--no-warn-return-any", "--no-warn-unused-ignores"]
        if self._options.version:
            command += [f"--python-version={self._options.version}"]
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment["MYPYPATH"] = os.pathsep.join(str(root / one) for one in roots)
        try:
            done = subprocess.run(
                [*command, f"@{listing}"],
                cwd=root,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=max(self.seconds_left, 0.1),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AnalysisError(
                f"mypy took longer than {self._seconds:.0f} s. Name fewer files with `files`."
            ) from None
        if done.returncode not in (0, 1):
            said = (done.stderr + done.stdout).decode("utf-8", "replace").strip().splitlines()
            raise AnalysisError(f"mypy failed: {said[-1][:300] if said else done.returncode}")
        return done.stdout.decode("utf-8", "replace")


def import_roots(files: Iterable[str]) -> list[str]:
    """The folders from which these files (relative paths) are imported, deepest first."""
    paths = [PurePosixPath(file) for file in files]
    packages = {path.parent for path in paths if path.stem == "__init__"}
    roots: set[PurePosixPath] = {PurePosixPath()}
    for path in paths:
        folder = path.parent
        while folder in packages:
            folder = folder.parent
        roots.add(folder)
    ordered = sorted(roots, key=lambda root: (-len(root.parts), str(root)))
    return [str(root) for root in ordered]


def batches(files: Sequence[str]) -> list[list[str]]:
    """The files in as few groups as have no two modules of one name."""
    roots = [PurePosixPath(root) for root in import_roots(file.lstrip("/") for file in files)]
    groups: list[dict[str, str]] = []
    for file in sorted(files):
        path = PurePosixPath(file.lstrip("/"))
        root = next(root for root in roots if path.is_relative_to(root))
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for group in groups:
            if name not in group:
                group[name] = file
                break
        else:
            groups.append({name: file})
    return [list(group.values()) for group in groups]
