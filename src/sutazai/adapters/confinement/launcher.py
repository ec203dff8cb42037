"""Confines one run and reports its end; started by `sutazai.adapters.sandbox`, once for each run.

Standard input brings what to run, and its end means that nobody waits any more: the server's end
closes it, too, so no run survives the server. The report goes to the descriptor named in argv.
The first process makes the namespaces and waits; the second is the first in them (`supervisor`).
"""

import contextlib
import marshal
import os
import sys
from typing import Any

from sutazai.adapters.confinement import kernel, mounts, seccomp, supervisor

_SPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWCGROUP
)
_INSIDE = 1000


class _Stage:
    """What is being done, for the report of a failure."""

    name = "start"


def main() -> None:
    """Read, confine, run, report."""
    report = int(sys.argv[1])
    stage = _Stage()
    try:
        spec = _read()
        _confine(spec, report, stage)
    except OSError as error:
        _fail(report, stage.name, error)


def _read() -> dict[str, Any]:
    size = int.from_bytes(_exactly(8), "little")
    spec: dict[str, Any] = marshal.loads(_exactly(size))  # noqa: S302  # from the server itself
    return spec


def _exactly(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            os._exit(1)  # nobody waits any more
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _confine(spec: dict[str, Any], report: int, stage: _Stage) -> None:
    machine = os.uname().machine
    stage.name = "architecture"
    if machine not in seccomp.MACHINES:
        raise OSError(0, machine)
    stage.name = "namespaces"
    dropped, translate = _enter(spec["user"])
    user = _INSIDE if dropped is None else dropped
    spec["beside"] = 2 if dropped is None else 1  # of our own processes, those of the same user
    if (init := os.fork()) != 0:
        # Its exit comes after that of everything in its namespace.
        os.waitpid(init, 0)
        os._exit(0)
    try:
        stage.name = "mounts"
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        # Should the machine run out of memory, a run goes before the server does.
        _put("/proc/self/oom_score_adj", "1000")
        spec["socket_bytes"] = _socket_bytes()
        mounts.build(spec, user=user, machine=machine, translate=translate)
        stage.name = "network"
        kernel.bring_up_loopback()
        kernel.set_host_name("sandbox")
        stage.name = "privileges"
        kernel.bound_capabilities()
        if dropped is not None:
            _become(dropped)
        kernel.drop_capabilities(machine)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # what runs may not look into who watches it
        kernel.prctl(kernel.PR_SET_PDEATHSIG, supervisor.SIGKILL)
        stage.name = "run"
        supervisor.supervise(spec, report, machine)
    except OSError as error:
        _fail(report, stage.name, error)
    except BaseException as error:  # nothing may escape into the interpreter's own ending
        _fail(report, stage.name, OSError(0, f"{type(error).__name__}: {error}"))
    os._exit(0)


def _enter(wanted: int) -> tuple[int | None, int | None]:
    """New namespaces: the user to become in them, if there is more than one, and `_translation`."""
    if os.geteuid() != 0 or not _is_mapped(wanted):
        _unshare_as_user()
        return None, None
    translate = _translation(wanted)  # before, because what is forked first afterwards is the init
    try:
        kernel.unshare(_SPACES)
    except PermissionError:
        # Root without its powers, as in a container: like any other user, but not as root,
        # because limits on processes do not bind root.
        _become(wanted)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        _unshare_as_user()
        return None, None
    return wanted, translate


def _unshare_as_user() -> None:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(_SPACES | kernel.CLONE_NEWUSER)
    _put("/proc/self/setgroups", "deny")
    _put("/proc/self/uid_map", f"{_INSIDE} {user} 1")
    _put("/proc/self/gid_map", f"{_INSIDE} {group} 1")


def _is_mapped(user: int) -> bool:
    with open("/proc/self/uid_map", "rb") as file:
        ranges = [[int(number) for number in line.split()] for line in file]
    return any(first <= user < first + count for first, _, count in ranges)


def _translation(user: int) -> int | None:
    """A user namespace in which root's files belong to `user`; None where it cannot be had."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done)
        try:
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.read(ready, 1)
        finally:
            os._exit(0)
    os.close(ready)
    try:
        mine = os.readlink("/proc/self/ns/user")
        while os.readlink(f"/proc/{child}/ns/user") == mine:
            if os.waitpid(child, os.WNOHANG)[0]:
                child = 0
                return None
        _put(f"/proc/{child}/uid_map", f"0 {user} 1")
        _put(f"/proc/{child}/gid_map", f"0 {user} 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(done)
        if child:
            os.waitpid(child, 0)


def _socket_bytes() -> int:
    """The most memory (bytes) that one socket of these namespaces holds in its queues."""
    settings = "/proc/sys/net/"
    for name in ("ipv4/tcp_rmem", "ipv4/tcp_wmem"):
        with contextlib.suppress(OSError):  # read-only in a container; then it is more
            _put(settings + name, "4096 131072 131072")
    datagram = _largest(settings + "core/rmem_default") + _largest(settings + "core/wmem_default")
    stream = _largest(settings + "ipv4/tcp_rmem") + _largest(settings + "ipv4/tcp_wmem")
    return max(datagram, stream)


def _largest(path: str) -> int:
    with open(path, "rb") as file:
        return int(file.read().split()[-1])


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _put(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _fail(report: int, stage: str, error: OSError) -> None:
    said = " ".join(str(part) for part in (error.strerror, error.filename) if part)
    os.write(report, f"failed {stage} {error.errno or 0} {said}\n".encode()[:1000])
    os._exit(1)


if __name__ == "__main__":
    main()
