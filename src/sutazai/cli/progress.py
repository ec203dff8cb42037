"""Live progress: bars on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from sutazai.cli.output import err, printable

_LINE_EVERY = 2.0
_FINAL = {"completed", "failed", "cancelled"}


class Display(Protocol):
    """Shows how far something is; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, what: Mapping[str, Any], name: str = "") -> None:
        """Show a task, under a name, or an execution with its steps; as the API has them."""
        ...


def display(*, quiet: bool = False) -> Display:
    """A display of tasks."""
    return fitting(Bars, Lines, quiet=quiet)


def fitting(live: Callable[[], Display], lines: Callable[[], Display], *, quiet: bool) -> Display:
    """The one of these that standard error is fit for."""
    console = err()
    if quiet:
        return Silent()
    return live() if console.is_terminal and not console.is_dumb_terminal else lines()


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def show(self, what: Mapping[str, Any], name: str = "") -> None:
        """See Display."""


class Lines(Silent):
    """A line when a task's status changes, and every two seconds while it works."""

    def __init__(self) -> None:
        self._console = err()
        self._told: dict[str, tuple[str, float]] = {}

    def show(self, what: Mapping[str, Any], name: str = "") -> None:
        """See Display."""
        status, now = what["status"], time.monotonic()
        before = self._told.get(name)
        if before and (before[0] == status and now - before[1] < _LINE_EVERY):
            return
        if before and before[0] in _FINAL:
            return
        self._told[name] = (status, now)
        text = f"{printable(name)}: {status} {what.get('progress', 0)} %{_counters(what)}"
        self._console.print(text, soft_wrap=True)


class Bars(Silent):
    """A bar a task, redrawn in place."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            TextColumn("{task.fields[said]}", style="dim", markup=False),
            console=err(),
        )
        self._rows: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, what: Mapping[str, Any], name: str = "") -> None:
        """See Display."""
        if name not in self._rows:
            self._rows[name] = self._progress.add_task(printable(name), total=100, said="")
        status = what["status"]
        said = status if status != "processing" else ""
        done = 100 if status == "completed" else what.get("progress", 0)
        self._progress.update(
            self._rows[name], completed=done, said=f"{said}{_counters(what)}".strip(" ,")
        )


def _counters(task: Mapping[str, Any]) -> str:
    if task["status"] != "processing":
        return ""
    metadata = task.get("metadata") or {}
    if metadata.get("model_questions"):
        return ", asking the language model"
    lines, issues = metadata.get("lines_processed"), metadata.get("issues_found")
    if not isinstance(lines, int) or not isinstance(issues, int):
        return ""
    found = "1 issue" if issues == 1 else f"{issues:,} issues"
    return f", {lines:,} lines, {found}"
