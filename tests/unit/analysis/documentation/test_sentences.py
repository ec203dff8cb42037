"""First sentences say what is so, in words that make sense, or leave it to the signature."""

import pytest

from sutazai.analysis.documentation.sentences import sentence
from sutazai.analysis.documentation.symbols import read_symbols
from sutazai.analysis.source import read_source


def said_of(code: str) -> str:
    found = read_symbols(read_source("/module.py", code.encode()), "module", "")
    member = found.symbol.members[0]
    return sentence(member.members[0] if member.members else member)


TWO_WAYS = "    if r:\n        return {0}\n    return {1}\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def rgb_to_yiq(r, g, b):\n    y = r + g + b\n    return y\n", "Convert rgb to yiq."),
        ("def dec2bin(r):\n" + TWO_WAYS.format("f(r)", "r"), "Convert dec to bin."),
        ("def isleap(r):\n" + TWO_WAYS.format("r + 1", "r"), "Return `r + 1` or `r` for `r`."),
        ("def pdf(r):\n    v = r * 2\n    return f(v)\n", "Return a value for `r`."),
        ("def pdf(r) -> float:\n    v = r * 2\n    return v\n", "Return `float` for `r`."),
        ("def monthrange():\n    v = f()\n    return v\n", "Return a value."),
        ("def total_price(r):\n    v = r\n    return v\n", "Return the total price."),
        ("def users_by_name(r):\n    v = r\n    return v\n", "Return the users by name."),
        ("def parse_line(r):\n    v = r\n    return v\n", "Parse line."),
        ("def itermonths(r):\n    for v in r:\n        yield v\n", "Yield a value for `r`."),
        ("def lines(r):\n    for v in r:\n        yield v\n", "Yield the lines."),
        ("class A:\n    def on_error(self):\n        self.x = 1\n", "Set `self.x`."),
        (
            "class A:\n    def area(self):\n        raise NotImplementedError\n",
            "Left to implementations.",
        ),
        (
            "class A:\n    @property\n    def is_open(self):\n        return self.x\n",
            "Whether it is open.",
        ),
    ],
)
def test_a_functions_first_sentence_is_true_and_readable(code: str, said: str) -> None:
    assert said_of(code) == said
