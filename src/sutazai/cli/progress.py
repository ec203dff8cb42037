"""Live progress: bars on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from sutazai.cli.output import err, printable

_LINE_EVERY = 2.0
_FINAL = {"completed", "failed", "cancelled"}


class Display(Protocol):
    """Shows how far tasks are; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, name: str, task: Mapping[str, Any]) -> None:
        """Show a task, as the API has it, under a name."""
        ...


def display(*, quiet: bool = False) -> Display:
    """The display that standard error is fit for."""
    console = err()
    if quiet:
        return Silent()
    return Bars() if console.is_terminal and not console.is_dumb_terminal else Lines()


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

    def show(self, name: str, task: Mapping[str, Any]) -> None:
        """See Display."""


class Lines(Silent):
    """A line when a task's status changes, and every two seconds while it works."""

    def __init__(self) -> None:
        self._console = err()
        self._told: dict[str, tuple[str, float]] = {}

    def show(self, name: str, task: Mapping[str, Any]) -> None:
        """See Display."""
        status, now = task["status"], time.monotonic()
        before = self._told.get(name)
        if before and (before[0] == status and now - before[1] < _LINE_EVERY):
            return
        if before and before[0] in _FINAL:
            return
        self._told[name] = (status, now)
        text = f"{printable(name)}: {status} {task.get('progress', 0)} %{_counters(task)}"
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

    def show(self, name: str, task: Mapping[str, Any]) -> None:
        """See Display."""
        if name not in self._rows:
            self._rows[name] = self._progress.add_task(printable(name), total=100, said="")
        status = task["status"]
        said = status if status != "processing" else ""
        done = 100 if status == "completed" else task.get("progress", 0)
        self._progress.update(
            self._rows[name], completed=done, said=f"{said}{_counters(task)}".strip(" ,")
        )


def _counters(task: Mapping[str, Any]) -> str:
    if task["status"] != "processing":
        return ""
    metadata = task.get("metadata") or {}
    lines, issues = metadata.get("lines_processed"), metadata.get("issues_found")
    if not isinstance(lines, int) or not isinstance(issues, int):
        return ""
    return f", {lines:,} lines, {issues:,} issues"
