"""When what has not begun is not to begin any more: something has failed, here or above."""

from collections.abc import Callable

from sutazai.database import Connection
from sutazai.workflows import store
from sutazai.workflows.graph import Graph
from sutazai.workflows.model import Execution, Step

GraphOf = Callable[[Connection, str, int], Graph]


def gives_up(step: Step, failed: int) -> bool:
    """Whether a step of which so many items failed begins no more of them."""
    return failed > 0 and step.on_failure != "continue"


def has_given_up(connection: Connection, graph: Graph, execution_id: str, position: int) -> bool:
    """Whether a step that is done for items has given up."""
    [run] = store.runs(connection, execution_id, positions=[position], item=-1)
    return run.items is not None and gives_up(graph.steps[position], run.items.failed)


def stops_above(connection: Connection, graph_of: GraphOf, execution: Execution) -> bool:
    """Whether something above an execution has failed, so that it is to begin nothing more.

    Not where it compensates for a failure.
    """
    while execution.parent is not None:
        parent_id, position, item = execution.parent
        parent = store.get_execution(connection, parent_id)
        if parent is None:
            return False
        graph = graph_of(connection, parent.workflow_id, parent.version)
        if item >= 0 and has_given_up(connection, graph, parent_id, position):
            return True
        if position in graph.compensations:
            return False
        if graph.is_failing(parent.state):
            return True
        execution = parent
    return False
