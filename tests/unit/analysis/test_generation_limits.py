"""The parts that keep the time of test generation, without a sandbox around them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sutazai.analysis.generation.inside import verifying
from sutazai.analysis.generation.inside.cases import Case
from sutazai.analysis.generation.inside.checks import Check
from sutazai.analysis.generation.inside.rendering import Renderer
from sutazai.analysis.generation.inside.selecting import Group, selected
from sutazai.analysis.generation.inside.verifying import Wanted, verify

# In a process of its own: this one has threads, and is not to be forked.
FORKS = """
import math, time
from sutazai.analysis.generation.inside.forks import run_forked

def quick(send):
    send("done")

def endless(send):
    send("begun")
    time.sleep(3600)

until = time.monotonic() + 2
ends = run_forked([quick, endless, endless, quick], seconds=math.inf, parallel=1, until=until)
for end in ends:
    print(end.messages, end.complete, end.late)
"""


def test_whatever_runs_in_forks_ends_when_the_time_is_over() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "['done'] True False",
        "['begun'] False True",
        "[] False True",
        "[] False True",
    ]


def test_tests_that_there_is_no_time_to_run_are_not_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = verify(wanted(tmp_path), time.monotonic() - 1)
    assert answer["failure"].startswith("there was no time left to run the tests three times")
    assert list(answer["dropped"]) == ["test_one"]


def test_what_there_is_no_time_to_measure_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verifying, "_runs", lambda *_: [{"test_one": None}] * 3)
    answer = verify(wanted(tmp_path), time.monotonic() - 1)
    assert answer["failure"].startswith("there was no time left to measure what the tests reach")


def wanted(folder: Path) -> Wanted:
    """The proof of one test in this folder."""
    return Wanted(
        path=str(folder / "module.py"),
        roots=[str(folder)],
        file="test_module.py",
        source="def test_one():\n    assert True\n",
        plugin="sutazai.analysis.generation.inside.shuffling",
        seconds=1,
    )


def test_a_long_import_below_other_code_is_excused_in_its_first_line() -> None:
    names = [f"function_number_{number}" for number in range(8)]
    checks = [
        check(number, f"assert MUT__.{name}(1) == 2", told=["returns", "2"])
        for number, name in enumerate(names)
    ]
    groups = [Group(one.target, "returns", [one]) for one in checks]
    source, _ = Renderer("shop.prices", set()).render(groups, {}, time.monotonic() + 60)
    assert "noqa" not in source
    source, _ = Renderer("calendar", set()).render(groups, {}, time.monotonic() + 60)
    assert "from calendar import (  # noqa: E402\n    function_number_0,\n" in source


def test_an_error_by_accident_is_kept_only_where_nothing_else_runs_a_line() -> None:
    meant = check(1, "assert MUT__.f(1) == 2", told=["returns", "2"], arcs={(-1, 2), (2, -1)})
    same = check(2, "", told=["raises", "type"], arcs={(-1, 2), (2, -1)}, is_accident=True)
    only = check(3, "", told=["raises", "key"], arcs={(-1, 2), (2, 7)}, is_accident=True)
    chosen = selected([meant, same, only], {5: {1}, 6: {2}})
    assert [one.number for one, _ in chosen] == [1, 3]


def check(
    number: int,
    line: str,
    *,
    told: list[str],
    arcs: set[tuple[int, int]] | None = None,
    is_accident: bool = False,
) -> Check:
    """A check of a function of its own."""
    case = Case(f"function_number_{number}")
    return Check(number, case, [line], told, frozenset(arcs or ()), is_accident=is_accident)
