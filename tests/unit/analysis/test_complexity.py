"""Complexity, counted by hand."""

import textwrap

import pytest

from sutazai.analysis.complexity import Measured, measured
from sutazai.analysis.parsing import parse
from sutazai.analysis.source import read_source


def functions(code: str) -> dict[str, Measured]:
    source = read_source("a.py", textwrap.dedent(code).encode())
    return {one.name: one for one in measured(parse(source))}


@pytest.mark.parametrize(
    ("body", "cyclomatic", "cognitive"),
    [
        ("return 1", 1, 0),
        ("if a:\n  return 1", 2, 1),
        ("if a:\n  pass\nelif b:\n  pass\nelse:\n  pass", 3, 3),
        ("for x in a:\n  if x:\n    pass", 3, 3),
        ("for x in a:\n  for y in x:\n    if y:\n      pass", 4, 6),
        ("while a:\n  pass\nelse:\n  pass", 2, 2),
        ("try:\n  pass\nexcept ValueError:\n  if a:\n    pass\nfinally:\n  pass", 3, 3),
        ("return a and b and c", 3, 1),
        ("return a and b or c", 3, 2),
        ("return 1 if a else 2", 2, 1),
        ("return [x for x in a if x]", 3, 0),
        ("assert a", 2, 0),
        ("match a:\n  case 1:\n    pass\n  case 2:\n    pass\n  case _:\n    pass", 3, 1),
        ("return f(a - 1)", 1, 1),
        ("with a:\n  if b:\n    pass", 2, 1),
        ("if a:\n  x = lambda: b and c", 3, 2),
        ("def g():\n  if a:\n    pass\nreturn g", 1, 0),
    ],
)
def test_each_construct_counts_what_it_should(body: str, cyclomatic: int, cognitive: int) -> None:
    found = functions("def f(a, b, c):\n" + textwrap.indent(body, "    "))["f"]
    assert (found.cyclomatic, found.cognitive) == (cyclomatic, cognitive)


def test_functions_are_named_and_sized() -> None:
    found = functions(
        """
        class Cart:
            async def add(self, item, /, *more, count=1, **rest):
                def inner():
                    if item:
                        return 1
                if item:
                    for one in more:
                        pass
        """
    )
    assert list(found) == ["Cart.add", "Cart.add.inner"]
    add = found["Cart.add"]
    assert (add.line, add.end_line, add.lines, add.parameters, add.nesting) == (3, 9, 7, 5, 2)
    assert (add.cognitive, found["Cart.add.inner"].cognitive) == (3, 1)
