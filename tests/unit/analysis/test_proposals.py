"""What a language model proposes to call: plain calls are understood, everything else refused."""

import sys
import types
from textwrap import dedent

import pytest

from sutazai.analysis.generation.inside.cases import Case
from sutazai.analysis.generation.inside.proposals import Proposals, Refused
from sutazai.analysis.generation.inside.reading import read

SHOP = dedent('''
    """A shop. Names that it imports are not its own."""

    import os
    import shutil
    from datetime import date
    from subprocess import run

    PRICES = {"tea": 3}
    remove = os.remove

    def total(items, day=None):
        return sum(PRICES[item] for item in items)

    def load(path):
        return open(path).read()

    def _parse(text):
        return text.split(",")

    class Cart:
        def __init__(self, owner):
            self.owner = owner
            self.items = []

        def add(self, item):
            self.items.append(item)
''')
PURE = "def shop(text):\n    return text.lstrip('/')\n"
TARGETS = {"total", "load", "_parse", "Cart.__init__", "Cart.add"}


def understood(
    call: str, *setup: str, function: str = "total", text: str = SHOP, name: str = "shop"
) -> Case:
    """The case that comes of it, against a module of this text."""
    module = types.ModuleType(name)
    exec(text, vars(module))  # our own text
    targets = TARGETS if text is SHOP else {"shop"}
    given = {"function": function, "setup": list(setup), "call": call}
    return Proposals(read(text), module, targets).case(given, 1)


@pytest.mark.parametrize(
    ("call", "setup", "target", "whole", "steps"),
    [
        ("total(['tea'])", (), "total", "MUT__.total(['tea'])", ()),
        ("shop.total(PRICES)", ("import shop",), "total", "MUT__.total(MUT__.PRICES)", ()),
        ("t(['tea'])", ("from shop import total as t",), "total", "MUT__.total(['tea'])", ()),
        ("result = await total([])", (), "total", "MUT__.total([])", ()),
        ("asyncio.run(total([]))", (), "total", "MUT__.total([])", ()),
        ("_parse('a,b')", (), "_parse", "MUT__._parse('a,b')", ()),
        ("Cart('me')", (), "Cart.__init__", "MUT__.Cart('me')", ()),
        (
            "cart.add('tea')",
            ("cart = Cart(owner='me')  # mine", "cart.items = ['tea']", "cart.add('tea')"),
            "Cart.add",
            "cart.add('tea')",
            ("cart = MUT__.Cart(owner='me')", "cart.items = ['tea']", "cart.add('tea')"),
        ),
        (
            "total([], day=date(2024, 2, 29))",
            (),
            "total",
            "MUT__.total([], day=datetime.date(2024, 2, 29))",
            (),
        ),
        (
            "total(zlib.compress(list))",
            ("from zlib import compress", "list = b'x'"),
            "total",
            "MUT__.total(zlib.compress(the_list))",
            ("the_list = b'x'",),
        ),
        (
            "load(written(tmp_path / 'a', 'b'))",
            ("monkeypatch.setenv('SHOP', '1')", "monkeypatch.setattr(sys, 'argv', ['shop'])"),
            "load",
            "MUT__.load(written(tmp_path / 'a', 'b'))",
            ("monkeypatch.setenv('SHOP', '1')", "monkeypatch.setattr(sys, 'argv', ['shop'])"),
        ),
        (
            "total([])",
            ("monkeypatch.setattr(shop, 'run', lambda command: None)",),
            "total",
            "MUT__.total([])",
            ("monkeypatch.setattr(MUT__, 'run', lambda command: None)",),
        ),
        (
            "sorted(total(i) for i in [[]])",
            (),
            "total",
            "sorted((MUT__.total(i) for i in [[]]))",
            (),
        ),
    ],
)
def test_calls_are_written_over_the_module(
    call: str, setup: tuple[str, ...], target: str, whole: str, steps: tuple[str, ...]
) -> None:
    assert understood(call, *setup) == Case(target, steps=steps, whole=whole, proposal=1)


@pytest.mark.parametrize(
    ("call", "setup"),
    [
        ("total(", ()),
        ("total([])\nassert 1", ()),
        ("", ()),
        ("(" * 300, ()),
        ("total('\0')", ()),
        ("assert total([]) == 0", ()),
        ("total([])", ("assert total([]) == 0",)),
        ("total([])", ("for i in range(3): total([])",)),
        ("total([])", ("def f(): pass",)),
        ("total([])", ("class Cart: pass",)),
        ("total([])", ("with open('a') as f: pass",)),
        ("total([])", ("import os",)),
        ("total([])", ("from os import path",)),
        ("total([])", ("from os import *",)),
        ("total([])", ("from . import os",)),
        ("os.system('id')", ("from shop import os",)),
        ("remove('a')", ("from shop import remove",)),
        ("other('a')", ("from shop import remove as other",)),
        ("other.remove('a')", ("import shop as other",)),
        ("total([x := 1])", ()),
        ("total([])", tuple(f"a{at} = 1" for at in range(9))),
        ("total([" + "1," * 500 + "])", ()),
        ("total(['" + "a" * 1_001 + "'])", ()),
        ("total(1" + "0" * 31 + ")", ()),
        ("os.system('id')", ()),
        ("shop.os.system('id')", ()),
        ("shop.remove('a')", ()),
        ("run(['id'])", ()),
        ("shutil.rmtree('a')", ()),
        ("total(open('a'))", ()),
        ("total(eval('1'))", ()),
        ("total(exec)", ()),
        ("total(__import__('os'))", ()),
        ("total(getattr(total, 'x'))", ()),
        ("total(total.__globals__)", ()),
        ("total([].__class__)", ()),
        ("total((i for i in []).gi_frame)", ()),
        ("total(datetime.sys)", ()),
        ("total(json.loads('1'))", ()),
        ("total(gzip.open('a'))", ()),
        ("total(zlib)", ()),
        ("total(shop)", ()),
        ("total(sys.modules)", ()),
        ("total(monkeypatch.undo())", ()),
        ("total([])", ("monkeypatch.setattr('os.remove', 1)",)),
        ("total([])", ("monkeypatch.setattr(Cart, 'add', 1)",)),
        ("total([])", ("monkeypatch.setattr(sys, 'path', [])",)),
        ("total([])", ("monkeypatch.setattr(shop, name='run', value=1)",)),
        ("total([])", ("monkeypatch.setattr(shop, 'run')",)),
        ("total([])", ("shop.PRICES = {}",)),
        ("total([])", ("shop.PRICES['tea'] = 4",)),
        ("total([])", ("Cart.add = len",)),
        ("total([])", ("from shop import Cart as C", "C.add = len")),
        ("load(tmp_path.parent)", ()),
        ("load('/etc/passwd')", ()),
        ("load(b'/etc/passwd')", ()),
        ("load(f'~/{1}')", ()),
        ("load('C:\\\\Windows')", ()),
        ("load(tmp_path / '../../a')", ()),
        ("total([])", ("\u0430 = 1",)),
    ],
)
def test_whatever_else_is_refused(call: str, setup: tuple[str, ...]) -> None:
    with pytest.raises(Refused):
        understood(call, *setup)


def test_a_text_like_a_path_is_a_text_where_no_file_is_touched() -> None:
    assert understood("shop('/a')", function="shop", text=PURE).whole == "MUT__.shop('/a')"
    assert understood("shop.shop('/a')", function="shop", text=PURE).whole == "MUT__.shop('/a')"
    with pytest.raises(Refused):
        understood("shop(written(tmp_path / '/a', ''))", function="shop", text=PURE)


def test_a_module_in_a_package_is_known_by_its_whole_name() -> None:
    for call, setup in (
        ("cart.total([])", "from trade import cart"),
        ("trade.cart.total([])", "import trade.cart"),
        ("total([])", "from trade.cart import total"),
    ):
        assert understood(call, setup, name="trade.cart").whole == "MUT__.total([])"


def test_nothing_is_imported_by_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lzma", raising=False)
    understood("total(lzma.compress(b'a'))")
    assert "lzma" not in sys.modules
