"""What contradicts the code is told, with its line; what may be so is not."""

import pytest

from sutazai.analysis.documentation import readme
from sutazai.analysis.documentation.model import Stale
from sutazai.analysis.documentation.stale import find_stale
from sutazai.analysis.documentation.symbols import Documented, read_symbols
from sutazai.analysis.source import read_source

GOOGLE = '''\
class Broken(ValueError):
    pass


def half(number, scale: int = 2, *, name="x"):
    """Half of it.

    Args:
        number: What to halve.
        gone (int): Nothing.
        scale (str): By what. Defaults to 3.

    Returns:
        The half.

    Raises:
        KeyError: Never.
    """
    if not number:
        raise Broken(number)
'''

NUMPY = '''\
class Broken(ValueError):
    pass


def half(number, scale: int = 2, *, name="x"):
    """Half of it.

    Parameters
    ----------
    number
        What to halve.
    gone : int
        Nothing.
    scale : str, default 3
        By what.

    Returns
    -------
    int
        The half.

    Raises
    ------
    KeyError
        Never.
    """
    if not number:
        raise Broken(number)
'''

SPHINX = '''\
class Broken(ValueError):
    pass


def half(number, scale: int = 2, *, name="x"):
    """Half of it.

    :param number: What to halve.
    :param int gone: Nothing.
    :param str scale: By what. Defaults to 3.
    :returns: The half.
    :raises KeyError: Never.
    """
    if not number:
        raise Broken(number)
'''


def documented(code: str, file: str = "/shop/math.py") -> Documented:
    module = file.strip("/").removesuffix(".py").replace("/", ".")
    return read_symbols(read_source(file, code.encode()), module, "")


def stale(code: str) -> list[Stale]:
    found = find_stale(documented(code))
    lines = code.split("\n")
    for one in found:
        assert one.quote == lines[one.line - 1]
    return found


@pytest.mark.parametrize("code", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_every_style_is_held_against_the_code(code: str) -> None:
    kinds = {one.kind: one for one in stale(code)}
    assert set(kinds) == {
        "unknown-parameter",
        "missing-parameter",
        "wrong-default",
        "wrong-type",
        "returns-nothing",
        "never-raised",
        "missing-raise",
    }
    assert "gone" in kinds["unknown-parameter"].quote
    assert "`name`" in kinds["missing-parameter"].message
    assert "it is `2`" in kinds["wrong-default"].message
    assert "Broken" in kinds["missing-raise"].message
    assert "KeyError" in kinds["never-raised"].quote


@pytest.mark.parametrize(
    "body",
    [
        "    return table[key]",
        "    return lookup(key)",
        "    with open_table() as table:\n        return 1",
        "    for row in key:\n        pass",
        "    return key.value",
    ],
)
def test_an_exception_that_may_come_from_elsewhere_is_not_called_never_raised(body: str) -> None:
    said = '    """Get.\n\n    Raises:\n        KeyError: If absent.\n    """'
    code = f"def get(key):\n{said}\n{body}\n"
    assert not [one for one in stale(code) if one.kind == "never-raised"]


def test_an_exception_of_a_called_function_is_raised() -> None:
    code = '''\
def check(number):
    if number < 0:
        raise ValueError(number)


def root(number):
    """Root.

    Raises:
        ValueError: If negative.
    """
    check(number)
    return number
'''
    assert not stale(code)


def test_a_caught_exception_does_not_leave_the_function() -> None:
    code = '''\
def check(number):
    """Check.

    Raises:
        OSError: If it cannot.
    """
    try:
        raise FileNotFoundError
    except OSError:
        return None
'''
    assert [one.kind for one in stale(code)] == ["never-raised"]


@pytest.mark.parametrize(
    ("default", "said", "wrong"),
    [
        ("3", "Defaults to 3.", False),
        ("3", "Defaults to 4.", True),
        ("3.0", "Defaults to 3.", False),
        ("'x'", "Defaults to `x`.", False),
        ("'x'", 'Defaults to "y".', True),
        ("True", "Defaults to true.", False),
        ("None", "Defaults to 10.", False),
        ("None", "Defaults to the current time.", False),
        ("LIMIT", "Defaults to 10.", False),
        ("'\\n'", 'Defaults to "\\n".', False),
        ("'none'", "Defaults to None.", False),
        ("3", "By default 4 of them.", False),
    ],
)
def test_only_another_literal_is_another_default(default: str, said: str, *, wrong: bool) -> None:
    docstring = f'    """F.\n\n    Args:\n        a: It. {said}\n    """'
    code = f"def f(a={default}):\n{docstring}\n    return a\n"
    assert bool(stale(code)) is wrong


def test_keywords_that_are_taken_by_name_are_not_unknown() -> None:
    code = '''\
def f(a, **options):
    """F.

    Args:
        a: It.
        colour: Of the options.
        **options: The others.
    """
    return a, options
'''
    assert not stale(code)


def test_what_a_function_inside_raises_is_not_called_never_raised() -> None:
    code = '''\
class Misused(Exception):
    pass


def decorator(twice):
    """Decorate.

    Raises:
        Misused: When used twice.
    """
    def inner():
        if twice:
            raise Misused
    return inner
'''
    assert not stale(code)


@pytest.mark.parametrize("name", ["* first", "first (:class:`~a.B`, optional)", "*first"])
def test_parameters_are_recognised_in_odd_forms(name: str) -> None:
    docstring = f'    """F.\n\n    Args:\n        {name}: It.\n    """'
    assert not stale(f"def f(first):\n{docstring}\n    return first\n")


def test_attributes_that_a_class_never_sets() -> None:
    code = '''\
class Point:
    """A point.

    Attributes:
        x: Across.
        z: Gone.
    """

    def __init__(self, x):
        self.x = x
'''
    assert ["z" in one.message for one in stale(code)] == [True]


def test_names_in_the_readme_that_do_not_exist() -> None:
    text = """\
# Shop

Call `shop.math.half`, never `shop.math.third`; see `shop.math.py` and `os.path.nothing`.

```python
from shop.math import half, quarter
shop.math.half(1)
```
"""
    source = read_source("/README.md", text.encode())
    found = readme.find_stale(source, [documented(GOOGLE)])
    assert [(one.line, one.symbol) for one in found] == [
        (3, "shop.math.third"),
        (6, "shop.math.quarter"),
    ]
    assert all(one.quote == text.split("\n")[one.line - 1] for one in found)


def test_imported_names_are_names_of_the_module() -> None:
    module = documented("from os import path\n")
    source = read_source("/README.md", b"`shop.math.path`\n")
    assert not readme.find_stale(source, [module])
