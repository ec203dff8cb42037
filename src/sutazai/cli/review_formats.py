"""A review for other programs: as a SARIF log, and as GitHub's annotations."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from sutazai.cli.output import printable

_COMMANDS = {"critical": "error", "high": "error", "medium": "warning"}


def sarif(result: Mapping[str, Any], task_type: str) -> dict[str, Any]:
    """The log of a result whose paths are the user's; relative ones are below the root."""
    from sutazai.analysis.sarif import sarif_log

    return sarif_log(
        _below_root(result), version=version("sutazai"), task_type=task_type, dismissals={}
    )


def _below_root(result: Mapping[str, Any]) -> dict[str, Any]:
    def moved(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{**item, "file": _rooted(item["file"])} for item in items]

    after = {**result, "issues": moved(result["issues"]), "unparsed": moved(result["unparsed"])}
    for listed in ("not_analysed", "skipped", "dismissed"):
        if result.get(listed):
            after[listed] = moved(result[listed])
    if result.get("baseline"):
        parts = {name: moved(result["baseline"][name]) for name in ("unchanged", "absent")}
        after["baseline"] = {**result["baseline"], **parts}
    return after


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def annotations(result: Mapping[str, Any]) -> list[str]:
    """A workflow command of GitHub Actions for each finding and each file that was not read.

    Per https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    lines = []
    for issue in result["issues"]:
        command = _COMMANDS.get(issue["severity"], "notice")
        place = {
            "file": issue["file"],
            "line": issue["line"],
            "endLine": max(issue["line"], issue["end_line"]),
            "title": f"{issue['rule']} ({issue['severity']})",
        }
        if place["endLine"] == place["line"]:
            place["col"] = issue["column"]
        lines.append(_command(command, place, f"{issue['description']} {issue['suggestion']}"))
    for item in result["unparsed"]:
        place = {"file": item["file"], "line": item["line"], "title": "not parsed"}
        lines.append(_command("warning", place, item["reason"]))
    for listed, title in (("not_analysed", "not analysed"), ("skipped", "skipped")):
        for item in result.get(listed) or ():
            place = {"file": item["file"], "title": title}
            lines.append(_command("notice", place, item["reason"]))
    return lines


def _command(name: str, properties: Mapping[str, Any], message: str) -> str:
    shown = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    return f"::{name} {shown}::{_data(message)}"


def _data(text: str) -> str:
    """What others wrote on one line, so that it cannot end the command and begin another."""
    return printable(text.replace("\r", " ").replace("\n", " ")).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
