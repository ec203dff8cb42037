"""An agent as a program of its own, to be stopped and killed: `program.py AGENT_ID TYPE FILE`.

Its function notes every attempt in the file and then waits until it is told to stop.
"""

import sys
import time
from pathlib import Path

from sutazai_client import Agent, Assignment


def main(agent_id: str, task_type: str, file: str) -> None:
    agent = Agent(agent_id, drain_seconds=0)

    @agent.task(task_type)
    def work(assignment: Assignment) -> None:
        with Path(file).open("a") as notes:
            notes.write(f"{assignment.task_id} {assignment.attempt}\n")
        while not assignment.cancelled:
            time.sleep(0.05)  # its work: taking long

    agent.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
