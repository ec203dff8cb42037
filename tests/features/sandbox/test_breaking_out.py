"""Programs that try to get out of the sandbox, to use more than they may, or to stay behind."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.analysis.sandbox import MIB, SandboxRun
from tests.features.sandbox.conftest import Python

_TRIES = """
import errno
def tried(what, act):
    try:
        act()
    except OSError as error:
        print(what, errno.errorcode.get(error.errno, error))
    else:
        print(what, "went through")
"""


def said(code: bytes) -> dict[str, str]:
    """What each try said, by its name."""
    return dict(line.split(maxsplit=1) for line in code.decode().splitlines())


async def test_there_is_no_network(python: Python) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        end = await python(
            _TRIES
            + textwrap.dedent(
                f"""
                import socket
                tried("host", lambda: socket.create_connection(("127.0.0.1", {port}), 20))
                tried("internet", lambda: socket.create_connection(("192.0.2.1", 443), 20))
                tried("names", lambda: socket.getaddrinfo("example.com", 443))
                tried("hypervisor", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
                tried("kernel", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
                tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
                """
            )
        )
    tries = said(end.stdout)
    assert tries.pop("names") != "went through"
    assert tries == {
        "host": "ECONNREFUSED",
        "internet": "ENETUNREACH",
        "hypervisor": "EAFNOSUPPORT",
        "kernel": "EAFNOSUPPORT",
        "raw": "EPERM",
    }


async def test_no_socket_in_the_source_can_be_reached(python: Python, tmp_path: Path) -> None:
    path = tmp_path / "source/server.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o777)
        end = await python(
            _TRIES
            + textwrap.dedent(
                """
                import socket
                def connect(): socket.socket(socket.AF_UNIX).connect("/source/server.sock")
                def pair(): socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
                def again(): socket.socketpair()[0].connect("/source/server.sock")
                tried("stream", connect)
                tried("datagram", pair)
                tried("again", again)
                """
            ),
            source=str(path.parent),
        )
    assert said(end.stdout) == {
        "stream": "EAFNOSUPPORT",
        "datagram": "EAFNOSUPPORT",
        "again": "EISCONN",
    }


async def test_files_of_the_machine_are_not_there(
    python: Python, tmp_path: Path, kept_out: Path
) -> None:
    own = tmp_path / "own.txt"
    own.write_text("workspace")
    places = [own, kept_out / "secret", "/etc/shadow", "/etc/hostname", Path.home() / ".bashrc"]
    places += ["/proc/sys/kernel/core_pattern", "/sys/kernel", "/dev/mem", "/var/log", "/run"]
    end = await python(
        f"import os; print([p for p in {[str(p) for p in places]} if os.path.exists(p)])"
    )
    assert end.stdout == b"[]\n"


async def test_what_is_kept_out_is_not_in_the_source_either(python: Python, kept_out: Path) -> None:
    (kept_out.parent / "seen").write_text("seen")
    end = await python(
        "import os; print(sorted(os.listdir('/source')), os.listdir('/source/kept_out'))",
        source=str(kept_out.parent),
    )
    assert end.stdout == b"['kept_out', 'seen'] []\n"


async def test_links_in_the_source_lead_nowhere_outside(python: Python, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("outside")
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to("../outside")
    (source / "absolute").symlink_to(tmp_path / "outside")
    end = await python(
        "import os; print([os.path.exists(f'/source/{n}') for n in ('link', 'absolute')])",
        source=str(source),
    )
    assert end.stdout == b"[False, False]\n"


async def test_nothing_shown_can_be_written(python: Python, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir(mode=0o777)
    (source / "file").write_text("kept")
    (source / "file").chmod(0o666)
    end = await python(
        _TRIES
        + textwrap.dedent(
            """
            import os, site, sys
            tried("change", lambda: open("/source/file", "w"))
            tried("create", lambda: open("/source/new", "w"))
            tried("remove", lambda: os.remove("/source/file"))
            tried("mode", lambda: os.chmod("/source/file", 0o777))
            tried("interpreter", lambda: open(sys.prefix + "/new", "w"))
            tried("packages", lambda: open(site.getsitepackages()[0] + "/new", "w"))
            tried("system", lambda: open("/usr/lib/new", "w"))
            tried("root", lambda: open("/new", "w"))
            tried("etc", lambda: open("/etc/passwd", "w"))
            """
        ),
        source=str(source),
    )
    tries = said(end.stdout)
    assert tries.pop("etc") in ("EROFS", "EACCES")
    assert tries.pop("root") in ("EROFS", "EACCES")
    assert set(tries.values()) == {"EROFS"}
    assert (source / "file").read_text() == "kept"


async def test_privileges_cannot_be_had(python: Python) -> None:
    end = await python(
        _TRIES
        + textwrap.dedent(
            """
            import ctypes, os, re
            libc = ctypes.CDLL(None, use_errno=True)
            def call(name, *arguments):
                def act():
                    if getattr(libc, name)(*arguments) < 0:
                        raise OSError(ctypes.get_errno(), "")
                return act
            tried("user", lambda: os.setuid(0))
            tried("unshare", call("unshare", 0x10000000))
            tried("clone", call("syscall", 56 if os.uname().machine == "x86_64" else 220,
                                0x10000011, 0, 0, 0, 0))
            tried("mount", call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
            tried("unmount", call("umount2", b"/source", 2))
            tried("memory", call("memfd_create", b"m", 0))
            tried("shared", call("shmget", 0, 4096, 0o1600))
            tried("input", lambda: os.ftruncate(0, 10**6))
            tried("trace", call("ptrace", 16, os.getppid(), 0, 0))
            tried("limits", lambda: __import__("resource").prlimit(1, 7, (4, 4)))
            with open("/proc/self/status") as file:
                status = file.read()
            pattern = r"^(Cap\\w+|NoNewPrivs|Seccomp):\\s(.*)"
            for name, value in re.findall(pattern, status, re.M):
                print(name, value)
            """
        )
    )
    tries = said(end.stdout)
    assert tries.pop("shared") != "went through"
    assert {tries.pop(name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0" * 16
    }
    assert (tries.pop("NoNewPrivs"), tries.pop("Seccomp")) == ("1", "2")
    assert tries.pop("user") in ("EPERM", "EINVAL")
    assert set(tries.values()) == {"EPERM"}


async def test_a_setuid_program_gains_nothing(python: Python, tmp_path: Path) -> None:
    program = tmp_path / "source/id"
    program.parent.mkdir()
    shutil.copyfile(shutil.which("id") or "", program)
    program.chmod(0o4755)  # of root, where root runs the tests
    end = await python(
        """
        import os, subprocess
        inside = subprocess.run(["/source/id", "-u"], capture_output=True).stdout
        print(int(inside) == os.getuid() != 0)
        print(all(os.statvfs(path).f_flag & os.ST_NOSUID for path in ("/usr", "/source", "/tmp")))
        """,
        source=str(program.parent),
    )
    assert end.stdout == b"True\nTrue\n"


async def test_other_processes_are_neither_seen_nor_reached(python: Python) -> None:
    outside = _started("sleep", "600")
    try:
        end = await python(
            _TRIES
            + textwrap.dedent(
                f"""
                import os
                print("seen", sorted(n for n in os.listdir("/proc") if n.isdigit()))
                tried("kill", lambda: os.kill({outside.pid}, 9))
                tried("read", lambda: open("/proc/{os.getpid()}/environ").read())
                tried("watcher", lambda: open("/proc/1/environ").read())
                tried("inside", lambda: os.listdir("/proc/1/root"))
                tried("memory", lambda: open("/proc/1/mem", "rb"))
                os.kill(1, 9)
                os.kill(1, 19)
                """
            )
        )
        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()
    assert end.exit_code == 0
    assert said(end.stdout) == {
        "seen": "['1', '2']",
        "kill": "ESRCH",
        "read": "ENOENT",
        "watcher": "EACCES",
        "inside": "EACCES",
        "memory": "EACCES",
    }


async def test_the_servers_environment_is_nowhere(
    python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTAZAI_JWT_SECRET", "a-secret-that-must-not-be-seen-anywhere")
    end = await python("import os; print(sorted(os.environ))")
    names = set(re.findall(r"'(\w+)'", end.stdout.decode()))
    assert names <= {"HOME", "LANG", "LC_CTYPE", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}


async def test_collecting_follows_no_link(python: Python) -> None:
    end = await python(
        """
        import os
        os.symlink("/etc/passwd", "link")
        os.mkdir("folder")
        open("folder/file", "w").write("file")
        os.symlink("folder", "other")
        os.mkfifo("pipe")
        os.symlink("/proc/1/environ", "environment")
        """,
        collect=("link", "other/file", "pipe", "environment", "folder", "folder/file"),
    )
    assert end.files == {"folder/file": b"file"}


async def test_a_fork_bomb_stays_small(python: Python) -> None:
    end = await python(
        """
        import os, time
        started = 0
        while True:
            try:
                if os.fork() == 0:
                    time.sleep(600)
            except BlockingIOError:
                print(started)
                break
            started += 1
        """,
        limits={"processes": 10},
    )
    assert (int(end.stdout), end.exit_code) == (9, 0)


async def test_memory_is_limited_in_one_piece(python: Python) -> None:
    end = await python("bytearray(10 * 1024**3)")
    assert end.exit_code == 1
    assert b"MemoryError" in end.stderr


async def test_memory_is_limited_in_small_pieces(python: Python) -> None:
    end = await python(
        "kept = []\nwhile True: kept.append(bytearray(1024**2))", limits={"memory": 128 * MIB}
    )
    assert end.limit == "memory"
    assert end.exit_code != 0


async def test_memory_is_limited_for_all_processes_together(python: Python) -> None:
    end = await python(
        """
        import os, time
        for _ in range(8):
            if os.fork() == 0:
                kept = bytearray(60 * 1024**2)
                time.sleep(600)
        time.sleep(600)
        """,
        limits={"memory": 256 * MIB},
    )
    assert end.limit == "memory"


async def test_memory_cannot_be_had_where_it_counts_as_nobodys(python: Python) -> None:
    end = await python(
        _TRIES
        + textwrap.dedent(
            """
            import ctypes, mmap, os
            libc = ctypes.CDLL(None, use_errno=True)
            def called(name, *arguments):
                if getattr(libc, name)(*arguments) < 0:
                    raise OSError(ctypes.get_errno(), name)
            tried("shared", lambda: mmap.mmap(-1, 4096))
            with open("/dev/zero", "r+b", 0) as zeros:
                tried("zeros", lambda: mmap.mmap(zeros.fileno(), 4096))
            own = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)
            tried("own", lambda: own.madvise(mmap.MADV_DONTNEED))
            tried("swapped", lambda: own.madvise(21))
            tried("given", lambda: called("vmsplice", os.pipe()[1], None, 0, 0))
            """
        )
    )
    assert said(end.stdout) == {
        "shared": "EPERM",
        "zeros": "ENODEV",
        "own": "went through",
        "swapped": "EINVAL",
        "given": "EPERM",
    }


async def test_what_waits_in_sockets_counts_as_memory(python: Python) -> None:
    end = await python(
        """
        import os, socket, time
        for _ in range(8):
            if os.fork() == 0:
                pairs = [socket.socketpair() for _ in range(100)]
                for pair in pairs:
                    for one in pair:
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024**3)
                        one.setblocking(False)
                        try:
                            while True: one.send(bytes(65536))
                        except BlockingIOError:
                            pass
                time.sleep(600)
        time.sleep(600)
        """
    )
    assert end.limit == "memory"


async def test_a_run_is_the_first_to_go_when_the_machine_has_no_memory_left(
    python: Python,
) -> None:
    end = await python(
        """
        import os
        try:
            os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"0")
        except OSError:
            pass
        print(open("/proc/self/oom_score_adj").read())
        """
    )
    assert int(end.stdout) == 1000


async def test_who_watches_cannot_be_slowed_down(python: Python) -> None:
    end = await python(
        _TRIES
        + textwrap.dedent(
            """
            import ctypes, os
            libc = ctypes.CDLL(None, use_errno=True)
            def io_idle():
                if libc.syscall({"x86_64": 251, "aarch64": 30}[os.uname().machine], 1, 1, 3 << 13):
                    raise OSError(ctypes.get_errno(), "ioprio_set")
            idle = os.sched_param(0)
            tried("priority", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
            tried("all", lambda: os.setpriority(os.PRIO_USER, 0, 19))
            tried("schedule", lambda: os.sched_setscheduler(1, os.SCHED_IDLE, idle))
            tried("parameters", lambda: os.sched_setparam(1, idle))
            tried("processor", lambda: os.sched_setaffinity(1, {0}))
            tried("disk", io_idle)
            tried("own", lambda: os.nice(1))
            tried("own-schedule", lambda: os.sched_setscheduler(0, os.SCHED_BATCH, idle))
            """
        )
    )
    tries = said(end.stdout)
    assert tries.pop("own") == tries.pop("own-schedule") == "went through"
    assert set(tries) == {"priority", "all", "schedule", "parameters", "processor", "disk"}
    assert set(tries.values()) == {"EPERM"}


async def test_endless_output_is_cut(python: Python) -> None:
    end = await python("while True: print('x' * 1000)", limits={"output_bytes": 10_000})
    assert end.limit == "output_bytes"
    assert len(end.stdout) == 10_000


async def test_processor_time_is_limited(python: Python) -> None:
    end = await python("while True: pass", limits={"cpu_seconds": 1})
    assert end.limit == "cpu_seconds"


async def test_processor_time_is_limited_for_all_processes_together(python: Python) -> None:
    end = await python(
        """
        import os
        for _ in range(5):
            os.fork()
        while True: pass
        """,
        limits={"cpu_seconds": 1, "processes": 40},
    )
    assert end.limit == "cpu_seconds"


async def test_processor_time_of_children_that_nobody_waits_for_is_limited(python: Python) -> None:
    end = await python(
        """
        import os, signal, time
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            if os.fork() == 0:
                while time.process_time() < 0.3: pass
                os._exit(0)
            try:
                os.wait()
            except ChildProcessError:
                pass
        """,
        limits={"cpu_seconds": 2},
    )
    assert end.limit == "cpu_seconds"


async def test_time_is_limited(python: Python) -> None:
    end = await python("import time; time.sleep(600)", limits={"seconds": 1})
    assert (end.limit, end.exit_code) == ("seconds", -signal.SIGKILL)


@pytest.mark.parametrize("place", [".", "/tmp", "/dev/shm"])
async def test_the_disk_cannot_be_filled(python: Python, place: str) -> None:
    end = await python(
        f"for n in range(9): open(f'{place}/{{n}}', 'wb').write(bytes(1024**2))",
        limits={"file_bytes": 4 * MIB},
    )
    assert (end.limit, end.exit_code) == ("file_bytes", 1)
    assert b"No space left on device" in end.stderr


async def test_files_cannot_be_had_without_end(python: Python) -> None:
    end = await python("for n in range(10**6): open(f'{n}', 'w')", limits={"file_bytes": MIB})
    assert end.exit_code == 1
    assert b"No space left on device" in end.stderr


async def test_nothing_stays_when_the_program_has_ended(python: Python) -> None:
    end = await python(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv("/bin/sleep", ["left-over-of-a-run", "600"])
            os._exit(0)
        os.wait()
        """
    )
    assert end.exit_code == 0
    assert not _running("left-over-of-a-run")


async def test_nothing_stays_when_it_is_cancelled(sandbox: LinuxSandbox) -> None:
    argv = ("python", "-c", "import os; os.execv('/bin/sleep', ['cancelled-run', '600'])")
    task = asyncio.create_task(sandbox.run(SandboxRun(argv=argv)))
    await _until(lambda: _running("cancelled-run"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _running("cancelled-run")


async def test_nothing_stays_when_the_server_is_killed(tmp_path: Path) -> None:
    code = """
        import asyncio
        from sutazai.adapters.sandbox import LinuxSandbox
        from sutazai.analysis.sandbox import SandboxLimits, SandboxRun
        code = "import os; os.execv('/bin/sleep', ['orphaned-run', '600'])"
        limits = SandboxLimits(seconds=600)
        asyncio.run(LinuxSandbox().run(SandboxRun(argv=("python", "-c", code), limits=limits)))
    """
    server = _started(sys.executable, "-c", textwrap.dedent(code))
    try:
        await _until(lambda: _running("orphaned-run"))
    finally:
        server.kill()
        server.wait()
    await _until(lambda: not _running("orphaned-run"))


def _started(*argv: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv)


def _running(name: str) -> bool:
    """Whether any process of the machine has this as its own name."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().split(b"\0")[0] == name.encode():
                return True
        except OSError:
            continue
    return False


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)  # what others do to the table of processes tells nobody
