"""Programs that try to use more than the sandbox lets them have."""

import signal
import textwrap

import pytest

from sutazai.analysis.sandbox import MIB
from tests.features.sandbox.conftest import TRIES, Python, said


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
        TRIES
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
        TRIES
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
