"""Repairs that a model proposes, tried on: what is no repair whatever the analysis says of it."""

import pytest

from sutazai.analysis.excerpts import Repair, Repaired, repair
from sutazai.analysis.protocol import Inline
from sutazai.analysis.reviewer import Reviewable

CODE = b"""import subprocess


def ping(request):
    host = request.args["host"]
    subprocess.run("ping " + host, shell=True)
    check(host)
    return "done"
"""


def tried(first: int, last: int, replacement: str) -> Repaired:
    """The repair of lines of the code above."""
    inline = Inline(name="app.py", content=CODE, language="python")
    wanted = Reviewable(inline=(inline,))
    return repair(
        Repair(what=wanted, file="app.py", first=first, last=last, replacement=replacement)
    )


@pytest.mark.parametrize(
    ("first", "last", "replacement"),
    [
        (6, 6, ""),
        (6, 6, "    pass"),
        (6, 6, "    # It was here."),
        (6, 6, '    """ subprocess.run("ping " + host, shell=True) """'),
        (6, 7, '    subprocess.run(["ping", host])'),
        (4, 8, ""),
    ],
)
def test_taking_code_away_is_no_repair(first: int, last: int, replacement: str) -> None:
    assert tried(first, last, replacement).problem == "it takes code away"


def test_code_in_other_words_is_one() -> None:
    done = tried(6, 6, '    subprocess.run(["ping", host])')
    assert done.problem is None
    assert '+    subprocess.run(["ping", host])' in done.patch
