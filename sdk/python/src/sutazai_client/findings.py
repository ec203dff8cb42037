"""The client's methods about what tasks found."""

from typing import Any

from sutazai_client.calls import Calls, given, part


class FindingCalls(Calls):
    """List, dismiss, restore; and findings as SARIF."""

    def list_findings(
        self, task_id: str, *, dismissed: bool | None = None, limit: int = 100, offset: int = 0
    ) -> dict[str, Any]:
        """A page of `findings` that a task made, each with its `dismissed` or None; `total`."""
        params = given({"dismissed": dismissed, "limit": limit, "offset": offset})
        return self._dict("GET", f"/tasks/{part(task_id)}/findings", params=params)

    def dismiss_finding(self, task_id: str, fingerprint: str, reason: str) -> dict[str, Any]:
        """Leave a finding out of later reviews of the same project."""
        path = f"/tasks/{part(task_id)}/findings/{part(fingerprint)}/dismiss"
        return self._dict("POST", path, body={"reason": reason})

    def restore_finding(self, task_id: str, fingerprint: str) -> None:
        """Take a dismissal back."""
        path = f"/tasks/{part(task_id)}/findings/{part(fingerprint)}/dismiss"
        self._transport.call("DELETE", path)

    def get_sarif(self, task_id: str) -> dict[str, Any]:
        """A task's findings as a SARIF 2.1.0 log."""
        path = f"/tasks/{part(task_id)}/result"
        return self._dict("GET", path, params={"format": "sarif"})
