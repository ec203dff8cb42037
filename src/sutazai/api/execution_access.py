"""Whose executions one may read and change: the same rule at every door."""

from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.model import Principal, require
from sutazai.workflows.executions import Executions
from sutazai.workflows.model import Execution


def require_own_or(principal: Principal, permission: str, execution: Execution | None) -> None:
    """FORBIDDEN unless the principal executed it, or has the permission on workflows.

    None stands for an execution that does not exist: who may not read must not learn that.
    """
    if execution is None or execution.submitted_by != principal.user_id:
        require(principal, permission, "workflows")


async def check_own_or(
    executions: Executions, principal: Principal, execution_id: str, permission: str
) -> None:
    """See `require_own_or`; NOT_FOUND where there is none."""
    if principal.may(permission, "workflows"):
        return
    try:
        execution = await executions.get(execution_id)
    except SutazaiError as error:
        if error.code is ErrorCode.NOT_FOUND:
            require_own_or(principal, permission, None)
        raise
    require_own_or(principal, permission, execution)
