"""Python's garbage collector in a server that is up."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.process import free_port

_TELLING = """
import atexit, gc
atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count(), len(gc.get_objects())))
from sutazai.__main__ import main
main()
"""


def test_a_full_collection_does_not_look_through_what_the_start_made(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TELLING, "serve", "--port", str(free_port())]
    command += ["--data-dir", str(tmp_path / "data"), "--workspace", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stderr.readline()
        assert b"is up at" in line, line + server.stderr.read()
        server.terminate()
        said, _ = server.communicate(timeout=60)
    enabled, frozen, watched = said.split()
    assert enabled == b"True"
    assert int(frozen) > 10 * int(watched)
