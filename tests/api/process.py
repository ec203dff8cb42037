"""`sutazai serve` as a process of its own."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.api.server import ADMIN_PASSWORD, PATIENCE

_URL = re.compile(r"http://localhost:\d+")


@contextlib.contextmanager
def started(data_dir: Path, workspace: Path, **environment: str) -> Iterator[str]:
    """A server on SQLite and a free port; its URL. It must end by itself when asked to."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SUTAZAI_")}
    command = [sys.executable, "-m", "sutazai", "serve", "--port", "0"]
    log = data_dir.with_name(data_dir.name + ".log")
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), "--workspace", str(workspace)],
            stderr=stderr,
            cwd=workspace,
            env={
                **inherited,
                "SUTAZAI_ADMIN_PASSWORD": ADMIN_PASSWORD,
                "SUTAZAI_ANALYSIS_PROCESSES": "1",
                "SUTAZAI_RATE_LIMITS": "off",
                **environment,
            },
        )
    try:
        yield _url(process, log)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()


def _url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    for _ in range(int(PATIENCE / 0.02)):
        if found := _URL.search(log.read_text("utf-8")):
            return found[0]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            break
    raise AssertionError(f"the server did not start: {log.read_text('utf-8')}")
