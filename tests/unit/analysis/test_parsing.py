"""Every file is read, or reported with its reason: newer syntax, hostile text, odd encodings."""

import ast
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sutazai.analysis.parsing import parse
from sutazai.analysis.review import Input
from sutazai.analysis.source import SourceError, read_source
from tests.unit.analysis.support import analyser, review

NEWER = {
    "type parameters of a function": "def first[T: int](items: list[T]) -> T: ...\n",
    "type parameters over lines": "def first[\n  T,\n](\n  items): ...\n",
    "type parameters of a class": "class Box[T](Base): ...\n",
    "type parameters of a class over lines": "class Box[\n  T\n]:\n  pass\n",
    "a type statement": "type Pair[T] = tuple[\n  T, T]\n",
    "equal quotes in an f-string": 'x = f"{d["a"]} {d["b"]!r:>{w}}"\n',
    "a comment in an f-string": "x = f'{\n  d # here\n}'\n",
    "a backslash in an f-string": 'x = f"{"\\n".join(y)}"\n',
    "nested f-strings": 'x = f"{f"{f"{1}"}"}" "tail"\n',
    "a multi-line f-string": 'x = f"""\n a {b["c"]}\n {"\\n".join(d)}\n"""\n',
    "a template string": 'x = t"hello {name!r}"\n',
    "except without parentheses": "try:\n  pass\nexcept A, B:\n  pass\n",
    "except star without parentheses": "try:\n  pass\nexcept* A, B:\n  pass\n",
}


@pytest.mark.parametrize("case", NEWER)
def test_newer_syntax_is_read_with_its_line_numbers(case: str) -> None:
    code = NEWER[case] + "import pickle\npickle.loads(b'marked')\n"
    result = review(code.encode())
    assert result.unparsed is None
    line = code.split("\n").index("pickle.loads(b'marked')") + 1
    marked = [finding for finding in result.findings if finding.rule == "unsafe-deserialization"]
    assert [finding.line for finding in marked] == [line]
    assert {evidence.engine for evidence in marked[0].evidence} == {"ruff", "bandit"}


def test_names_keep_their_lines_in_rewritten_files() -> None:
    code = "".join(NEWER.values())
    lines = code.split("\n")
    module = parse(read_source("/a.py", code.encode()))
    names = list(module.of(ast.Name))
    assert len(names) > 20
    for name in names:
        assert name.id in lines[name.lineno - 1]


def test_our_rules_see_inside_the_newer_f_strings() -> None:
    code = (
        "def find(cursor, row):\n"
        '    cursor.execute(f"SELECT * FROM users WHERE name = \'{row["name"]}\'")\n'
    )
    [finding] = review(code.encode()).findings
    assert (finding.rule, finding.line) == ("sql-injection", 2)
    assert "sutazai" in {evidence.engine for evidence in finding.evidence}


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"x = 1\ndef f(:\n    pass\n", 2, "not valid Python"),
        (b"print 'python 2'\n", 1, "not valid Python"),
        (b"x = 1\ny = '\x00'\n", 2, "NUL"),
        (b"x = 1\ny = '\xff'\n", 2, "not valid utf-8"),
        (b"# coding: rot13\nk = 1\n", 1, "encoding"),
        (b"# coding: no-such-thing\nk = 1\n", 1, "encoding"),
        (b"x = " + b"(" * 5000 + b")" * 5000, 1, ""),
        (b"x = " + b"-" * 100_000 + b"1", 1, ""),
        (b"x = " + b"[" * 150 + b"]" * 149, 1, ""),
        (b"x = a" + b".b" * 100_000, 1, "nested too deeply"),
    ],
)
def test_what_cannot_be_parsed_is_reported_with_line_and_reason(
    content: bytes, line: int, words: str
) -> None:
    result = review(content)
    assert result.unparsed is not None
    assert result.unparsed.line == line
    assert words in result.unparsed.reason


def test_what_cannot_be_parsed_still_gets_the_secret_scan() -> None:
    result = review(b"def broken(:\n# -----BEGIN PRIVATE KEY-----\n")
    assert result.unparsed is not None
    assert ("hardcoded-secret", 2) in [(f.rule, f.line) for f in result.findings]


def test_declared_encodings_byte_order_marks_and_old_line_endings_are_read() -> None:
    latin = review("# coding: latin-1\nname = 'Jürgen'\neval(name)\n".encode("latin-1"))
    assert ("code-injection", 3) in [(f.rule, f.line) for f in latin.findings]
    marked = review(b"\xef\xbb\xbfname = 1\r\neval(name)\r\n")
    [finding] = marked.findings
    assert (finding.line, finding.code) == (2, "eval(name)")


def test_only_real_line_ends_count_as_lines() -> None:
    code = "a = '\x0c \x0b \u2028 \x85'\neval(a)\n"
    [finding] = review(code.encode()).findings
    assert (finding.line, finding.code) == (2, "eval(a)")


def test_a_function_of_ten_thousand_lines_is_reviewed() -> None:
    body = "".join(f"    x{n} = n + {n}\n" for n in range(10_000))
    result = review(f"def f(n):\n{body}    eval(n)\n".encode())
    assert result.unparsed is None
    assert ("code-injection", 10_002) in [(f.rule, f.line) for f in result.findings]


def test_nothing_in_a_file_is_executed_or_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    review("import sutazai_never_imported\nraise SystemExit('executed')\n")
    assert "sutazai_never_imported" not in sys.modules


@given(st.text(max_size=300) | st.from_regex(r"[\w\s(){}\[\]:'\"#=,.\\@fbrt]{0,200}"))
def test_parsing_any_text_ends_in_a_tree_or_a_reason(text: str) -> None:
    # Anything but SourceError would fail the test.
    with suppress(SourceError):
        parse(read_source("/a.py", text.encode("utf-8", "surrogatepass")))


def test_a_file_that_takes_ruff_down_leaves_the_others_their_findings() -> None:
    bomb = Input(file="/bomb.py", key="b", content=b"x = " + b"-" * 100_000 + b"1\n")
    # Only ruff looks for this one.
    other = Input(file="/other.py", key="o", content=b"def add(to=[]):\n    to.append(1)\n")
    first, second = analyser().review([bomb, other], lambda *_: None)
    assert first.unparsed is not None
    assert "nested too deeply" in first.unparsed.reason
    assert second.unparsed is None
    assert [finding.rule for finding in second.findings] == ["mutable-default-argument"]
    assert second.key == "o", "a whole review may be kept"
