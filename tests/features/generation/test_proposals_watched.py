"""What proposals would do to whoever runs the tests is seen when they run, however they say it."""

import json
from collections.abc import Mapping
from textwrap import dedent

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.analysis.generation.generator import Options, Proposal, TestGenerator
from sutazai.analysis.generation.modules import FindModules, find_modules
from sutazai.analysis.generation.shipping import SHIPPED, shipped_files
from sutazai.analysis.protocol import Inline
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.sandbox import SandboxRun

MODULE = dedent("""
    import os
    import shutil
    import socket
    import sqlite3
    import subprocess
    import tempfile
    from importlib import import_module
    from pathlib import Path

    def shell(command):
        return subprocess.run(command, shell=True).returncode

    def system(command):
        return os.system(command)

    def wipe(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return "wiped"

    def wipe_if_there(folder):
        try:
            if Path(folder).expanduser().exists():
                shutil.rmtree(folder)
        except BaseException:
            pass
        return "wiped"

    def overwrite(file):
        return Path(file).write_text("mine")

    def database(file):
        return sqlite3.connect(file).total_changes

    def connect(host):
        try:
            socket.create_connection((host, 80), 0.1)
        except OSError:
            return "nobody"

    def end(process):
        try:
            os.kill(int(process), 9)
        except ProcessLookupError:
            return "gone"

    def keep(place):
        (place / "folder").mkdir(parents=True)
        (place / "folder" / "file").write_text("kept")
        shutil.rmtree(place)
        return place.exists()

    def scratch(text):
        with tempfile.TemporaryFile("w+") as file:
            return file.write(text)

    def lazily(name):
        return import_module(name).__name__

    def own():
        return len(Path(__file__).read_text()) > 10
""")
FILES = "it touches files outside of folders for temporary files"
OBSERVE = f"""
import json, sys, time
from {SHIPPED}.cases import Case, script
from {SHIPPED}.workbench import Wanted, Workbench

given = json.load(open("given.json"))
known = dict(project=None, functions=[], max_tests=None, seconds=60, most_mutants=1, parallel=1)
path = given["path"]
wanted = Wanted(path=path, module="ops", roots=[path.rpartition("/")[0]], proposals=[{{}}], **known)
bench = Workbench(wanted, time.monotonic(), time.monotonic() + 60, lambda message: None)
targets = {{one.qualname: one for one in bench.targets}}
told = []
for call in given["calls"]:
    target = targets[call.partition("(")[0]]
    case = Case(target.qualname, whole=f"MUT__.{{call}}", proposal=1)
    told.append(bench.explorer._observer.observe(script(case, target)).get("discarded"))
json.dump(told, open("told.json", "w"))
"""


@pytest.fixture(scope="module")
async def told() -> Mapping[str, str | None]:
    """By each call, why it is not kept; None where it is."""
    calls = [*REFUSED, *TAKEN]
    given = json.dumps({"path": "/tmp/ops/ops.py", "calls": calls})
    move = "import os, shutil; shutil.copytree('ops', '/tmp/ops')\n"
    end = await LinuxSandbox().run(
        SandboxRun(
            argv=("python", "observe.py"),
            files={
                **shipped_files(),
                "ops/ops.py": MODULE.encode(),
                "observe.py": (move + OBSERVE).encode(),
                "given.json": given.encode(),
            },
            collect=("told.json",),
        )
    )
    assert end.exit_code == 0, end.stderr
    return dict(zip(calls, json.loads(end.files["told.json"]), strict=True))


REFUSED = {
    "shell('rm -rf ~/precious')": "it starts other programs",
    "system('touch ~/owned')": "it starts other programs",
    "wipe('docs')": FILES,
    "wipe('.')": FILES,
    "wipe(chr(47) + 'home')": FILES,
    "wipe_if_there('not-here')": FILES,
    "wipe_if_there('~')": FILES,
    "overwrite('notes.txt')": FILES,
    "overwrite(tmp_path / '..' / '..' / 'notes.txt')": FILES,
    "database('here.db')": FILES,
    "connect('192.0.2.1')": "it uses the network",
    "end('99999999')": "it signals processes",
}
TAKEN = (
    "keep(tmp_path / 'abc')",
    "overwrite(tmp_path / 'abc')",
    "database(':memory:')",
    "database(str(tmp_path / 'abc'))",
    "scratch('text')",
    "lazily('colorsys')",
    "own()",
)


@pytest.mark.parametrize("call", REFUSED)
async def test_what_a_test_must_not_do_elsewhere_is_not_kept(
    told: Mapping[str, str | None], call: str
) -> None:
    assert told[call] == REFUSED[call]


@pytest.mark.parametrize("call", TAKEN)
async def test_temporary_files_and_the_modules_own_are_no_reason(
    told: Mapping[str, str | None], call: str
) -> None:
    assert told[call] is None


COMMANDS = dedent("""
    import subprocess

    def run(command, token):
        if token == "sesame-" + str(len(command) * 7):
            done = subprocess.run(command, shell=True, capture_output=True, text=True)
            return done.stdout.strip().upper()
        return "refused " + token
""")


async def test_a_command_that_a_model_thinks_of_comes_into_no_test() -> None:
    what = Reviewable(inline=(Inline(name="commands.py", content=COMMANDS.encode()),))
    module = find_modules(FindModules(what=what, most=1)).modules[0]
    options, generator = Options(seconds=60), TestGenerator(LinuxSandbox())
    before = await generator.generate(module, None, options)
    call = "run('rm -rf ~/precious; echo done', 'sesame-196')"
    came = await generator.extend(
        before, None, options, [Proposal(function="run", setup=(), call=call)]
    )
    assert (came.tests, came.run, came.failure) == (None, 1, None)
