"""What a retry makes of what was done: all that did not complete is to be done again."""

import msgspec

from sutazai.database import Connection
from sutazai.workflows import store
from sutazai.workflows.model import Execution, ExecutionStatus, Items, Run, StepStatus


def reset_children(
    connection: Connection, execution_id: str, positions: list[int]
) -> list[tuple[Run, Execution]]:
    """Make steps that executed something run again; with what is to be tried again for them."""
    found = []
    for run in store.runs(connection, execution_id, positions=positions, item=-1):
        if run.child_id is None:
            continue
        child = store.get_execution(connection, run.child_id, lock=True)
        if child is None or child.status is ExecutionStatus.COMPLETED:
            continue
        going = msgspec.structs.replace(run, status=StepStatus.RUNNING, ended_at=None, error=None)
        store.update_runs(connection, execution_id, [going])
        found.append((going, child))
    return found


def reset_items(connection: Connection, execution_id: str, positions: list[int]) -> list[int]:
    """Make the items that were not completed pending again; the steps that have such."""
    whole = [
        run
        for run in store.runs(connection, execution_id, positions=positions, item=-1)
        if run.items is not None
    ]
    changed = []
    for run in whole:
        assert run.items is not None
        changed.append(
            msgspec.structs.replace(
                run,
                status=StepStatus.RUNNING,
                items=Items(run.items.total, 0, 0, 0),
                ended_at=None,
                error=None,
            )
        )
    partly = [run.position for run in whole]
    changed += [
        msgspec.structs.replace(
            run,
            status=StepStatus.PENDING,
            task_id=None,
            started_at=None,
            ended_at=None,
            error=None,
        )
        for run in store.runs(connection, execution_id, positions=partly)
        if run.item >= 0 and run.status is not StepStatus.COMPLETED
    ]
    store.update_runs(connection, execution_id, changed)
    return partly
