"""Repairs that only hide what they should repair, and those that are what they look like."""

import pytest

from sutazai.analysis.excerpts import Repair, Repaired, repair
from sutazai.analysis.protocol import Inline
from sutazai.analysis.reviewer import Reviewable

HEAD = """import functools
import hashlib
import os
import requests
import subprocess
import yaml

from shop import helpers


def go(request, db, password):
    host = request.args["host"]
"""
LINES = {
    "shell": 'subprocess.run("ping " + host, shell=True)',
    "sql": 'db.execute("SELECT * FROM t WHERE a=\'" + host + "\'")',
    "eval": "eval(host)",
    "yaml": "yaml.load(host)",
    "hash": "hashlib.md5(password.encode()).hexdigest()",
    "tls": 'requests.get("https://example.com", verify=False, timeout=5)',
    "mode": 'os.chmod("x", 0o777)',
    "path": 'open("/srv/" + host).read()',
    "errors": "db.get(host).name",
}
HOSTILE = {
    "shell": [
        'getattr(subprocess, "r" + "un")("ping " + host, shell=True)',
        'run = subprocess.run; run("ping " + host, shell=True)',
        'for s in (subprocess,): s.run("ping " + host, shell=True)',
        '[subprocess.run][0]("ping " + host, shell=True)',
        '(lambda c: subprocess.run(c, shell=True))("ping " + host)',
        '__import__("subprocess").run("ping " + host, shell=True)',
        'globals()["subprocess"].run("ping " + host, shell=True)',
        'subprocess.__dict__["run"]("ping " + host, shell=True)',
        'vars(subprocess)["run"]("ping " + host, shell=True)',
        'import sys; sys.modules["subprocess"].run("ping " + host, shell=True)',
        'import importlib; importlib.import_module("subprocess").run(host, shell=True)',
        'functools.partial(subprocess.run, shell=True)("ping " + host)',
        'subprocess.run.__call__("ping " + host, shell=True)',
        'import subprocess as s; s.run("ping " + host, shell=True)',
        'from subprocess import run as r; r("ping " + host, shell=True)',
        '(subprocess if host else os).run("ping " + host, shell=True)',
        'exec("subproc" "ess.run(host, shell=True)")',
        'subprocess.run("ping " + host, **{"shell": True})',
        'subprocess.run("ping " + host, shell=1)',
        'subprocess.run("ping " + host, shell=not False)',
        'yes = True; subprocess.run("ping " + host, shell=yes)',
        'subprocess.Popen("ping " + host, -1, None, None, None, None, None, True, True)',
        'subprocess.run(["sh", "-c", "ping " + host])',
        'subprocess.run(["env", "bash", "-c", "ping " + host])',
        'subprocess.run("sh", input="ping " + host, text=True)',
        "subprocess.run(host)",
        "subprocess.run([host])",
        'words = ["ping"]; words = [host]; subprocess.run(words)',
        'import pty; pty.spawn(["ping", host])',
        'os.execlp("ping", "ping", host)',
        'from posix import system; system("ping " + host)',
        "helpers.ping(host)",
        "from .tools import ping; ping(host)",
        "def run(c, f=subprocess.run): return f(c, shell=True)",
        "class Run(subprocess.Popen): shell = True",
        'list(map(subprocess.getoutput, ["ping " + host]))',
    ],
    "sql": [
        'e = db.execute; e("SELECT * FROM t WHERE a=" + host)',
        'q = "".join(["SELECT * FROM t WHERE a=", host]); db.execute(q)',
        'db.execute("SELECT * FROM t WHERE a=?".replace("?", host))',
        'd = {}; d["q"] = "SELECT * FROM t WHERE a=" + host; db.execute(d["q"])',
        '[db.execute(q) for q in ["SELECT * FROM t WHERE a=" + host]]',
        'db.execute(sql="SELECT * FROM t WHERE a=" + host)',
        'q = "SELECT 1"; q = q + host; db.execute(q)',
        "db.execute(host)",
        "db.execute(*(host,))",
        "helpers.find(db, host)",
        "db.find_by_sql(host)",
    ],
    "eval": [
        "run = eval; run(host)",
        "list(map(eval, [host]))",
        "__builtins__.eval(host)",
        "import timeit; timeit.timeit(host)",
        "import bdb; bdb.Bdb().run(host)",
        "import code; code.InteractiveInterpreter().runsource(host)",
        "from ast import literal_eval as eval; eval(host)",
    ],
    "yaml": [
        "yaml.unsafe_load(host)",
        "yaml.full_load(host)",
        "yaml.Loader(host).get_single_data()",
        "yaml.load(host, Loader=yaml.UnsafeLoader)",
    ],
    "hash": [
        'hashlib.new("m" + "d5", password.encode()).hexdigest()',
        "h = hashlib.md5; h(password.encode()).hexdigest()",
        "import zlib; zlib.crc32(password.encode())",
    ],
    "tls": [
        'requests.get("https://example.com", verify=0, timeout=5)',
        'requests.get("https://example.com", verify=not True, timeout=5)',
        'requests.get("http://example.com", timeout=5)',
        's = requests.Session(); s.verify = False; s.get("https://example.com")',
    ],
    "mode": [
        "m = 0o777; os.chmod('x', m)",
        "os.chmod('x', 0o111 * 7)",
        "os.chmod('x', int('777', 8))",
        "os.umask(0)",
    ],
    "errors": [
        "try:\n        db.get(host).name\n    except AttributeError:\n        pass",
        "try:\n        db.get(host).name\n    except AttributeError:\n        return None",
        "import contextlib; with contextlib.suppress(AttributeError):\n        db.get(host).name",
        "from contextlib import suppress; with suppress(Exception):\n        db.get(host).name",
    ],
    "path": [
        'o = open; o("/srv/" + host).read()',
        'os.open("/srv/" + host, 0)',
        'import linecache; linecache.getlines("/srv/" + host)',
    ],
}
HONEST = {
    "shell": [
        'subprocess.run(["ping", host], check=True)',
        'subprocess.run(["ping", "--", host], shell=False)',
        'words = ["ping", host]; subprocess.run(words, capture_output=True, timeout=10)',
        'import shlex; subprocess.run(["ping", shlex.quote(host)], stderr=subprocess.PIPE)',
        (
            'subprocess.run(["ping", host])\n    if not isinstance(host, str):\n'
            '        raise ValueError("no host")'
        ),
        (
            'try:\n        subprocess.run(["ping", host])\n'
            "    except subprocess.CalledProcessError:\n        raise"
        ),
    ],
    "sql": [
        'db.execute("SELECT * FROM t WHERE a=?", (host,))',
        'query = "SELECT * FROM t WHERE a=:a"; db.execute(query, {"a": host})',
        'cursor = db.cursor(); cursor.execute("SELECT * FROM t WHERE a=%s", [host])',
    ],
    "eval": ["import ast; ast.literal_eval(host)", "int(host)"],
    "yaml": ["yaml.safe_load(host)", "yaml.load(host, Loader=yaml.SafeLoader)"],
    "hash": ["hashlib.scrypt(password.encode(), salt=os.urandom(16), n=16384, r=8, p=1).hex()"],
    "tls": [
        'requests.get("https://example.com", timeout=5)',
        'requests.get("https://example.com", verify=True, timeout=5)',
    ],
    "mode": ['os.chmod("x", 0o600)'],
    "errors": [
        "found = db.get(host); found.name if found else 0",
        "try:\n        db.get(host).name\n    except AttributeError:\n        return 0",
    ],
    "path": [
        (
            'full = os.path.realpath(os.path.join("/srv", os.path.basename(host)))\n'
            "    open(full).read()"
        )
    ],
}


def tried(kind: str, replacement: str) -> Repaired:
    """The repair of the one line that is wrong."""
    code = f"{HEAD}    {LINES[kind]}\n    return 1\n"
    inline = Inline(name="app.py", content=code.encode(), language="python")
    line = HEAD.count("\n") + 1
    text = "    " + replacement.replace("; ", "\n    ")
    what = Reviewable(inline=(inline,))
    return repair(Repair(what=what, file="app.py", first=line, last=line, replacement=text))


def _cases(patches: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(kind, patch) for kind, several in patches.items() for patch in several]


@pytest.mark.parametrize(("kind", "patch"), _cases(HOSTILE))
def test_what_could_hide_a_finding_is_no_repair(kind: str, patch: str) -> None:
    problem = tried(kind, patch).problem
    assert problem is not None
    assert "could hide" in problem


@pytest.mark.parametrize(("kind", "patch"), _cases(HONEST))
def test_a_repair_that_hides_nothing_is_one(kind: str, patch: str) -> None:
    assert tried(kind, patch).problem is None


def test_what_the_file_did_already_it_may_do_on() -> None:
    code = "import subprocess\n\n\ndef go(run, host):\n    getattr(run, host)()\n    eval(host)\n"
    inline = Inline(name="app.py", content=code.encode(), language="python")
    kept = "    getattr(run, host)()\n    int(host)"
    wanted = Repair(
        what=Reviewable(inline=(inline,)), file="app.py", first=5, last=6, replacement=kept
    )
    assert repair(wanted).problem is None
