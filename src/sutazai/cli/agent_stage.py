"""Where an agent is checked: a server of its own, a witness in front of it, its program."""

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr
from sutazai_client import FINAL, SutazAIClient, SutazAIError

from sutazai.cli.agent_witness import Witness
from sutazai.cli.embedded import embedded_server
from sutazai.cli.failures import Failure
from sutazai.cli.output import err
from sutazai.settings import Settings

LEASE_SECONDS = 5
SLOW_SECONDS = LEASE_SECONDS + 2
"""What slow input takes at least: longer than a lease, and than stopping may take."""
_POLL = 0.05


class Wish(NamedTuple):
    """What is to be checked: the inputs are a task's metadata; None where there is none.

    `redis_url` is where the agent gets its work by messages, instead of over HTTP.
    """

    command: tuple[str, ...]
    agent_id: str
    task_type: str
    good: dict[str, Any]
    bad: dict[str, Any] | None
    slow: dict[str, Any] | None
    capacity: int
    patience: float
    redis_url: str | None = None


class Fault(Exception):
    """A check's answer is no; the message says what was seen, and what to do."""


class Skipped(Exception):
    """A check cannot be made, and why."""


class Stage:
    """Everything that a check may ask and do."""

    def __init__(
        self, wish: Wish, client: SutazAIClient, witness: Witness, program: "Program | None"
    ) -> None:
        self.wish = wish
        self.client = client
        self.witness = witness
        self.program = program

    def submit(self, given: dict[str, Any] | None) -> str:
        """A task for the agent: its id."""
        wish = self.wish
        task = self.client.create_task(
            wish.task_type, "a task of `sutazai agent check`", agent=wish.agent_id, metadata=given
        )
        return str(task["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        """A task as it is now."""
        return self.client.get_task(task_id)

    def until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Whether it became so in time; the agent's program must not end meanwhile."""
        end = time.monotonic() + seconds
        while not is_so():
            if self.program is not None and self.program.has_ended:
                raise Fault(f"The program ended: {self.program.end}. It must go on working.")
            if time.monotonic() > end:
                return False
            time.sleep(_POLL)
        return True

    def begun(self, task_id: str, seconds: float) -> bool:
        """Whether the agent took a task in time."""
        return self.until(lambda: self.task(task_id)["started_at"] is not None, seconds)

    def ended(self, task_id: str) -> dict[str, Any]:
        """The task once it is over; a fault where that takes too long."""
        patience = self.wish.patience
        if not self.until(lambda: self.task(task_id)["status"] in FINAL, patience):
            status = self.task(task_id)["status"]
            how = "POST /assignments/{id}/complete or /fail"
            if self.wish.redis_url is not None:
                how = "a response on agent:master-coordinator that has the request's correlation_id"
            raise Fault(
                f"A task was still {status} after {patience:g} s. Report its end with {how}, or "
                "give --patience more seconds."
            )
        return self.task(task_id)

    def needs_http(self) -> None:
        """Skip what only the witness can bring about, who stands between HTTP's two ends."""
        if self.wish.redis_url is not None:
            raise Skipped("only over HTTP")

    def does_good_work(self) -> None:
        """The agent does a task as it should."""
        task = self.ended(self.submit(self.wish.good))
        if task["status"] != "completed":
            told = (task.get("error") or {}).get("message", "")
            raise Fault(f"A good task ended as {task['status']}: {told}")

    def slow(self) -> str:
        """A task that takes longer than a lease, under way."""
        if self.wish.slow is None:
            raise Skipped(f"needs --slow: input that takes more than {SLOW_SECONDS} s")
        task_id = self.submit(self.wish.slow)
        if not self.begun(task_id, self.wish.patience):
            raise Fault("The agent did not take the slow task.")
        return task_id


class Program:
    """The agent, started by us."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        try:
            self._process = subprocess.Popen(
                list(command), env={**os.environ, **environment}, stdout=subprocess.DEVNULL
            )
        except OSError as error:
            raise Failure(f"{command[0]} cannot be started: {error.strerror}.") from error

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    @property
    def end(self) -> str:
        """How it ended."""
        return f"exit code {self._process.returncode}"

    def ask_to_stop(self, seconds: float) -> int | None:
        """Its exit code after SIGTERM; None where it did not end in time."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def set_stage(wish: Wish) -> Iterator[Stage]:
    """Everything that is needed, for as long as the block lasts."""
    password = secrets.token_urlsafe(16)
    with (
        tempfile.TemporaryDirectory(prefix="sutazai-check-") as folder,
        embedded_server(_settings(Path(folder), password, wish.redis_url)) as url,
        SutazAIClient(url) as client,
        Witness(url).running() as witness,
    ):
        client.login("admin", password)
        try:
            key = client.register_agent(
                wish.agent_id,
                name=wish.agent_id,
                type="specialist",
                capabilities=[wish.task_type],
                max_capacity=wish.capacity,
                transport="http" if wish.redis_url is None else "redis",
            )["api_key"]
        except SutazAIError as error:
            raise Failure(f"The agent cannot be registered: {error}") from error
        environment = {
            "SUTAZAI_URL": witness.url,
            "SUTAZAI_AGENT_ID": wish.agent_id,
            "SUTAZAI_AGENT_KEY": key,
        }
        if wish.redis_url is not None:
            environment["REDIS_URL"] = wish.redis_url
        program = Program(wish.command, environment) if wish.command else None
        if program is None:
            err().print("Start your agent with:", soft_wrap=True)
            for name, value in environment.items():
                err().print(f"  {name}={value}", soft_wrap=True)
        try:
            yield Stage(wish, client, witness, program)
        finally:
            if program is not None:
                program.kill()


def _settings(folder: Path, password: str, redis_url: str | None) -> Settings:
    """Of its own: neither the environment nor a `.env` may lead the check to somebody's data."""
    workspace = folder / "workspace"
    workspace.mkdir()
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "data_dir": folder / "data",
        "workspace": workspace,
        "agents": False,
        "database_url": None,
        "jwt_secret": None,
        "admin_password": SecretStr(password),
        "trusted_proxies": (),
        "cors_origins": (),
        "rate_limits": False,
        "redis_url": redis_url,
        "lease_seconds": LEASE_SECONDS,
        "drain_seconds": 1,
    }
    return Settings(**values)
