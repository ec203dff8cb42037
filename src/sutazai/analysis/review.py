"""Reviewing a batch of files, synchronously: what a worker process does."""

import gc
import hashlib
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec

from sutazai.analysis.engines.bandit import BanditEngine
from sutazai.analysis.engines.ruff import MESSAGES_PER_FILE, RuffError, RuffRun, RuffTimeout
from sutazai.analysis.engines.secrets import scan_text
from sutazai.analysis.findings import Finding, RawFinding
from sutazai.analysis.merge import merge
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.protocol import FileReview, Unparsed
from sutazai.analysis.rules import run_own_rules
from sutazai.analysis.source import Source, SourceError, read_source

FILE_SECONDS = 20.0
"""Processor time that one file may take before it is given up and reported."""

_COLLECT_EVERY = 300_000
"""Characters of source after which the (cyclic) trees are thrown away."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One file's content, ready to be reviewed."""

    file: str
    key: str
    content: bytes
    language: str | None = None


class _TooLong(BaseException):
    # Not an Exception: engines catch those around their checks and would carry on.
    """Raised in the middle of the analysis by the timer."""


class Analyser:
    """The loaded engines. Loading takes a third of a second: make one, keep it."""

    def __init__(self, temporary: Path | None = None) -> None:
        self._bandit = BanditEngine()
        self._temporary = temporary

    def review(
        self, inputs: Sequence[Input], on_progress: Callable[[int, int, int], None]
    ) -> list[FileReview]:
        """Review a batch, in order. `on_progress(files, lines, issues)` is told what is new.

        Nothing in a file can make this raise: what cannot be analysed is reported as unparsed.
        """
        works = [_Work(item) for item in inputs]
        python = [work.source for work in works if work.source and work.source.is_python]
        with tempfile.TemporaryDirectory(prefix="review-", dir=self._temporary) as folder:
            ruff = RuffRun(python, Path(folder)) if python else None
            try:
                since = 0
                for work in works:
                    with _time_limit(work):
                        self._analyse(work)
                    on_progress(1, work.lines, 0)
                    since += len(work.item.content)
                    if since > _COLLECT_EVERY and not gc.isenabled():
                        gc.collect()
                        since = 0
                parsed = [work.source for work in works if work.source and work.module]
                found, failure = _ruff_results(ruff, parsed, Path(folder, "again"))
            finally:
                if ruff is not None:
                    ruff.stop()
        for work in works:
            if work.source and work.source.is_python and work.item.file not in found:
                work.fail(1, f"ruff failed, so its rules did not run: {failure}")
                work.transient = True
        for work in works:
            with _time_limit(work):
                work.merge(found.get(work.item.file, []))
            on_progress(0, 0, len(work.findings))
        return [work.result() for work in works]

    def _analyse(self, work: "_Work") -> None:
        if work.source is None:
            return
        work.raws += scan_text(work.source)
        if work.source.is_python:
            work.module = parse(work.source)
            work.raws += run_own_rules(work.module)
            work.raws += self._bandit.run(work.module)


class _Work:
    """One file on its way through the engines."""

    def __init__(self, item: Input) -> None:
        self.item = item
        self.source: Source | None = None
        self.module: Module | None = None
        self.raws: list[RawFinding] = []
        self.unparsed: Unparsed | None = None
        self.findings: list[Finding] = []
        self.suppressed = 0
        self.transient = False
        try:
            self.source = read_source(item.file, item.content, item.language)
        except SourceError as error:
            self.fail(error.line, error.reason)

    @property
    def lines(self) -> int:
        """How many lines the file has, decoded or not."""
        return len(self.source.lines) if self.source else self.item.content.count(b"\n")

    def fail(self, line: int, reason: str) -> None:
        """Report the file as unparsed; the first reason stands."""
        if self.unparsed is None:
            self.unparsed = Unparsed(file=self.item.file, line=line, reason=reason)

    def merge(self, more: list[RawFinding]) -> None:
        """Make findings of what has been seen so far and `more`, which is ruff's."""
        if self.source is None:
            return
        if len(more) >= MESSAGES_PER_FILE:
            self.fail(
                1, f"ruff reports more than {MESSAGES_PER_FILE:,} places; the rest is left out"
            )
        self.findings, self.suppressed = merge(self.source, self.module, [*self.raws, *more])

    def result(self) -> FileReview:
        """The file's review."""
        return FileReview(
            file=self.item.file,
            key="" if self.transient else self.item.key,
            lines=self.lines,
            findings=self.findings,
            suppressed=self.suppressed,
            unparsed=self.unparsed,
            only_scanned=self.source is not None and not self.source.is_python,
        )


@contextmanager
def _time_limit(work: _Work) -> Iterator[None]:
    """Turn whatever stops the analysis of one file into its reported reason."""

    def stop(_signal: int, _frame: object) -> None:
        raise _TooLong

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, FILE_SECONDS)
    try:
        yield
    except SourceError as error:
        work.fail(error.line, error.reason)
    except _TooLong:
        work.transient = True
        work.fail(1, f"took more than {FILE_SECONDS:.0f} s of processor time")
    except (RecursionError, MemoryError):
        work.fail(1, "nested too deeply or too large to be analysed")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _ruff_results(
    ruff: RuffRun | None, parsed: list[Source], folder: Path
) -> tuple[dict[str, list[RawFinding]], str]:
    """Ruff's findings by file; of the files that are missing there, why ruff has none."""
    if ruff is None:
        return {}, ""
    try:
        return ruff.results(), ""
    except RuffTimeout as error:
        return {}, str(error)
    except RuffError as error:
        failure = str(error)
    # One file nested too deeply takes ruff down with it. Our own parser refused that one too, and
    # reported it: the others are asked about again without it.
    if not parsed:
        return {}, failure
    folder.mkdir()
    try:
        return RuffRun(parsed, folder).results(), failure
    except RuffError as error:
        return {}, str(error)


def analysers() -> dict[str, str]:
    """Each analyser's version.

    Our own carries a digest of the rules: a changed rule never answers from an older one's cache.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return {
        "ruff": version("ruff"),
        "bandit": version("bandit"),
        "sutazai": f"{version('sutazai')}+{digest.hexdigest()[:12]}",
    }
