"""What a run in the sandbox is given, and what of it comes back."""

import asyncio
from pathlib import Path

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.analysis.sandbox import SandboxRun
from tests.features.sandbox.conftest import Python


async def test_this_machine_can_isolate(sandbox: LinuxSandbox) -> None:
    await sandbox.check()


async def test_output_and_exit_code_come_back(python: Python) -> None:
    end = await python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (end.exit_code, end.stdout, end.stderr, end.limit) == (3, b"out\n", b"err\n", None)


async def test_a_signal_is_a_negative_exit_code(python: Python) -> None:
    end = await python("import os; os.abort()")
    assert (end.exit_code, end.limit) == (-6, None)


async def test_standard_input_and_variables_are_those_given(python: Python) -> None:
    end = await python(
        "import os, sys; print(sys.stdin.read(), os.environ['WORD'])",
        stdin=b"given",
        environment={"WORD": "said"},
    )
    assert end.stdout == b"given said\n"


async def test_files_are_laid_out_and_collected(python: Python) -> None:
    end = await python(
        """
        from pathlib import Path
        text = Path("in/a.txt").read_text()
        Path("out").mkdir()
        Path("out/b.txt").write_text(text.upper())
        """,
        files={"in/a.txt": b"hello"},
        collect=("out/b.txt", "in/a.txt", "absent"),
    )
    assert end.files == {"out/b.txt": b"HELLO", "in/a.txt": b"hello"}


async def test_large_files_go_in_and_out_whole(python: Python) -> None:
    content = bytes(range(256)) * 40_000
    end = await python("import shutil; shutil.copy('a', 'b')", files={"a": content}, collect=("b",))
    assert end.files["b"] == content


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b"])
async def test_paths_stay_in_the_working_folder(python: Python, path: str) -> None:
    with pytest.raises(ValueError, match="relative path"):
        await python("", files={path: b""})
    with pytest.raises(ValueError, match="relative path"):
        await python("", collect=(path,))


async def test_the_servers_packages_can_be_imported(python: Python) -> None:
    end = await python("import coverage, pytest; print(coverage.__name__, pytest.__name__)")
    assert (end.stdout, end.stderr) == (b"coverage pytest\n", b"")


async def test_source_is_shown_whoever_may_read_it_outside(python: Python, tmp_path: Path) -> None:
    source = tmp_path / "project"
    source.mkdir(mode=0o700)
    (source / "module.py").write_text("VALUE = 5")
    (source / "module.py").chmod(0o600)
    end = await python(
        "import sys; sys.path.insert(0, '/source'); import module; print(module.VALUE)",
        source=str(source),
    )
    assert (end.stdout, end.stderr) == (b"5\n", b"")


async def test_hidden_files_and_folders_are_empty(python: Python, tmp_path: Path) -> None:
    for name in ("seen", "hidden", "below/hidden"):
        path = tmp_path / "source" / name
        path.mkdir(parents=True)
        (path / "file").write_text(name)
    (tmp_path / "source/link").symlink_to("hidden/file")
    end = await python(
        """
        from pathlib import Path
        for path in sorted(Path("/source").rglob("*")):
            if path.is_file():
                try:
                    print(path, path.read_text())
                except PermissionError:
                    print(path, "-")
        """,
        source=str(tmp_path / "source"),
        hidden=("hidden", "below/hidden/file", "absent"),
    )
    assert end.stdout.splitlines() == [b"/source/below/hidden/file -", b"/source/seen/file seen"]


async def test_files_of_the_source_can_be_replaced_for_one_run(
    python: Python, tmp_path: Path
) -> None:
    module = tmp_path / "pkg/module.py"
    module.parent.mkdir()
    module.write_text("VALUE = 1")
    code = "import sys; sys.path.insert(0, '/source'); from pkg import module; print(module.VALUE)"
    replaced = {"pkg/module.py": b"VALUE = 2"}
    end = await python(code, source=str(tmp_path), replaced=replaced)
    assert (end.stdout, end.stderr) == (b"2\n", b"")
    end = await python(
        "open('/source/pkg/module.py', 'w')", source=str(tmp_path), replaced=replaced
    )
    assert b"Read-only" in end.stderr
    assert (await python(code, source=str(tmp_path))).stdout == b"1\n"


async def test_a_missing_program_says_so(sandbox: LinuxSandbox) -> None:
    end = await sandbox.run(SandboxRun(argv=("no-such-program",)))
    assert end.exit_code == 127
    assert b"no-such-program: not found in the sandbox" in end.stderr


async def test_programs_of_the_system_run(sandbox: LinuxSandbox) -> None:
    end = await sandbox.run(SandboxRun(argv=("sh", "-c", "echo $((6 * 7)) | cat")))
    assert end.stdout == b"42\n"


async def test_threads_processes_and_local_sockets_work(python: Python) -> None:
    end = await python(
        """
        import asyncio, multiprocessing, socket, subprocess, threading
        threading.Thread(target=print, args=("thread",)).start()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(abs, [-1, -2]))
        print(subprocess.run(["echo", "child"], capture_output=True).stdout)
        async def main():
            async def answer(reader, writer):
                writer.write(b"hello")
                writer.close()
            server = await asyncio.start_server(answer, "localhost", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            print(await reader.read())
        asyncio.run(main())
        """
    )
    assert end.stderr == b""
    assert end.stdout == b"thread\n[1, 2]\nb'child\\n'\nb'hello'\n"


async def test_many_runs_go_on_at_once(python: Python) -> None:
    ends = await asyncio.gather(*(python(f"print({n})") for n in range(8)))
    assert [int(end.stdout) for end in ends] == list(range(8))


async def test_nothing_of_a_run_stays_on_the_machine(python: Python) -> None:
    before = _traces()
    end = await python("open('/tmp/left-by-a-run', 'w'); open('left-by-a-run', 'w')")
    assert end.exit_code == 0
    assert _traces() == before


def _traces() -> tuple[str, bool]:
    mounts = Path("/proc/self/mountinfo").read_text()
    return mounts, Path("/tmp/left-by-a-run").exists()
