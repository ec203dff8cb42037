"""Machines of other kinds: what is said where nothing can be isolated, and who else can isolate."""

import os
import subprocess
import sys
import textwrap

PROGRAM = """
import asyncio
from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.analysis.sandbox import SandboxRun, SandboxUnavailable

async def main():
    run = SandboxRun(argv=("python", "-c", "print('ran')"))
    try:
        print((await LinuxSandbox().run(run)).stdout.decode())
    except SandboxUnavailable as error:
        print(error)

asyncio.run(main())
"""


def said(*before: str) -> str:
    """What the program says when it is started by this command."""
    done = subprocess.run(
        [*before, sys.executable, "-c", textwrap.dedent(PROGRAM)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_root_of_a_container_can_isolate_if_it_is_nobody_outside() -> None:
    told = said("unshare", "--user", "--map-root-user", "--mount")
    if os.getuid() == 0:
        # The kernel knows who it is, and limits the processes of root in no namespace.
        assert "the number of processes cannot be limited" in told
        assert "Run the server as an ordinary user" in told
    else:
        assert told == "ran"


def test_where_namespaces_are_forbidden_the_remedy_is_told() -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    told = said(
        *("unshare", "--user", "--map-root-user", "setpriv", "--bounding-set=-sys_admin"),
        *("--inh-caps=-sys_admin", "sh", "-c", forbid, "sh"),
    )
    assert "cannot be isolated on this machine, so it is not run" in told
    assert "sysctl -w user.max_user_namespaces=15000" in told
