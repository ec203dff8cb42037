"""Failures of known causes: each is made to happen, and the cause is to be the first suspect."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sutazai.analysis.diagnosis.diagnose import Diagnosis, DiagnosisRequest, diagnose
from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import Inline, Place
from sutazai.analysis.reviewer import Reviewable


def diagnosed(tmp_path: Path, code: str, diff: str | None = None) -> Diagnosis:
    """The diagnosis of a program that fails; every quoted line is checked."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    what = Reviewable(place=Place(root=str(tmp_path)))
    made = diagnose(DiagnosisRequest(what=what, text=done.stderr, diff=diff))
    lines = path.read_text().split("\n")
    for one in made.suspects:
        assert one.code == lines[one.line - 1]
    assert made.failing is not None
    assert made.failing.code == lines[made.failing.line - 1]
    return made


CASES = {
    "returns-none": """
        def find(rows, key):
            for row in rows:
                if row["key"] == key:
                    return row
        def main():
            row = find([], 1)
            return row["value"]
        main()
        """,
    "method-returns-none": """
        def top(values):
            ordered = values.sort()
            return ordered[0]
        top([2, 1])
        """,
    "may-be-none": """
        import re
        def number(text):
            found = re.match("[0-9]+", text)
            return found.group()
        number("x")
        """,
    "none": """
        class Client:
            def __init__(self):
                self.session = None
            def get(self):
                return self.session.get("x")
        Client().get()
        """,
    "missing-key": """
        def settings():
            return {"colour": "red", "size": 3}
        def main():
            values = settings()
            return values["color"]
        main()
        """,
    "wrong-key": """
        import json
        def pick(table, name):
            return table[name]
        def main(table):
            return pick(table, "b")
        main(json.loads('{"a": 1}'))
        """,
    "off-by-one": """
        def total(values):
            result = 0
            for index in range(len(values) + 1):
                result += values[index]
            return result
        total([1, 2])
        """,
    "too-short": """
        def domain(mail):
            parts = mail.split("@")
            return parts[1]
        domain("nobody")
        """,
    "zero": """
        def average(values):
            count = 0
            for value in values:
                count += 1
            return sum(values) / count
        average([])
        """,
    "not-always-assigned": """
        def label(value):
            if value > 0:
                text = "positive"
            return text
        label(0)
        """,
    "unknown-name": """
        def total(prices):
            return sum(price)
        total([1])
        """,
    "unknown-attribute": """
        class Basket:
            def __init__(self):
                self.articles = []
        def count(basket):
            return len(basket.article)
        count(Basket())
        """,
    "wrong-arguments": """
        def send(to, text):
            return to, text
        send("a")
        """,
    "shadowing": """
        def lengths(rows):
            len = 0
            return [len(row) for row in rows]
        lengths([[1]])
        """,
    "value": """
        import os
        def port():
            return os.environ.get("NO_SUCH_PORT", "80")
        def following():
            return port() + 1
        following()
        """,
    "condition": """
        def withdraw(balance, amount):
            if amount > balance:
                raise ValueError("too much")
            return balance - amount
        withdraw(5, 10)
        """,
}


@pytest.mark.parametrize("kind", CASES)
def test_the_cause_is_the_first_suspect(tmp_path: Path, kind: str) -> None:
    made = diagnosed(tmp_path, CASES[kind])
    kinds = [one.kind for one in made.suspects]
    assert kind in kinds[:2], made.suspects
    assert made.confidence in ("high", "medium")
    assert made.cause in made.summary


def test_the_failing_expression_is_named(tmp_path: Path) -> None:
    made = diagnosed(tmp_path, CASES["returns-none"])
    assert made.failing is not None
    assert (made.failing.expression, made.failing.culprit) == ("row['value']", "row")
    assert made.suspects[0].line == 2


@pytest.mark.parametrize(
    ("line", "expression", "culprit", "kind"),
    [
        ("result += price(item)", "result + price(item)", "price(item)", "may-be-none"),
        ("result /= count(item)", "result / count(item)", "count(item)", "zero"),
    ],
)
def test_what_an_augmented_assignment_computes_is_looked_at(
    tmp_path: Path, line: str, expression: str, culprit: str, kind: str
) -> None:
    made = diagnosed(
        tmp_path,
        f"""
        def price(item):
            return item.get("price")
        def count(item):
            return 0
        def total(items):
            result = 0
            for item in items:
                {line}
            return result
        total([{{"price": 1}}, {{}}])
        """,
    )
    assert made.failing is not None
    assert (made.failing.expression, made.failing.culprit) == (expression, culprit)
    assert kind in [one.kind for one in made.suspects], made.suspects


def test_a_mutable_default_is_suspected(tmp_path: Path) -> None:
    made = diagnosed(
        tmp_path,
        """
        def add(item, basket=[]):
            basket.append(item)
            assert len(basket) == 1
            return basket
        add(1)
        add(2)
        """,
    )
    assert "mutable-default" in [one.kind for one in made.suspects]


def test_what_a_test_calls_is_suspected() -> None:
    code = "def double(n):\n    return n * 3\n"
    text = textwrap.dedent(
        """\
        ____ test_double ____

            def test_double():
        >       assert double(2) == 4
        E       assert 6 == 4
        E        +  where 6 = double(2)

        test_code.py:5: AssertionError
        """
    )
    test = "from code_of import double\n\n\ndef test_double():\n    assert double(2) == 4\n"
    inline = (
        Inline(name="code_of.py", content=code.encode()),
        Inline(name="test_code.py", content=test.encode()),
    )
    made = diagnose(DiagnosisRequest(what=Reviewable(inline=inline), text=text))
    assert (made.suspects[0].file, made.suspects[0].line) == ("code_of.py", 2)
    assert [(one.name, one.value) for one in made.values] == [("double(2)", "6")]


def test_the_cause_of_a_chain_is_what_is_explained(tmp_path: Path) -> None:
    made = diagnosed(
        tmp_path,
        """
        def read(values):
            return values["b"]
        def main():
            values = {"a": 1}
            try:
                read(values)
            except KeyError as error:
                raise RuntimeError("no settings") from error
        main()
        """,
    )
    assert made.summary.startswith("KeyError: 'b', at /program.py:3 in read")
    assert [one.relation for one in made.failures] == ["", "cause"]
    assert made.suspects[0].kind == "missing-key"


def test_what_a_recent_diff_changes_is_suspected_more(tmp_path: Path) -> None:
    code = """
        def low(values):
            return values[0]
        def main(text):
            rows = text.split(",")
            rows = [row for row in rows if row]
            return low(rows)
        main("")
        """
    diff = (
        "--- a/program.py\n+++ b/program.py\n@@ -5,2 +5,3 @@\n"
        '     rows = text.split(",")\n+    rows = [row for row in rows if row]\n'
        "     return low(rows)\n"
    )
    plain, told = diagnosed(tmp_path, code), diagnosed(tmp_path, code, diff=diff)
    assert told.suspects[0].line == 6
    assert "The diff changes this line." in told.suspects[0].reason
    assert told.suspects[0].score == next(one for one in plain.suspects if one.line == 6).score + 5


def test_a_traceback_of_an_older_source_is_found_by_its_code(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("# new\n# lines\ndef f(row):\n    return row['a']\n")
    text = (
        'Traceback (most recent call last):\n  File "/srv/app/program.py", line 2, in f\n'
        "    return row['a']\nKeyError: 'a'\n"
    )
    what = Reviewable(place=Place(root=str(tmp_path)))
    made = diagnose(DiagnosisRequest(what=what, text=text))
    assert made.failing is not None
    assert made.failing.line == 4
    assert made.failures[0].frames[0].moved


def test_a_traceback_of_other_code_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("x = 1\n")
    text = (
        'Traceback (most recent call last):\n  File "/srv/other.py", line 7, in f\n'
        "    return row['a']\nKeyError: 'a'\n"
    )
    what = Reviewable(place=Place(root=str(tmp_path)))
    made = diagnose(DiagnosisRequest(what=what, text=text))
    assert (made.failing, made.suspects, made.confidence) == (None, [], "low")
    assert "None of the calls" in made.cause


def test_secrets_are_masked(tmp_path: Path) -> None:
    secret = "ghp_" + "a1B2" * 9
    path = tmp_path / "program.py"
    path.write_text(f'TOKENS = {{"x": "{secret}"}}\n\n\ndef f():\n    return TOKENS["y"]\n')
    text = (
        'Traceback (most recent call last):\n  File "program.py", line 5, in f\n'
        f"    return TOKENS[\"y\"]\nKeyError: '{secret}'\n"
    )
    what = Reviewable(place=Place(root=str(tmp_path)))
    assert secret not in str(diagnose(DiagnosisRequest(what=what, text=text)))


def test_hostile_sources_end(tmp_path: Path) -> None:
    lines = ["def f0(x): return x['a']"]
    lines += [f"def f{n}(x): return f{n - 1}(f{n - 1}(x))" for n in range(1, 300)]
    lines += ["a = b", "b = a", "def g(): return g()", "g"]
    (tmp_path / "program.py").write_text("\n".join(lines) + "\n")
    (tmp_path / "deep.py").write_text("x = " + "(" * 5_000)
    frames = "".join(
        f'  File "program.py", line {n}, in f{n - 1}\n    {lines[n - 1]}\n'
        for n in range(250, 0, -1)
    )
    text = f"Traceback (most recent call last):\n{frames}TypeError: 'NoneType' object is not x\n"
    what = Reviewable(place=Place(root=str(tmp_path)))
    made = diagnose(DiagnosisRequest(what=what, text=text))
    assert made.failing is not None
    assert [one.file for one in made.unparsed] == ["/deep.py"]


def test_nothing_to_look_at_is_refused(tmp_path: Path) -> None:
    what = Reviewable(place=Place(root=str(tmp_path)))
    with pytest.raises(InputError, match="no traceback"):
        diagnose(DiagnosisRequest(what=what, text="all is well"))
    with pytest.raises(InputError, match="Give a `traceback`"):
        diagnose(DiagnosisRequest(what=what))
