"""A review's result as a person reads it: by file, worst file first, with the code beside it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.text import Text

from sutazai.cli.model_view import contribution, fix_lines, opinion
from sutazai.cli.output import printable

SEVERITIES = ("critical", "high", "medium", "low", "info")
"""Worst first, as the analysis orders them."""

_STYLES = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "yellow",
    "low": "cyan",
    "info": "dim",
}
_MARGIN = 10
_SKIPPED_NAMED = 2

Issue = Mapping[str, Any]
PathOf = Callable[[str], str]
"""How a result's path (`/` is the workspace's root) is written for this reader."""


def print_issues(console: Console, issues: Sequence[Issue], path_of: PathOf) -> None:
    """Every issue given: the file with the worst first, in a file from top to bottom."""
    worst: dict[str, tuple[bool, int]] = {}
    for issue in issues:
        rank = (bool(issue.get("in_test")), SEVERITIES.index(issue["severity"]))
        worst[issue["file"]] = min(worst.get(issue["file"], rank), rank)
    ordered = sorted(
        issues,
        key=lambda issue: (
            worst[issue["file"]],
            issue["file"],
            issue["line"],
            issue["column"],
        ),
    )
    print_in_order(console, ordered, path_of)


def print_in_order(console: Console, issues: Sequence[Issue], path_of: PathOf) -> None:
    """Every issue in the order given, the file named whenever it changes."""
    for file, group in groupby(issues, key=lambda issue: str(issue["file"])):
        console.print(Text(printable(path_of(file)), "bold underline"), soft_wrap=True)
        for issue in group:
            _print_issue(console, issue)
        console.print()


def _print_issue(console: Console, issue: Issue) -> None:
    severity = issue["severity"]
    place = f"{issue['line']}:{issue['column']}"
    head = Text.assemble((f"{place:>8}  ", "dim"))
    head.append(severity, _STYLES[severity])
    head.append(f"  {printable(issue['rule'])}", "bold")
    if issue["cwe"] is not None:
        head.append(f"  CWE-{issue['cwe']}", "dim")
    if issue["confidence"] != "high":
        head.append(f"  {issue['confidence']} confidence", "dim")
    if issue.get("by") == "model":
        head.append("  found by the model", "magenta")
    console.print(head, soft_wrap=True)
    width = max(20, console.width - _MARGIN - 2)
    code = Text(window(issue["code"], issue["column"], width), "blue")
    _print_block(console, Text("  "), Text(printable(issue["description"])), width)
    _print_block(console, Text("│ ", "dim"), code, width)
    _print_block(console, Text("→ ", "green"), Text(printable(issue["suggestion"])), width)
    if (said := opinion(issue)) is not None:
        _print_block(console, Text("◆ ", "magenta"), said, width)
    for number, line in enumerate(fix_lines(issue)):
        # Not wrapped: a patch is for copying.
        mark = "◆ " if number == 0 else "  "
        console.print(Text.assemble(" " * _MARGIN, (mark, "magenta"), line), soft_wrap=True)


def _print_block(console: Console, mark: Text, text: Text, width: int) -> None:
    """Wrapped, indented, the mark before its first line; nothing behind it but the line's end."""
    for number, line in enumerate(text.wrap(console, width)):
        line.rstrip()
        before = mark if number == 0 else Text(" " * len(mark))
        console.print(Text.assemble(" " * _MARGIN, before, line), soft_wrap=True)


def window(code: str, column: int, width: int) -> str:
    """As much of a line of code as fits, the named column in it; cuts are marked by `…`."""
    bare = code.lstrip()
    shown = printable(bare.rstrip())
    if len(shown) <= width:
        return shown
    # What stands before the column may have grown by being written out.
    before = len(printable(bare[: max(0, column - 1 - (len(code) - len(bare)))]))
    start = 0 if before < width - 10 else min(before - width // 3, len(shown) - width + 1)
    cut = ("…" if start else "") + shown[start:]
    return cut if len(cut) <= width else cut[: width - 1] + "…"


def severity_counts(issues: Iterable[Issue]) -> Text:
    """Such as `5 critical · 10 high`."""
    counts = Counter(issue["severity"] for issue in issues)
    parts = [
        Text(f"{counts[severity]} {severity}", _STYLES[severity])
        for severity in SEVERITIES
        if counts[severity]
    ]
    between = Text.assemble((" · ", "dim"))
    return between.join(parts) if parts else Text("no issues", "bold green")


def nothing_read(result: Mapping[str, Any]) -> bool:
    """Whether none of the files could be parsed, so that finding nothing says nothing."""
    return not result["issues"] and 0 < result["metrics"]["files_analyzed"] <= len(
        result["unparsed"]
    )


def print_summary(
    console: Console, result: Mapping[str, Any], path_of: PathOf, *, where: str
) -> None:
    """What was found and looked at, and what was not; `where` says who reviewed."""
    metrics = result["metrics"]
    if result["unparsed"] and not result["issues"]:
        told = "nothing could be read" if nothing_read(result) else "no issues in what was read"
        console.print(Text(told, "bold yellow"))
    elif not result["issues"] and metrics.get("files_only_scanned") == metrics["files_analyzed"]:
        told = "no secrets; nothing else is looked for in files that are not Python"
        console.print(Text(told, "bold yellow"))
    elif not result["issues"] and result.get("not_analysed"):
        console.print(Text("no issues in what was analysed", "bold yellow"))
    else:
        console.print(severity_counts(result["issues"]))
    cached = metrics.get("files_cached")
    facts = [
        f"{_count(metrics['files_analyzed'], 'file')}, "
        f"{_count(metrics['lines_analyzed'], 'line')} in {metrics['time_taken']:.1f} s, {where}"
        + (f"; {cached} unchanged and taken from the cache" if cached else "")
    ]
    if result.get("issues_truncated"):
        facts.append(f"Of {metrics['issues_found']:,} issues the worst are listed; name less.")
    if result.get("suppressed"):
        facts.append(f"{_count(result['suppressed'], 'finding')} accepted by comments in the code")
    if result.get("dismissed"):
        facts.append(f"{_count(len(result['dismissed']), 'finding')} dismissed before")
    if (baseline := result.get("baseline")) is not None:
        gone = f", {baseline['absent_total']:,} gone" if baseline["absent_total"] else ""
        facts.append(f"{_count(len(baseline['unchanged']), 'finding')} known before{gone}")
    if model := result.get("model"):
        facts.append(f"Model {contribution(model)}")
    for fact in facts:
        console.print(Text(fact, "dim"), soft_wrap=True)
    for item in result["unparsed"]:
        console.print(
            Text.assemble(
                ("Not parsed: ", "yellow"),
                f"{printable(path_of(item['file']))}:{item['line']}: {printable(item['reason'])}",
            ),
            soft_wrap=True,
        )
    _print_by_reason(console, "Not analysed", result.get("not_analysed") or (), path_of)
    _print_by_reason(console, "Skipped", result["skipped"], path_of)


def _print_by_reason(
    console: Console, head: str, items: Iterable[Mapping[str, Any]], path_of: PathOf
) -> None:
    by_reason: dict[str, list[str]] = {}
    for item in items:
        if item["file"].endswith("/__pycache__"):
            continue  # nobody expects it to be reviewed
        by_reason.setdefault(item["reason"], []).append(path_of(item["file"]))
    for reason, files in by_reason.items():
        named = ", ".join(map(printable, files[:_SKIPPED_NAMED]))
        more = f" and {len(files) - _SKIPPED_NAMED} more" if len(files) > _SKIPPED_NAMED else ""
        said = f"{printable(reason)} ({named}{more})"
        console.print(Text.assemble((f"{head}: ", "yellow"), (said, "dim")), soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
