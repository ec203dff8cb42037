"""Every test that is collected is run, on however many workers, and a group's on one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# As a plugin does that makes tests of one function: the name has what the id leaves out.
MANY = """
import pytest

def pytest_pycollect_makeitem(collector, name, obj):
    if name == "test_each":
        return [
            pytest.Function.from_parent(
                collector, name=f"{name}[GET /{path}]", callobj=obj, originalname=name
            )
            for path in PATHS
        ]
"""
TEST = """
import os
import pathlib

import pytest

def note(name):
    place = pathlib.Path(__file__).with_name("ran.txt")
    with place.open("a") as file:
        print(name, os.environ.get("PYTEST_XDIST_WORKER"), file=file)

def test_each(request):
    note(request.node.name)

@pytest.mark.parametrize("number", range(6))
def test_alone(number):
    note(f"alone-{number}")

@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(6))
def test_grouped(number):
    note(f"grouped-{number}")
"""


def run(folder: Path, paths: list[str], *arguments: str) -> tuple[int, str, list[str]]:
    """The status, what pytest said, and what ran where, of a suite with a test for each path."""
    (folder / "pyproject.toml").write_text("[tool.pytest]\n")
    (folder / "conftest.py").write_text(f"PATHS = {paths!r}\n{MANY}")
    (folder / "test_it.py").write_text(TEST)
    plugins = ["-p", "xdist", "-p", "tests.names", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest"), *plugins, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    ran = folder / "ran.txt"
    lines = ran.read_text().splitlines() if ran.exists() else []
    return done.returncode, done.stdout + done.stderr, lines


def test_workers_run_what_is_collected_and_a_group_is_one_workers(tmp_path: Path) -> None:
    paths = ["tasks", "agents", "events"]
    status, said, lines = run(tmp_path, paths, "-n", "2", "--dist", "loadgroup")
    assert status == 0, said
    assert "15 passed" in said
    ran = dict(line.rsplit(" ", 1) for line in lines)
    numbered = [f"{kind}-{number}" for kind in ("alone", "grouped") for number in range(6)]
    assert sorted(ran) == sorted([*numbered, *(f"test_each[GET /{path}]" for path in paths)])
    assert len({ran[f"grouped-{number}"] for number in range(6)}) == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_two_tests_of_one_name_are_refused(tmp_path: Path, workers: str) -> None:
    status, said, _ = run(tmp_path, ["tasks", "tasks"], "-n", workers)
    assert status != 0
    assert "2 tests have this name, of which one would run" in said
    assert "ERROR test_it.py::test_each[GET /tasks]" in said
