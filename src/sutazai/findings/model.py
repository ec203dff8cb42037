"""What is remembered of findings, and for which project."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from sutazai.clock import to_iso

WORKSPACE = "workspace:"
_LONGEST_PROJECT = 200


class Dismissal(NamedTuple):
    """That somebody does not want to see a finding again; `owner` is empty where it is for all."""

    project: str
    fingerprint: str
    owner: str
    reason: str
    dismissed_by: str
    dismissed_at: int
    task_id: str

    @property
    def shown(self) -> dict[str, Any]:
        """As results have it."""
        return {
            "reason": self.reason,
            "by": self.dismissed_by,
            "at": to_iso(self.dismissed_at),
        }


class Baseline(NamedTuple):
    """What an earlier review had found; `task_id` and `commit` say which, where it was one."""

    task_id: str | None
    commit: str | None
    issues: list[Mapping[str, Any]]


class FindingPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a task's findings, worst first, each with its dismissal as it is now."""

    findings: list[dict[str, Any]]
    total: int


def project_of(metadata: Mapping[str, Any], workspace: str) -> str | None:
    """What the findings of a task are remembered for: `metadata.project`, else where the code is.

    None for inline code without a project's name: it is of nowhere.
    """
    named = metadata.get("project")
    if isinstance(named, str) and 0 < len(named.strip()) <= _LONGEST_PROJECT:
        return f"name:{named.strip()}"
    repository = metadata.get("repository")
    if isinstance(repository, str) and repository.strip():
        return f"repository:{_normal(repository)}"[:1_000]
    if metadata.get("code") is not None:
        return None
    return f"{WORKSPACE}{workspace}"


def _normal(url: str) -> str:
    scheme, separator, rest = url.strip().partition("://")
    host, slash, path = rest.partition("/")
    path = path.rstrip("/").removesuffix(".git")
    return f"{scheme.lower()}{separator}{host.lower()}{slash}{path}"
