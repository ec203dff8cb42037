"""An execution on a terminal: its steps, live or as they ended."""

import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sutazai.cli.output import err, out, printable
from sutazai.cli.progress import Display, Silent, fitting

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_MARKS = {
    "pending": ("·", "dim"),
    "running": ("▶", "cyan"),
    "waiting": ("?", "yellow"),
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("-", "dim"),
    "cancelled": ("∅", "dim"),
}
_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "paused": "yellow"}
# Around the steps: the heading, the line below, the prompt.
_OTHER_LINES = 4
_LINE_EVERY = 10.0


def display(*, quiet: bool = False) -> Display:
    """A display of executions."""
    return fitting(Live, Lines, quiet=quiet)


class Lines(Silent):
    """A line when a step's status changes, and now and then how many are done."""

    def __init__(self) -> None:
        self._console = err()
        self._told: dict[str, str] = {}
        self._counted_at = time.monotonic()

    def show(self, what: Mapping[str, Any], name: str = "") -> None:
        """See Display."""
        changed = False
        for step in what["steps"]:
            step_id, status = step["step_id"], step["status"]
            if self._told.get(step_id, "pending") == status:
                continue
            self._told[step_id] = status
            changed = True
            self._say(f"{printable(step_id)}: {status}{_said(step)}{_asked(what, step)}")
        now = time.monotonic()
        if changed or now - self._counted_at >= _LINE_EVERY:
            self._counted_at = now
            if not changed:
                done, total = what["steps_completed"], what["steps_total"]
                self._say(f"{what['status']}, {done} of {total} steps done")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


class Live(Silent):
    """A table of the steps, redrawn in place; of many, those that matter now."""

    def __init__(self) -> None:
        from rich.live import Live as Redrawn

        self._console = err()
        self._execution: Mapping[str, Any] | None = None
        self._live = Redrawn(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, what: Mapping[str, Any], name: str = "") -> None:
        """See Display."""
        self._execution = what

    def _render(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        if self._execution is None:
            return Text("…", style="dim")
        room = max(3, self._console.height - _OTHER_LINES)
        steps, hidden = _chosen(self._execution["steps"], room)
        rows = steps_table(self._execution, steps)
        more = [Text(f"  and {hidden} more", style="dim")] if hidden else []
        return Group(heading(self._execution), rows, *more)


def _chosen(steps: Sequence[Mapping[str, Any]], room: int) -> tuple[list[Mapping[str, Any]], int]:
    """As many steps as fit, in order: what goes on and what failed before all else."""
    if len(steps) <= room:
        return list(steps), 0
    order = ("running", "waiting", "failed", "completed", "pending", "cancelled", "skipped")
    # The last that completed, the first that come next.
    ranked = sorted(
        range(len(steps)),
        key=lambda n: (
            order.index(steps[n]["status"]),
            -n if steps[n]["status"] == "completed" else n,
        ),
    )
    return [steps[n] for n in sorted(ranked[:room])], len(steps) - room


def heading(execution: Mapping[str, Any]) -> "Text":
    """One line: which execution, how it is, how far, how long."""
    from rich.text import Text

    text = Text()
    text.append(execution["execution_id"], style="bold")
    status = execution["status"]
    text.append(f"  {status}", style=_STYLES.get(status, "cyan"))
    done, total = execution["steps_completed"], execution["steps_total"]
    text.append(f"  {done} of {total} steps  {_lasted(execution, _ended_at(execution))}")
    return text


def steps_table(execution: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> "Table":
    """The steps, one a row."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for _ in ("mark", "step", "type"):
        table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for step in steps:
        mark, style = _MARKS[step["status"]]
        remark = f"{_items(step)}{_said(step)}{_asked(execution, step)}".lstrip(" :,")
        table.add_row(
            Text(mark, style=style),
            Text(printable(step["step_id"]), style="bold" if style != "dim" else "dim"),
            Text(printable(step["type"]), style="dim"),
            Text(_lasted(step, step["ended_at"]), style="dim"),
            Text(printable(remark), style="red" if step["status"] == "failed" else ""),
        )
    return table


def print_execution(execution: Mapping[str, Any]) -> None:
    """The execution and all its steps, on standard output."""
    console: Console = out()
    console.print(heading(execution))
    console.print(steps_table(execution, execution["steps"]))
    if execution.get("error"):
        from rich.text import Text

        error = execution["error"]
        text = f"{error['code']}: {printable(error['message'])}"
        console.print(Text(text, style="red"), soft_wrap=True)


def _said(step: Mapping[str, Any]) -> str:
    error = step.get("error")
    return "" if not error else f": {error['message']}"


def _items(step: Mapping[str, Any]) -> str:
    items = step.get("items")
    if not items:
        return ""
    done = sum(one["status"] == "completed" for one in items)
    return f"{done} of {len(items)} items"


def _asked(execution: Mapping[str, Any], step: Mapping[str, Any]) -> str:
    """What a person is to do, for a step that waits for one."""
    if step["status"] != "waiting":
        return ""
    said = f": sutazai workflow approve {execution['execution_id']} {step['step_id']}"
    event = step.get("event")
    if event:
        said += f", or sutazai workflow post-event {event['event_type']}"
        if event["correlation_id"] is not None:
            said += f" --correlation-id {shlex.quote(printable(event['correlation_id']))}"
    return said


def _ended_at(execution: Mapping[str, Any]) -> str | None:
    for name in ("completed_at", "failed_at", "cancelled_at"):
        if execution.get(name):
            moment: str = execution[name]
            return moment
    return None


def _lasted(what: Mapping[str, Any], ended_at: str | None) -> str:
    if what["started_at"] is None:
        return ""
    begun = datetime.fromisoformat(what["started_at"])
    end = datetime.now(UTC) if ended_at is None else datetime.fromisoformat(ended_at)
    return duration(max(0.0, (end - begun).total_seconds()))


def duration(seconds: float) -> str:
    """Such as `0.21 s`, `4.2 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
