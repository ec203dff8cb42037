"""What a language model proposes to call, as cases; whatever is not plain and tame is refused.

It is run in here as everything is. But it also comes to stand in a test that somebody runs
elsewhere: so it may name the module, plain data and the helpers of tests, and nothing else.
"""

import ast
import builtins
import collections
import dataclasses
import datetime
import decimal
import hashlib
import io
import keyword
import re
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from sutazai.analysis.generation.inside.cases import FIXTURES, HELPERS, Case
from sutazai.analysis.generation.inside.reading import Reading, dotted
from sutazai.analysis.generation.inside.values import MODULE

_MOST_STEPS = 8
_MOST_NODES = 400
_MOST_LETTERS = 1_000
_MOST_NUMBER = 10**30

_PLAIN = (
    "abs all any ascii bin bool bytearray bytes callable chr complex dict divmod enumerate filter "
    "float format frozenset hash hex int isinstance issubclass iter len list map max memoryview "
    "min next object oct ord pow range repr reversed round set slice sorted str sum tuple zip "
    "Ellipsis NotImplemented"
)
_BUILTINS = {
    *_PLAIN.split(),
    *(
        name
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
}
_MODULES = {
    "base64": "b64encode b64decode b32encode b16encode urlsafe_b64encode a85encode b85encode",
    "binascii": "crc32 crc_hqx hexlify unhexlify b2a_base64 a2b_base64",
    "bz2": "compress",
    "collections": "ChainMap Counter OrderedDict defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "gzip": "compress",
    "hashlib": "md5 sha1 sha224 sha256 sha384 sha512 sha3_256 blake2b blake2s",
    "io": "BytesIO StringIO TextIOWrapper",
    "ipaddress": "ip_address ip_network ip_interface IPv4Address IPv6Address",
    "itertools": "chain count repeat",
    "json": "dumps",
    "lzma": "compress",
    "math": "e inf nan pi tau",
    "pathlib": "PurePath PurePosixPath PureWindowsPath",
    "struct": "pack",
    "textwrap": "dedent",
    "types": "MappingProxyType SimpleNamespace",
    "uuid": "UUID",
    "zlib": "adler32 compress crc32",
}
"""What may be used of Python's own modules: data, and what makes data of data."""

_KINDS: tuple[Any, ...] = (
    str, bytes, bytearray, memoryview, int, float, complex, list, tuple, dict, set, frozenset,
    range, datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal,
    io.StringIO, io.BytesIO, collections.Counter, collections.OrderedDict, collections.deque,
    type(hashlib.sha256()),
)  # fmt: skip
_FIXTURES = {
    "tmp_path": {"write_text", "write_bytes", "mkdir"},
    "monkeypatch": {"setenv", "delenv", "setattr"},
}
_PUT_IN_PLACE = ("argv", "stdin")
_FILES = {"open", "os", "shutil", "pathlib", "tempfile", "glob", "subprocess", "tmp_path"}
_LEADS_OUT = re.compile(r"^\s*(?:[/\\~]|[A-Za-z]:[/\\])|(?:^|[/\\])\.\.(?:[/\\]|$)")
_EXPRESSIONS = (
    ast.Constant, ast.Name, ast.Attribute, ast.Call, ast.keyword, ast.List, ast.Tuple, ast.Dict,
    ast.Set, ast.Starred, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Subscript, ast.Slice,
    ast.Lambda, ast.arguments, ast.arg, ast.IfExp, ast.JoinedStr, ast.FormattedValue, ast.ListComp,
    ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip


class Refused(Exception):
    """A proposal that is not run; the message says why."""


class Proposals:
    """Reads proposals for one loaded module.

    `targets` are the qualified names of what can be called.
    """

    def __init__(self, reading: Reading, module: types.ModuleType, targets: set[str]) -> None:
        self._module = module
        self._targets = targets
        self._attributes = _attributes(reading, module)
        named = {node.id for node in ast.walk(reading.tree) if isinstance(node, ast.Name)}
        named |= {
            name.name.partition(".")[0]
            for node in ast.walk(reading.tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in [*node.names, ast.alias(getattr(node, "module", "") or "")]
        }
        self._touches_files = bool(_FILES & named)

    def case(self, given: Mapping[str, Any], number: int) -> Case:
        """The case that a proposal describes. Raises Refused."""
        statements, call = _parsed([str(one) for one in given["setup"]], str(given["call"]))
        imported = _Imports(self._module.__name__)
        steps = [one for one in statements if not imported.takes(one)]
        if len(steps) > _MOST_STEPS:
            raise Refused("it sets up too much")
        parts: list[ast.AST] = [*map(_plain, steps), call]
        if sum(1 for part in parts for _ in ast.walk(part)) > _MOST_NODES:
            raise Refused("it is too long")
        bound = {name for part in parts for name in _bound(part)}
        names = _Names(self._module, imported.names, {name: _free(name) for name in bound})
        parts = [names.visit(part) for part in parts]
        for part in parts:
            self._check(part)
        if self._touches_files or any(_mentions(part, "tmp_path") for part in parts):
            _must_stay_inside(parts)
        texts = [ast.unparse(ast.fix_missing_locations(part)) for part in parts]
        if sum(map(len, texts)) > _MOST_LETTERS or any("\n" in text for text in texts):
            raise Refused("it is too long")
        target = self._target(parts[-1], str(given["function"]))
        return Case(target, steps=tuple(texts[:-1]), whole=texts[-1], proposal=number)

    def _check(self, part: ast.AST) -> None:
        for node in ast.walk(part):
            if isinstance(node, ast.Attribute):
                self._check_attribute(node)
            elif isinstance(node, ast.Constant):
                if isinstance(node.value, int) and abs(node.value) > _MOST_NUMBER:
                    raise Refused("it has an enormous number")
            elif isinstance(node, ast.Call) and dotted(node.func) == "monkeypatch.setattr":
                _check_put_in_place(node)
            elif isinstance(node, ast.Name) and node.id in {"sys", MODULE, *_MODULES}:
                holds = node.id != "sys" and any(one.value is node for one in _attributes_in(part))
                if not holds and not _is_put_in_place(part, node):
                    raise Refused("it hands over a module")
            elif isinstance(node, ast.Assign) and _mentions(node.targets[0], MODULE):
                raise Refused("it changes the module for every test")
            elif not isinstance(node, (*_EXPRESSIONS, ast.Assign, ast.Expr)):
                raise Refused(f"it has a {type(node).__name__}")

    def _check_attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            holder = node.value.id
            if holder == MODULE:
                if not _is_own(self._module, node.attr):
                    raise Refused(f"the module has no {node.attr} of its own")
                return
            if holder in _MODULES:
                if node.attr not in _MODULES[holder].split():
                    raise Refused(f"it uses {holder}.{node.attr}")
                return
            if holder in _FIXTURES:
                if node.attr not in _FIXTURES[holder]:
                    raise Refused(f"it uses {holder}.{node.attr}")
                return
        if node.attr not in self._attributes:
            raise Refused(f"it uses .{node.attr}")

    def _target(self, call: ast.AST, asked: str) -> str:
        """What is called, as far as the text says; else what the proposal was asked for."""
        if isinstance(call, ast.Call):
            name = dotted(call.func)
            if name.startswith(f"{MODULE}."):
                own = name.removeprefix(f"{MODULE}.")
                for one in (own, f"{own}.__init__", f"{own}.__new__"):
                    if one in self._targets:
                        return one
            last = f".{name.rpartition('.')[2]}"
            found = [one for one in self._targets if one.endswith(last)]
            if asked not in found and len(found) == 1:
                return found[0]
        if asked not in self._targets:
            raise Refused("it calls nothing that can be tested")
        return asked


def _parsed(setup: list[str], call: str) -> tuple[list[ast.stmt], ast.expr]:
    try:
        statements = ast.parse("\n".join(setup)).body
        *more, last = ast.parse(call.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Refused("it is not valid Python") from None
    if not isinstance(last, ast.Expr | ast.Assign):
        raise Refused("its call is not an expression")
    value = last.value
    if isinstance(value, ast.Call) and dotted(value.func) == "asyncio.run" and value.args:
        value = value.args[0]  # what is awaited is found out when it runs
    return [*statements, *more], value.value if isinstance(value, ast.Await) else value


def _plain(statement: ast.stmt) -> ast.stmt:
    """The statement, if it is an assignment to one variable or a part of it, or a call."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        while isinstance(target, ast.Subscript | ast.Attribute):
            target = target.value
        if isinstance(target, ast.Name):
            return statement
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return statement
    raise Refused(f"its set-up has a {type(statement).__name__}")


class _Imports:
    """What names stand for that a proposal imports: `MUT__.a`, `zlib`, `zlib.crc32`."""

    def __init__(self, module: str) -> None:
        self._module = module
        self.names: dict[str, str] = {}
        parent, _, last = module.rpartition(".")
        self._parent = parent
        self.names[last] = MODULE
        if parent:
            self.names[module] = MODULE

    def takes(self, statement: ast.stmt) -> bool:
        """Whether it is an import, which is then known."""
        if isinstance(statement, ast.Import):
            for name in statement.names:
                self.names[name.asname or name.name] = self._known(name.name)
            return True
        if isinstance(statement, ast.ImportFrom) and not statement.level:
            home = statement.module or ""
            for name in statement.names:
                whole = f"{home}.{name.name}"
                known = MODULE if whole == self._module else f"{self._known(home)}.{name.name}"
                self.names[name.asname or name.name] = known
            return True
        return False

    def _known(self, name: str) -> str:
        if name == self._module:
            return MODULE
        if name in _MODULES or name == "sys":
            return name
        raise Refused(f"it imports {name}")


class _Names(ast.NodeTransformer):
    """Writes names as tests here are written: over the module, with variables of their own."""

    def __init__(
        self, module: types.ModuleType, imported: dict[str, str], bound: dict[str, str]
    ) -> None:
        self._module = module
        self._imported = imported
        self._bound = bound

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        holder, _, last = dotted(node).rpartition(".")
        if self._imported.get(f"{holder}.{last}") == MODULE:
            return ast.Name(MODULE, ast.Load())
        is_module = holder not in self._bound and self._imported.get(holder) == MODULE
        if is_module and _is_own(self._module, last):
            # Also where something in the module has the module's name.
            return ast.Attribute(ast.Name(MODULE, ast.Load()), last, node.ctx)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg = self._bound[node.arg]
        node.annotation = None
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        name = node.id
        if name in self._bound:
            return ast.Name(self._bound[name], node.ctx)
        if _is_own(self._module, name):
            return ast.Attribute(ast.Name(MODULE, ast.Load()), name, node.ctx)
        if known := self._imported.get(name) or _data(vars(self._module).get(name)):
            return ast.parse(known, mode="eval").body
        if name in _BUILTINS or name in _MODULES or name == "sys":
            return node
        if name in ("written", "stored") or name in _FIXTURES:
            return node
        raise Refused(f"it uses {name}")


def _is_own(module: types.ModuleType, name: str) -> bool:
    """Whether the module itself defines a name: what it has imported is not its own."""
    if name.startswith("__") or name not in vars(module):
        return False
    value = vars(module)[name]
    if isinstance(value, types.ModuleType):
        return False
    return not callable(value) or getattr(value, "__module__", None) == module.__name__


def _data(thing: Any) -> str:
    """How something that the module has imported is written here, if it is one of `_MODULES`."""
    for home, names in _MODULES.items():
        for name in names.split():
            if thing is not None and getattr(sys.modules.get(home), name, None) is thing:
                return f"{home}.{name}"
    return ""


def _attributes(reading: Reading, module: types.ModuleType) -> set[str]:
    """The attributes that a proposal may use, of whatever object."""
    found = {routine.name for routine in reading.routines.values()}
    for name in reading.classes:
        kind: Any = module
        for part in name.split("."):
            kind = getattr(kind, part, None)
        found |= {name.rpartition(".")[2], *(dir(kind) if isinstance(kind, type) else ())}
        if dataclasses.is_dataclass(kind):
            found |= {one.name for one in dataclasses.fields(kind)}
    for node in ast.walk(reading.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    found |= {name for kind in _KINDS for name in dir(kind)} | _FIXTURES["tmp_path"]
    return {name for name in found if not name.startswith("__")}


def _attributes_in(part: ast.AST) -> Iterator[ast.Attribute]:
    return (node for node in ast.walk(part) if isinstance(node, ast.Attribute))


def _bound(part: ast.AST) -> Iterator[str]:
    """Names that a part gives a value to, with those of its lambdas and comprehensions."""
    for node in ast.walk(part):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


def _free(name: str) -> str:
    """The name for a variable: what tests and their helpers call something else makes way."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name):
        raise Refused("it has a variable of a strange name")
    taken = {*FIXTURES, *HELPERS, "pytest", "result", "value", "sys", MODULE}
    is_taken = name in taken or hasattr(builtins, name) or name in sys.stdlib_module_names
    return f"the_{name}" if is_taken or keyword.iskeyword(name) else name


def _mentions(part: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(part))


def _check_put_in_place(node: ast.Call) -> None:
    holder, name, *value = node.args if len(node.args) == 3 else [node, node]
    named = name.value if isinstance(name, ast.Constant) else None
    if not value or dotted(holder) not in ("sys", MODULE) or not isinstance(named, str):
        raise Refused("it replaces something outside of the module")
    if dotted(holder) == "sys" and named not in _PUT_IN_PLACE:
        raise Refused(f"it replaces sys.{named}")


def _is_put_in_place(part: ast.AST, name: ast.Name) -> bool:
    return any(
        isinstance(node, ast.Call)
        and dotted(node.func) == "monkeypatch.setattr"
        and bool(node.args)
        and node.args[0] is name
        for node in ast.walk(part)
    )


def _must_stay_inside(parts: list[ast.AST]) -> None:
    """Where files are touched, no text may be a path that leads anywhere else."""
    for part in parts:
        for node in ast.walk(part):
            value = node.value if isinstance(node, ast.Constant) else None
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if isinstance(text, str) and _LEADS_OUT.search(text):
                raise Refused("it names a place outside of the test's own folder")
