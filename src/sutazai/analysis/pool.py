"""Worker processes for analysis, started on first use and retired when idle."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar, get_type_hints

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import (
    HEADER,
    Answer,
    Call,
    Collect,
    Collected,
    Failed,
    Progress,
    Refused,
    Request,
    Returned,
    Review,
    Reviewed,
    encode,
)
from sutazai.telemetry.tracing import Tracing, span

_IDLE_SECONDS = 60.0
_REQUEST_SECONDS = 300.0
# What the child needs to find Python and its packages, and nothing that is secret.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


_FOLDER = "sutazai-analysis"

Argument = TypeVar("Argument", bound=msgspec.Struct)
Value = TypeVar("Value", bound=msgspec.Struct)


class AnalysisError(Exception):
    """The analysis itself failed; the message says how."""


class WorkerDied(AnalysisError):
    """A worker process ended, or was ended for taking too long, in the middle of a request."""


class AnalysisPool:
    """At most `processes` workers, each answering one request at a time.

    `idle_seconds` after its last request a worker ends, so that an idle server is small. A
    cancelled request kills its worker: nothing goes on computing what nobody wants.
    """

    def __init__(
        self,
        *,
        processes: int | None = None,
        idle_seconds: float = _IDLE_SECONDS,
        request_seconds: float = _REQUEST_SECONDS,
        tracing: Tracing | None = None,
    ) -> None:
        self.processes = processes or max(1, min(os.cpu_count() or 1, 8))
        self._idle_seconds = idle_seconds
        self._request_seconds = request_seconds
        self._tracing = tracing
        self._free: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._slots = asyncio.Semaphore(self.processes)
        self._retiring: dict[_Worker, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = True

    @property
    def alive(self) -> int:
        """How many worker processes there are at this moment."""
        return len(self._all)

    @property
    def busy(self) -> int:
        """How many of them are answering a request."""
        return len(self._all) - len(self._free)

    async def start(self) -> None:
        """Open for requests; no process is started before the first one."""
        self._closed = False

    async def close(self) -> None:
        """End every worker, busy ones too, and wait until they are gone."""
        self._closed = True
        for worker in list(self._all):
            self._end(worker)
        while self._ending:
            await asyncio.gather(*self._ending)

    async def collect(self, request: Collect) -> Collected:
        """Find and digest files. Raises InputError for input that cannot be used."""
        with span(self._tracing, "analysis collect"):
            answer = await self._ask(request, lambda _: None)
        if not isinstance(answer, Collected):
            raise AnalysisError(f"A worker gave the wrong answer: {type(answer).__name__}.")
        return answer

    async def review(self, request: Review, on_progress: Callable[[Progress], None]) -> Reviewed:
        """Review one shard of files. Raises WorkerDied when the worker did not survive it."""
        files = {"sutazai.analysis.files": len(request.files)}
        with span(self._tracing, "analysis review", attributes=files):
            answer = await self._ask(request, on_progress)
        if not isinstance(answer, Reviewed):
            raise AnalysisError(f"A worker gave the wrong answer: {type(answer).__name__}.")
        return answer

    async def call(self, function: Callable[[Argument], Value], argument: Argument) -> Value:
        """Run a function of `sutazai.analysis` in a worker; it and its types are module-level.

        An InputError that it raises is raised here. Cancelling this ends the work at once.
        """
        name = f"{function.__module__}:{function.__qualname__}"
        with span(self._tracing, "analysis call", attributes={"sutazai.analysis.function": name}):
            call = Call(function=name, argument=msgspec.msgpack.encode(argument))
            answer = await self._ask(call, lambda _: None)
        if not isinstance(answer, Returned):
            raise AnalysisError(f"A worker gave the wrong answer: {type(answer).__name__}.")
        kind: type[Value] = get_type_hints(function)["return"]
        return msgspec.msgpack.decode(answer.value, type=kind)

    async def _ask(self, request: Request, on_progress: Callable[[Progress], None]) -> Answer:
        async with self._worker() as worker:
            try:
                async with asyncio.timeout(self._request_seconds):
                    answer = await worker.ask(request, on_progress)
            except TimeoutError:
                raise WorkerDied(
                    f"The analysis took longer than {self._request_seconds:.0f} s."
                ) from None
        match answer:
            case Refused(message=message):
                raise InputError(message)
            case Failed(message=message):
                raise AnalysisError(message)
            case _:
                return answer

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator["_Worker"]:
        async with self._slots:
            if self._closed:
                raise AnalysisError("The analysis is shut down.")
            worker = self._free.pop() if self._free else await self._spawn()
            if handle := self._retiring.pop(worker, None):
                handle.cancel()
            try:
                yield worker
            except BaseException:
                # Cancelled, timed out or dead: whatever it was doing must not go on.
                self._end(worker)
                raise
            if self._closed or worker.ended:
                self._end(worker)
            else:
                self._free.append(worker)
                loop = asyncio.get_running_loop()
                self._retiring[worker] = loop.call_later(self._idle_seconds, self._end, worker)

    async def _spawn(self) -> "_Worker":
        worker = await _Worker.start()
        if self._closed:
            await worker.end()
            raise AnalysisError("The analysis is shut down.")
        self._all.add(worker)
        return worker

    def _end(self, worker: "_Worker") -> None:
        if worker not in self._all:
            return
        self._all.discard(worker)
        if worker in self._free:
            self._free.remove(worker)
        if handle := self._retiring.pop(worker, None):
            handle.cancel()
        task = asyncio.get_running_loop().create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _new_folder() -> Path:
    """A private folder named after this process; those of processes that were killed go."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}-*-*"):
        owner = left.name.split("-")[-2]
        if owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-{os.getpid()}-"))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


class _Worker:
    """One child process and the pipes to it."""

    _decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    @classmethod
    async def start(cls) -> "_Worker":
        """Start a process in a private folder of its own, in a session of its own."""
        folder = await asyncio.to_thread(_new_folder)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the current folder is no place to import from
                "-m",
                "sutazai.analysis.worker",
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                cwd=folder,
                env={**environment, "TMPDIR": str(folder)},
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(process, folder)

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def ask(self, request: Request, on_progress: Callable[[Progress], None]) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise WorkerDied("A worker has no pipes.")
        try:
            stdin.write(encode(request))
            await stdin.drain()
            while True:
                (length,) = HEADER.unpack(await stdout.readexactly(HEADER.size))
                answer = self._decoder.decode(await stdout.readexactly(length))
                if not isinstance(answer, Progress):
                    return answer
                on_progress(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise WorkerDied("An analysis process ended unexpectedly.") from None

    async def end(self) -> None:
        """Kill the process with its children, and take its folder away."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        # Closing the transport at once, or it warns when the loop is gone before it.
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
