"""Programs that try to get out of the sandbox, or to stay behind."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.analysis.sandbox import SandboxRun
from tests.features.sandbox.conftest import TRIES, Python, said


async def test_there_is_no_network(python: Python) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        end = await python(
            TRIES
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
            TRIES
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
        TRIES
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
        TRIES
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
            TRIES
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
