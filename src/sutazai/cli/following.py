"""Following tasks of a server to their ends."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sutazai.cli.progress import Display

if TYPE_CHECKING:
    from sutazai_client import SutazAIClient

# Often at first, when most tasks end; then seldom enough for the limit on a user's requests.
_FIRST_LOOK, _SLOWER, _LAST_LOOK = 0.2, 1.2, 1.5


def follow(
    client: "SutazAIClient", tasks: Mapping[str, str], display: Display
) -> dict[str, dict[str, Any]]:
    """Show these tasks (ids by name) until all have ended; each as it is then."""
    from sutazai_client import FINAL

    ended: dict[str, dict[str, Any]] = {}
    look = _FIRST_LOOK
    while len(ended) < len(tasks):
        waiting = [name for name in tasks if name not in ended]
        for name in waiting:
            # Together one look at all of them takes about as long as one wait.
            task = client.get_task(tasks[name], wait=look / len(waiting))
            display.show(task, name)
            if task["status"] in FINAL:
                ended[name] = task
        look = min(_LAST_LOOK, look * _SLOWER)
    return ended
