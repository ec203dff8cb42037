"""The first process in the namespaces: starts what is to run, watches it, ends it, and reports."""

import contextlib
import errno
import fcntl
import os
import resource
import select
import time
from typing import Any

from sutazai.adapters.confinement import seccomp
from sutazai.adapters.confinement.mounts import WORK

SIGKILL = 9
_SIGXCPU = 24
_LOOK_SECONDS = 0.05
_PAGE = resource.getpagesize()
_TICKS = os.sysconf("SC_CLK_TCK")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_FOUND = 127
_TOLD = 3
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def supervise(spec: dict[str, Any], report: int, machine: str) -> None:
    """Run to the end or to a limit; whatever is left is killed before the report is written."""
    limits = spec["limits"]
    for path, content in spec["files"]:
        _write(path, content)
    given = _memory_file(spec["stdin"])
    trouble, told = os.pipe()  # closed by a successful start, so that silence means that
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _execute(spec, given, told, machine)
    os.close(told)
    os.close(given)
    for descriptor in (1, 2):
        os.close(descriptor)
    limit = _watch(child, limits, started, spec["socket_bytes"])
    status, used = _end(child)
    seconds = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    if said := os.read(trouble, 1000):
        raise OSError(int(said.partition(b" ")[0]), said.partition(b" ")[2].decode())
    if limit is None:
        limit = _limit_met(code, used, limits)
    _report(report, spec["collect"], code, limit, seconds, limits["file_bytes"])


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    # It counts as nobody's memory, so nobody may make it grow.
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def _execute(spec: dict[str, Any], given: int, told: int, machine: str) -> None:
    """Become the program; this does not return."""
    argv = spec["argv"]
    try:
        os.setsid()
        os.dup2(given, 0)
        if told != _TOLD:
            os.dup2(told, _TOLD)
        os.closerange(_TOLD + 1, 1 << 20)
        os.set_inheritable(_TOLD, False)
        os.chdir(WORK)
        _limit(spec["limits"], spec["beside"])
        seccomp.refuse(machine)
    except BaseException as error:
        number, text = 0, str(error)
        if isinstance(error, OSError):
            number, text = error.errno or 0, error.strerror or text
        os.write(_TOLD, f"{number} {text}".encode())
        os._exit(1)
    try:
        os.execvpe(argv[0], argv, spec["environment"])  # noqa: S606  # that is what it is for
    except FileNotFoundError:
        os.write(2, f"{argv[0]}: not found in the sandbox\n".encode())
    except BaseException as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
    os._exit(_NOT_FOUND)


def _limit(limits: dict[str, Any], beside: int) -> None:
    _prove_that_processes_are_limited()
    cpu = limits["cpu_seconds"]
    processes = limits["processes"] + beside
    memory = limits["memory"]
    for kind, soft, hard in (
        # What is reserved is not what is used; the watch counts that. This is for the greedy.
        (resource.RLIMIT_AS, 2 * memory, 2 * memory),
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, 256, 256),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 65536, 65536),
    ):
        resource.setrlimit(kind, (soft, hard))


def _prove_that_processes_are_limited() -> None:
    """OSError where the kernel takes this user for one whom no limit on processes binds."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    try:
        child = os.fork()
    except BlockingIOError:
        return
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    raise OSError(errno.EUSERS, "the number of processes cannot be limited")


def _watch(child: int, limits: dict[str, Any], started: float, socket_bytes: int) -> str | None:
    """Wait for the child's end; the limit that was met before, if one was."""
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(0, select.POLLIN)
    usage = _Usage()
    try:
        while True:
            left = started + limits["seconds"] - time.monotonic()
            if left <= 0:
                return "seconds"
            for descriptor, _ in poll.poll(max(1, 1000 * min(left, _LOOK_SECONDS))):
                if descriptor == handle:
                    return None
                os._exit(1)  # nobody waits any more, and all goes with the first process
            memory, cpu = usage.look()
            memory += _sockets() * socket_bytes
            if memory > limits["memory"]:
                return "memory"
            if cpu > limits["cpu_seconds"]:
                return "cpu_seconds"
    finally:
        os.close(handle)


class _Usage:
    """What all that run use, and what those have used that ended."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, bytes], int] = {}
        self._ended = 0

    def look(self) -> tuple[int, float]:
        """Memory in bytes, and processor seconds."""
        times = os.times()
        memory, ticks = 0, 0
        seen: dict[tuple[str, bytes], int] = {}
        for name in os.listdir("/proc"):
            if not name.isdigit() or name == "1":
                continue
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # ended meanwhile
            ticks += sum(int(field) for field in fields[11:15])
            memory += int(fields[21]) * _PAGE
            seen[name, fields[19]] = int(fields[11]) + int(fields[12])
        # Whose parent does not want to know of its end is in nobody's account but this.
        self._ended += sum(used for one, used in self._seen.items() if one not in seen)
        self._seen = seen
        waited_for = ticks / _TICKS + times.children_user + times.children_system
        return memory, max(waited_for, (self._ended + sum(seen.values())) / _TICKS)


def _sockets() -> int:
    """How many sockets there are, also those that are open nowhere and only on their way."""
    with open("/proc/self/net/sockstat", "rb") as file:
        return int(file.readline().split()[-1])


def _end(child: int) -> tuple[int, resource.struct_rusage]:
    """Kill what is left; the child's status and what it used."""
    status, used = None, None
    while True:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, SIGKILL)
        try:
            pid, ended, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        if pid == child:
            status, used = ended, usage
    assert status is not None
    assert used is not None
    return status, used


def _limit_met(code: int, used: resource.struct_rusage, limits: dict[str, Any]) -> str | None:
    """The limit that made it fail, where the kernel was what said no."""
    spent = used.ru_utime + used.ru_stime
    if code == -_SIGXCPU or (code == -SIGKILL and spent >= limits["cpu_seconds"]):
        return "cpu_seconds"
    if code == 0:
        return None
    if used.ru_maxrss * 1024 > limits["memory"]:
        return "memory"
    disk = os.statvfs(WORK)
    if disk.f_bfree == 0 or disk.f_ffree == 0:
        return "file_bytes"
    return None


def _report(
    report: int, wanted: list[str], code: int, limit: str | None, seconds: float, most: int
) -> None:
    lines = [f"exit {code}\n", f"limit {limit or '-'}\n", f"microseconds {int(seconds * 1e6)}\n"]
    with open(report, "wb") as out:
        out.write("".join(lines).encode())
        for index, path in enumerate(wanted):
            content = _collected(path, most)
            if content is not None:
                most -= len(content)
                out.write(f"file {index} {len(content)}\n".encode())
                out.write(content)
        out.write(b"done\n")


def _collected(path: str, most: int) -> bytes | None:
    """A regular file's content, never through a link; None where there is none."""
    *folders, name = path.split("/")
    folder = os.open(WORK, _FOLDER)
    try:
        for part in folders:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)
    status = os.fstat(descriptor)
    if status.st_mode & 0o170000 != 0o100000 or status.st_size > most:
        os.close(descriptor)
        return None
    with open(descriptor, "rb", buffering=0) as file:
        return file.read()


def _write(path: str, content: bytes) -> None:
    folder = WORK
    *folders, name = path.split("/")
    for part in folders:
        folder = f"{folder}/{part}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
    flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_TRUNC
    with open(os.open(f"{folder}/{name}", flags, 0o755), "wb") as file:
        file.write(content)
