"""Whether a project's tests, run in the sandbox, pass with changes as they pass without."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sutazai.analysis.refactoring.fixing import Change
from sutazai.analysis.sandbox import MIB, Sandbox, SandboxLimits, SandboxRun

_PLUGIN = Path(__file__).with_name("outcomes_plugin.py")
_MOST_RUNS = 8
_LARGEST_REPORT = 4 * MIB
_TAIL = 1_500
_PASSED, _NOT_LOADED = "passed", "error"
_RAISED = re.compile(r"^E +(\w.*)", re.MULTILINE)
_COMPLAINT = re.compile(r"^(?:ERROR:? |INTERNALERROR> )?(\w*(?:Error|Exception)\b.*)", re.MULTILINE)
_IMPORTING = {
    "prepend": "",
    # The names of modules begin at the project, so that those of two packages are not the same.
    "importlib": " -o consider_namespace_packages=true",
}


class Outcomes(msgspec.Struct, kw_only=True):
    """One run of the tests. `reason` says why none passed, `output` the end of what they said.

    `is_over`: it came to a limit, so that another run would as well.
    """

    by_test: dict[str, str]
    reason: str = ""
    output: str = ""
    is_over: bool = False

    @property
    def passed(self) -> set[str]:
        """The tests that passed."""
        return {test for test, outcome in self.by_test.items() if outcome == _PASSED}

    @property
    def not_loaded(self) -> int:
        """How many test modules could not even be loaded."""
        return sum(outcome == _NOT_LOADED for outcome in self.by_test.values())


class Proof(msgspec.Struct, kw_only=True):
    """`kept` are the changes that no passing test minds, `dropped` those that one does.

    `after` is None where the tests were not run with the changes; `reason` then says why.
    """

    kept: list[Change]
    dropped: list[Change]
    before: Outcomes | None
    after: Outcomes | None
    reason: str = ""


class Prover:
    """Runs the tests of the project below `root`, for at most `seconds` each time."""

    def __init__(self, sandbox: Sandbox, root: str, seconds: float) -> None:
        self._sandbox = sandbox
        self._root = root
        self._seconds = seconds
        self._runs = 0
        self._import_mode = "prepend"

    async def prove(self, changes: Sequence[Change]) -> Proof:
        """Find which changes keep the tests passing. Raises SandboxUnavailable."""
        before = await self._unchanged()
        proof = Proof(kept=list(changes), dropped=[], before=before, after=None)
        if not before.passed:
            proof.reason = before.reason
        elif changes:
            proof.kept = []
            await self._settle(list(changes), before.passed, proof)
        return proof

    async def _unchanged(self) -> Outcomes:
        """The tests as they are, imported in the way in which more of them can be.

        pytest's usual way lets tests import what lies beside them, but not two modules of one name,
        such as two packages called `tests`. `importlib` does, and may do without the former.
        """
        usual = await self._run([])
        if usual.is_over or (usual.passed and not usual.not_loaded):
            return usual
        self._import_mode = "importlib"
        other = await self._run([])
        if len(other.passed) > len(usual.passed):
            return other
        self._import_mode = "prepend"
        return usual

    async def _settle(self, changes: list[Change], passing: set[str], proof: Proof) -> None:
        """Keep all of them, or look for those that are to blame, half by half."""
        if self._runs > _MOST_RUNS:
            proof.dropped += changes
            return
        after = await self._run([*proof.kept, *changes])
        if passing <= after.passed:
            proof.kept += changes
            proof.after = after
        elif len(changes) == 1:
            proof.dropped += changes
        else:
            half = len(changes) // 2
            await self._settle(changes[:half], passing, proof)
            await self._settle(changes[half:], passing, proof)

    async def _run(self, changes: Sequence[Change]) -> Outcomes:
        self._runs += 1
        paths = ["/sandbox", "/source", "/source/src", *self._packages()]
        command = "cd /source && exec python -m pytest -q --maxfail=50 -p no:cacheprovider"
        command += f" --continue-on-collection-errors --import-mode={self._import_mode}"
        command += _IMPORTING[self._import_mode]
        end = await self._sandbox.run(
            SandboxRun(
                argv=("sh", "-c", f"{command} -p sutazai_outcomes -o addopts= ."),
                files={"sutazai_outcomes.py": _PLUGIN.read_bytes()},
                source=self._root,
                replaced={one.file.lstrip("/"): one.after.encode() for one in changes},
                environment={
                    "PYTHONPATH": ":".join(paths),
                    # What the server has installed is none of the project's business.
                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                },
                collect=("outcomes.json",),
                limits=SandboxLimits(
                    seconds=self._seconds,
                    cpu_seconds=int(2 * self._seconds),
                    memory=1024 * MIB,
                    processes=64,
                    file_bytes=256 * MIB,
                    output_bytes=8 * MIB,
                ),
            )
        )
        output = (end.stdout + end.stderr)[-_TAIL:].decode("utf-8", "replace").strip()
        if end.limit is not None:
            reason = f"the tests were ended by the limit of {end.limit}"
            return Outcomes(by_test={}, reason=reason, output=output, is_over=True)
        try:
            report = end.files.get("outcomes.json", b"")
            by_test = msgspec.json.decode(report[:_LARGEST_REPORT], type=dict[str, str])
        except msgspec.MsgspecError:
            return Outcomes(by_test={}, reason=_not_run(output), output=output)
        if any(outcome == _PASSED for outcome in by_test.values()):
            all_loaded = _NOT_LOADED not in by_test.values()
            return Outcomes(by_test=by_test, output="" if all_loaded else output)
        reason = "no test passes, with or without fixes" if by_test else "no test was found"
        return Outcomes(by_test=by_test, reason=reason, output=output)

    def _packages(self) -> list[str]:
        """What the project's own environment has, where it is one of the server's Python."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return [
            f"/source/{name}/lib/{version}/site-packages"
            for name in (".venv", "venv")
            if Path(self._root, name, "lib", version, "site-packages").is_dir()
        ]


def _not_run(output: str) -> str:
    """Why pytest gave up, by the first error that it names."""
    found = _RAISED.search(output) or _COMPLAINT.search(output)
    return (
        f"the tests could not be run: {found[1][:200]}" if found else "the tests could not be run"
    )
