"""The real server as a process, to be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

PASSWORD = "a password for tests"
_PATIENCE = 120.0
_MORTAL = Path(__file__).with_name("mortal.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """`sutazai serve` on a data directory or a PostgreSQL."""

    def __init__(
        self, data_dir: Path, *, database_url: str | None = None, lease_seconds: float = 10
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        self._environment = {
            **os.environ,
            "SUTAZAI_ADMIN_PASSWORD": PASSWORD,
            "SUTAZAI_JWT_SECRET": "a secret that is long enough for tests",
            "SUTAZAI_RATE_LIMITS": "off",
            "SUTAZAI_LEASE_SECONDS": str(lease_seconds),
        }
        if database_url is not None:
            self._environment["SUTAZAI_DATABASE_URL"] = database_url
        self._command = [sys.executable, "-m", "sutazai", "serve", "--port", str(self.port)]
        self._command += ["--data-dir", str(data_dir), "--workspace", str(data_dir.parent)]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, stderr=subprocess.PIPE)

    def __enter__(self) -> Self:
        try:
            self.wait_until_up()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def wait_until_up(self) -> None:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, self.errors()
            try:
                if httpx2.get(f"{self.url}/health").status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.02)  # nothing tells when another process listens
        raise AssertionError("the server did not come up")

    def kill(self) -> None:
        """As the kernel would when memory runs out."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def start_again(self) -> None:
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = self._start()
        self.wait_until_up()

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def client(self) -> httpx2.Client:
        body = {"username": "admin", "password": PASSWORD}
        tokens = httpx2.post(f"{self.url}/auth/login", json=body, timeout=30).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30)


class MortalServer(ServerProcess):
    """Lives for so many transactions a time, then for ever."""

    commits: int | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        immortal = self._command
        if self.commits is not None:
            self._command = [sys.executable, str(_MORTAL), str(self.commits), *immortal[3:]]
        try:
            return super()._start()
        finally:
            self._command = immortal

    def live_for(self, commits: int, is_over: Callable[[], bool]) -> bool:
        """Start, and wait until it is killed; False where there was not so much to do."""
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.commits = commits
        self.process = self._start()
        self.commits = None
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            try:
                assert self.process.wait(0.1) == -signal.SIGKILL, self.errors()
            except subprocess.TimeoutExpired:
                if is_over():
                    self.kill()
                    return False
            else:
                return True
        raise AssertionError("it neither was killed nor came to an end")
