"""Tracebacks as the interpreter and pytest print them, made here by both."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sutazai.analysis.diagnosis.tracebacks import parse_failures
from sutazai.analysis.globs import InputError


def printed(tmp_path: Path, code: str) -> str:
    """What Python prints for a program that fails."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def test_a_plain_traceback_with_carets(tmp_path: Path) -> None:
    code = """
    def f(row):
        return 1 + row["a"]["b"]

    f({"a": {}})
    """
    [failure] = parse_failures(printed(tmp_path, code))
    assert (failure.type, failure.message) == ("KeyError", "'b'")
    assert [frame.function for frame in failure.frames] == ["<module>", "f"]
    last = failure.frames[-1]
    assert (last.line, last.code) == (3, 'return 1 + row["a"]["b"]')
    assert last.code[last.start : last.end] == 'row["a"]["b"]'


def test_causes_and_contexts(tmp_path: Path) -> None:
    code = """
    def low():
        raise KeyError("low")

    try:
        try:
            low()
        except KeyError as error:
            raise ValueError("middle") from error
    except ValueError:
        raise TypeError("high")
    """
    failures = parse_failures(printed(tmp_path, code))
    assert [(one.name, one.relation) for one in failures] == [
        ("KeyError", ""),
        ("ValueError", "cause"),
        ("TypeError", "context"),
    ]


def test_groups_and_their_members(tmp_path: Path) -> None:
    code = """
    def f(n):
        raise ValueError(n)

    errors = []
    for n in range(2):
        try:
            f(n)
        except ValueError as error:
            errors.append(error)
    raise ExceptionGroup("several", [*errors, TypeError("bare")])
    """
    failures = parse_failures(printed(tmp_path, code))
    assert failures[0].name == "ExceptionGroup"
    members = failures[1:]
    assert [(one.name, one.message, one.relation) for one in members] == [
        ("ValueError", "0", "member"),
        ("ValueError", "1", "member"),
        ("TypeError", "bare", "member"),
    ]
    assert members[0].frames[-1].function == "f"


def test_messages_over_several_lines_and_repeated_frames(tmp_path: Path) -> None:
    code = """
    def f(n):
        return f(n - 1) if n else g()

    def g():
        raise ValueError("first (\\n  second)")

    f(50)
    """
    [failure] = parse_failures(printed(tmp_path, code))
    assert failure.message == "first (\n  second)"
    assert failure.frames[-1].function == "g"


def test_a_traceback_inside_of_a_log_is_found() -> None:
    text = textwrap.dedent(
        """\
        2026-11-25 10:00:00 ERROR it failed
        app-1  | Traceback (most recent call last):
        app-1  |   File "/app/db.py", line 12, in connect
        app-1  |     return pool.get()
        app-1  | app.errors.Closed
        app-1  | next line
        """
    )
    [failure] = parse_failures(text)
    assert (failure.type, failure.message, failure.name) == ("app.errors.Closed", "", "Closed")
    assert failure.frames[0].code == "return pool.get()"


@pytest.mark.parametrize("style", ["long", "short", "native"])
def test_what_pytest_prints(tmp_path: Path, style: str) -> None:
    (tmp_path / "code_of.py").write_text("def f(x):\n    y = x\n    return y['a']\n")
    (tmp_path / "test_it.py").write_text(
        "from code_of import f\n\n\ndef test_key():\n    f({})\n\n\n"
        "def test_value():\n    assert f({'a': 1}) == 2\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--tb={style}"]
    done = subprocess.run(
        [*command, "-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )
    key, value = parse_failures(done.stdout)
    assert (key.name, key.message) == ("KeyError", "'a'")
    assert key.frames[-1].file.endswith("code_of.py")
    assert (key.frames[-1].line, key.frames[-1].code) == (3, "return y['a']")
    assert [frame.function for frame in key.frames][-2:] == ["test_key", "f"]
    assert value.name == "AssertionError"
    assert value.frames[-1].line == 9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing failed",
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\n" * 2_000,
        '  File "x.py", line 1, in f\n' * 2_000,
        "| " * 100_000,
        "+-" * 100_000,
        "_" * 100_000,
        "a." * 100_000,
        "\x00" * 1_000,
        "x" * 4_000_001,
    ],
)
def test_what_has_no_traceback_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_failures(text)


def test_endless_frames_are_cut() -> None:
    frames = '  File "x.py", line 1, in f\n    f()\n' * 20_000
    text = f"Traceback (most recent call last):\n{frames}KeyError: 1\n"
    [failure] = parse_failures(text)
    assert len(failure.frames) == 300
