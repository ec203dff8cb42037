"""The sandbox on Linux: namespaces, limits and a filter on system calls, with nothing installed."""

import asyncio
import contextlib
import errno
import marshal
import os
import secrets
import signal
import sys
import sysconfig
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from sutazai.analysis.sandbox import SandboxEnd, SandboxLimits, SandboxRun, SandboxUnavailable

_PACKAGES = str(Path(__file__).resolve().parents[2])
_Bind = tuple[str, str, bool]
# What is shown where; and whether it may be readable for the server's user alone.
_LAUNCHER = "from sutazai.adapters.confinement import launcher; launcher.main()"
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime")
_WRITTEN = {
    "passwd": "sandbox:x:USER:USER::/tmp:/bin/sh\n",
    "group": "sandbox:x:USER:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
# Of those that are given out for a moment to what needs a user of its own.
_USERS = range(61_184, 65_520)
_GRACE_SECONDS = 30.0  # a busy machine is slow to start it, too
_REPORT_HEAD = 64 * 1024
_CHUNK = 64 * 1024


class LinuxSandbox:
    """Runs programs in namespaces of their own; see `sutazai.analysis.sandbox.Sandbox`.

    `excluded` are absolute paths that are never shown, wherever they lie, such as the data
    directory. At most `concurrent` runs go on at a time; more wait, and their time has not begun.
    """

    def __init__(self, *, excluded: Sequence[str] = (), concurrent: int | None = None) -> None:
        self._excluded = [os.path.realpath(path) for path in excluded]
        self._slots = asyncio.Semaphore(concurrent or 2 * (os.cpu_count() or 1))
        self._users: set[int] = set()

    async def check(self) -> None:
        """SandboxUnavailable, with the reason and the remedy, where this machine cannot isolate."""
        end = await self.run(SandboxRun(argv=("python", "-I", "-S", "-c", "")))
        if end.exit_code != 0:
            said = end.stderr.decode("utf-8", "replace").strip()
            raise SandboxUnavailable(f"The sandbox cannot start Python: {said}")

    async def run(self, run: SandboxRun) -> SandboxEnd:
        """Run to the end or to a limit; nothing of it is left when this returns or is cancelled.

        ValueError for paths that lead out of the working folder, or more files than fit.
        """
        if sys.platform != "linux":
            raise SandboxUnavailable(
                "Code that is not ours runs only on Linux, where it can be isolated. Run the "
                "server there, in a virtual machine for instance."
            )
        async with self._slots:
            user = self._free_user()
            try:
                spec = await asyncio.to_thread(self._spec, run, user)
                return await _Running(run, spec).end()
            finally:
                self._users.discard(user)

    def _free_user(self) -> int:
        """A user id that no other run has at the moment, for when the server is root."""
        user = next(
            user for user in iter(lambda: secrets.choice(_USERS), None) if user not in self._users
        )
        self._users.add(user)
        return user

    def _spec(self, run: SandboxRun, user: int) -> dict[str, Any]:
        """What the launcher is told, of plain types."""
        files = [(_inside(path), bytes(content)) for path, content in run.files.items()]
        given = sum(-(-len(content) // 4096) * 4096 for _, content in files)
        binds, links, environment = self._interpreter
        masks: list[str] = []
        replaced: list[tuple[str, bytes]] = []
        if run.source is not None:
            source = os.path.realpath(run.source)
            if not Path(source).is_dir():
                raise ValueError(f"The source {run.source!r} is no folder.")
            binds = [*binds, (source, "/source", True)]
            masks += [f"/source/{_resolved(source, _inside(path))}" for path in run.hidden]
            for path, content in run.replaced.items():
                replaced.append((f"/source/{_resolved(source, _inside(path))}", bytes(content)))
        for excluded in self._excluded:
            masks += [
                target + excluded[len(source) :]
                for source, target, _ in binds
                if excluded.startswith(source + "/")
            ]
        environment = {**environment, **run.environment}
        paths = [run.environment.get("PYTHONPATH"), self._interpreter[2]["PYTHONPATH"]]
        environment["PYTHONPATH"] = ":".join(filter(None, paths))
        argv = [sys.executable if run.argv[0] == "python" else run.argv[0], *run.argv[1:]]
        return {
            "user": user,
            "argv": argv,
            "environment": environment,
            "stdin": bytes(run.stdin),
            "files": files,
            "collect": [_inside(path) for path in run.collect],
            "binds": binds,
            "links": links,
            "masks": masks,
            "replaced": replaced,
            "etc": _WRITTEN,
            "scratch_bytes": run.limits.file_bytes + given,
            "limits": msgspec.to_builtins(run.limits),
        }

    @cached_property
    def _interpreter(self) -> tuple[list[_Bind], list[tuple[str, str]], dict[str, str]]:
        """What every run sees: the system's programs and libraries, Python and its packages."""
        links: list[tuple[str, str]] = []
        wanted = ["/usr"]
        for name in _SYSTEM:
            folder = Path("/", name)
            if folder.is_symlink():
                links.append((str(folder), str(folder.readlink())))
            elif folder.is_dir():
                wanted.append(str(folder))
        wanted += [str(file) for name in _ETC if (file := Path("/etc", name)).exists()]
        wanted += [sys.base_prefix, sys.base_exec_prefix, sys.prefix]
        wanted += map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))
        wanted += ["/nix/store"] * Path("/nix/store").is_dir()
        wanted.append(str(Path(os.path.realpath(sys.executable)).parent))
        # Packages that are elsewhere, such as those in a user's home, are found by name only here.
        own = [path for path in sys.path if path.endswith(("/site-packages", "/dist-packages"))]
        wanted += own
        binds: list[_Bind] = []
        for path in filter(None, wanted):
            if path == "/" or any(path == at or path.startswith(at + "/") for _, at, _ in binds):
                continue
            private = not path.startswith(("/usr", "/etc", "/lib", "/bin", "/sbin", "/nix"))
            binds.append((os.path.realpath(path), path, private))
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": "/tmp",  # noqa: S108  # inside, it is the run's own
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": ":".join(path for path in own if not path.startswith(sys.prefix)),
        }
        return binds, links, environment


class _Running:
    """One run: the launcher's process and the pipes to it."""

    def __init__(self, run: SandboxRun, spec: dict[str, Any]) -> None:
        self._limits: SandboxLimits = run.limits
        self._run = run
        body = marshal.dumps(spec)
        self._told = len(body).to_bytes(8, "little") + body
        self._most = spec["scratch_bytes"] + _REPORT_HEAD
        self._limit: str | None = None
        self._started = time.monotonic()

    async def end(self) -> SandboxEnd:
        process, report, transport = await self._start()
        try:
            stdout, stderr, said = await self._conversation(process, report)
        finally:
            transport.close()
            await asyncio.shield(_finish(process))
        return self._answer(stdout, stderr, said)

    async def _start(self) -> tuple[Process, asyncio.StreamReader, asyncio.BaseTransport]:
        reading, writing = os.pipe()
        try:
            reader = asyncio.StreamReader()
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
            )
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    f"import sys; sys.path.append({_PACKAGES!r}); {_LAUNCHER}",
                    str(writing),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=PIPE,
                    env={},
                    cwd="/",
                    pass_fds=(writing,),
                    start_new_session=True,
                )
            except BaseException:
                transport.close()
                raise
        finally:
            os.close(writing)
        return process, reader, transport

    async def _conversation(
        self, process: Process, report: asyncio.StreamReader
    ) -> tuple[bytes, bytes, bytes]:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(self._told)
        # The launcher keeps the time; this is for when it cannot.
        backstop = asyncio.get_running_loop().call_later(
            self._limits.seconds + _GRACE_SECONDS, self._stop, process, "seconds"
        )
        try:
            async with asyncio.TaskGroup() as group:
                most = self._limits.output_bytes
                stdout = group.create_task(self._read(process.stdout, process, most))
                stderr = group.create_task(self._read(process.stderr, process, most))
                said = group.create_task(self._read(report, process, self._most))
                with contextlib.suppress(ConnectionError):
                    await process.stdin.drain()
        finally:
            backstop.cancel()
        return stdout.result(), stderr.result(), said.result()

    async def _read(self, stream: asyncio.StreamReader, process: Process, most: int) -> bytes:
        """All that comes, up to `most`; more of it ends the run."""
        parts, size = [], 0
        while part := await stream.read(_CHUNK):
            parts.append(part[: most - size])
            size += len(parts[-1])
            if len(parts[-1]) < len(part):
                self._stop(process, "output_bytes")
        return b"".join(parts)

    def _stop(self, process: Process, limit: str) -> None:
        """End the run; what waits for its output then comes to an end, too."""
        self._limit = self._limit or limit
        assert process.stdin
        process.stdin.close()

    def _answer(self, stdout: bytes, stderr: bytes, said: bytes) -> SandboxEnd:
        if said.startswith(b"failed "):
            raise _unavailable(said.decode("utf-8", "replace"))
        told = _parsed(said, self._run.collect)
        if told is None:
            # Ended from outside: by us, or by a kernel that ran out of memory.
            return SandboxEnd(
                exit_code=-signal.SIGKILL,
                stdout=stdout,
                stderr=stderr,
                files={},
                limit=self._limit or "memory",
                seconds=time.monotonic() - self._started,
            )
        code, limit, seconds, files = told
        return SandboxEnd(
            exit_code=code,
            stdout=stdout,
            stderr=stderr,
            files=files,
            limit=self._limit or limit,
            seconds=seconds,
        )


async def _finish(process: Process) -> None:
    """Let the launcher end what it runs and itself; it is only killed if it does not."""
    assert process.stdin
    process.stdin.close()
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        # The first process inside is told of this death by the kernel, and takes all with it.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _inside(path: str) -> str:
    """A relative path that stays below where it starts, normalised."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or not parts or "\0" in path:
        raise ValueError(f"{path!r} is no relative path below the folder of a run.")
    return "/".join(parts)


def _resolved(source: str, path: str) -> str:
    """What a path below `source` means without symbolic links, as long as that is below it, too."""
    real = os.path.realpath(f"{source}/{path}")
    return real[len(source) + 1 :] if real.startswith(source + "/") else path


def _parsed(
    said: bytes, wanted: Sequence[str]
) -> tuple[int, str | None, float, dict[str, bytes]] | None:
    """The report, if it is whole."""
    values: dict[bytes, bytes] = {}
    files: dict[str, bytes] = {}
    while True:
        line, newline, said = said.partition(b"\n")
        if not newline:
            return None
        match line.split(b" "):
            case [b"done"]:
                break
            case [b"file", index, size]:
                files[wanted[int(index)]] = said[: int(size)]
                said = said[int(size) :]
            case [name, value]:
                values[name] = value
            case _:
                return None
    limit = values[b"limit"].decode()
    seconds = int(values[b"microseconds"]) / 1e6
    return int(values[b"exit"]), None if limit == "-" else limit, seconds, files


def _unavailable(said: str) -> SandboxUnavailable:
    """Why nothing can be isolated here, and what the machine's owner can do about it."""
    _, stage, number, *rest = said.strip().split(" ", 3)
    reason = f"{stage}: {rest[0] if rest else os.strerror(int(number))}"
    if stage == "architecture":
        remedy = "The sandbox knows x86_64 and aarch64; run the server on one of these."
    elif int(number) == errno.ENOSYS or not _is_new_enough():
        remedy = "It needs Linux 5.14 or newer with all system calls; upgrade the kernel."
    elif int(number) in (errno.EACCES, errno.EUSERS) and stage in ("mounts", "run"):
        remedy = (
            "Run the server as an ordinary user who can reach its own Python, or as root with all "
            "of root's capabilities."
        )
    else:
        remedy = _remedy()
    return SandboxUnavailable(
        f"Code that is not ours cannot be isolated on this machine, so it is not run ({reason}). "
        f"{remedy}"
    )


def _is_new_enough() -> bool:
    major, minor, *_ = os.uname().release.split(".")
    return (int(major), int(minor.split("-")[0])) >= (5, 14)


def _remedy() -> str:
    for name, value in (
        ("kernel/unprivileged_userns_clone", "1"),
        ("user/max_user_namespaces", "15000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
    ):
        with contextlib.suppress(OSError):
            now = Path("/proc/sys", name).read_text().strip()
            forbids = now == "1" if value == "0" else now == "0"
            if forbids:
                return (
                    "Allow ordinary users to make namespaces: "
                    f"sysctl -w {name.replace('/', '.')}={value} (and in /etc/sysctl.d)."
                )
    return (
        "In a container, start it so that it may make user namespaces and mount /proc in them: "
        "with Docker --security-opt seccomp=unconfined --security-opt systempaths=unconfined "
        "(and apparmor=unconfined where AppArmor is used)."
    )
