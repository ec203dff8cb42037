"""What of a result is a language model's word, for a person to read: marked, and counted."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from sutazai.cli.output import printable

_TAKEN = {
    "comments": ("comment", "comments"),
    "fixes_proven": ("proven fix", "proven fixes"),
    "findings_added": ("finding of its own", "findings of its own"),
    "tests_added": ("test", "tests"),
}
_GAINED = {
    "lines_gained": ("line", "lines"),
    "branches_gained": ("branch", "branches"),
    "mutants_gained": ("mutant", "mutants"),
}
_NOT_TAKEN = {
    "comments_dropped": ("comment", "comments"),
    "fixes_refused": ("fix", "fixes"),
    "findings_dropped": ("finding", "findings"),
    "proposals_dropped": ("proposal", "proposals"),
    "answers_unusable": ("answer of the wrong form", "answers of the wrong form"),
}


def contribution(model: Mapping[str, Any]) -> str:
    """What a model brought to a result by its `model` field: counted, and nothing where nothing."""
    taken, refused = _counted(model, _TAKEN), _counted(model, _NOT_TAKEN)
    if gained := _counted(model, _GAINED):
        taken = f"{taken}, which gain {gained}"
    if not taken and _TAKEN.keys() & model.keys():
        taken = "nothing usable"
    parts = [taken] if taken else []
    if refused:
        parts.append(f"not taken: {refused}")
    if problem := model.get("problem"):
        parts.append(f"it ended early: {printable(str(problem)).rstrip('.')}")
    if (seconds := model.get("seconds") or 0) >= 1:
        parts.append(f"{seconds:.0f} s of waiting for it")
    name = printable(str(model.get("name") or "not asked"))
    return f"{name}: {'; '.join(parts)}" if parts else name


def _counted(model: Mapping[str, Any], nouns: Mapping[str, tuple[str, str]]) -> str:
    counts = {name: model.get(name) or 0 for name in nouns}
    return ", ".join(
        f"{count:,} {nouns[name][count != 1]}" for name, count in counts.items() if count
    )


def opinion(issue: Mapping[str, Any]) -> Text | None:
    """What the model says of a finding; None where it says nothing."""
    told = issue.get("assessment")
    if not told:
        return None
    if told["verdict"] == "doubtful":
        return Text(f"The model doubts it: {printable(told['reason'])}", "yellow")
    words = f"The model confirms it ({told['importance']}/10): {printable(told['explanation'])}"
    return Text(words, "magenta")


def fix_lines(issue: Mapping[str, Any]) -> list[Text]:
    """A repair by the model, with how it was proven, as the lines of its patch."""
    fix = issue.get("fix")
    if not fix or fix.get("by") != "model":
        return []
    lines = [Text(f"A fix by the model, {printable(fix['proven'])}:", "magenta")]
    for line in str(fix["patch"]).splitlines():
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        lines.append(Text(printable(line), style))
    return lines
