"""What an unannotated parameter may be, from how it is used."""

import ast
import re
from dataclasses import dataclass, field
from typing import Any

from sutazai.analysis.generation.inside.reading import Function, Reading, Routine, dotted

_STRING_METHODS = {
    "split", "strip", "lower", "upper", "startswith", "endswith", "encode", "splitlines", "rsplit",
    "lstrip", "rstrip", "partition", "rpartition", "replace", "isdigit", "isalpha", "title",
    "join", "format", "expandtabs", "translate", "casefold", "isspace", "find", "rfind", "zfill",
    "isidentifier", "isalnum", "ljust", "rjust", "center", "capitalize", "swapcase", "isupper",
}  # fmt: skip
_LIST_METHODS = {"append", "extend", "insert", "sort", "reverse"}
_DICT_METHODS = {"items", "keys", "values", "get", "setdefault", "popitem"}
_SET_METHODS = {"add", "discard", "union", "intersection", "difference", "issubset"}
_STREAM_METHODS = {"read", "readline", "readlines", "write", "writelines", "seek", "tell"}
_NAMES: tuple[tuple[str, str], ...] = (
    ("text|string|str|name|msg|message|line|word|prefix|suffix|sep|title|label|pattern|pat", "str"),
    ("fmt|format|url|uri|email|key|s|encoding|char|ch|token|query|html|source|value|data", "str"),
    ("version|spec|raw|content|code|lang|language|charset", "str"),
    ("n|i|j|k|count|num|number|size|width|length|index|idx|limit|lo|hi|start|stop|end", "int"),
    ("step|max|min|depth|level|maxsize|offset|year|month|day|age|port|base|digits", "int"),
    ("r|g|b|x|y|z|h|v", "float"),
    ("items|values|seq|sequence|list|lst|rows|args|words|lines|names|iterable|elements", "list"),
    ("numbers|data|a|arr|array|nums|population|parts|paths|argv", "list"),
    ("mapping|dict|d|options|config|kwargs|params|headers|attrs|env|settings|mapping", "dict"),
    ("func|fn|function|callback|key|predicate|method|getsizeof|hook|factory", "callable"),
    ("is_.*|has_.*|use_.*|flag|verbose|strict|reverse|force|posix|recursive|enabled", "bool"),
    ("ratio|rate|factor|price|amount|total|mu|sigma|alpha|beta|weight|fraction|percent", "float"),
    ("path|filename|file_name|file|folder|directory|filepath", "path"),
    (
        "stream|fp|fd|fh|f|in|out|input|output|infile|outfile|infp|outfp|instream|outstream",
        "stream",
    ),
    ("file_?obj(ect)?|file_?handle|handle|buffer|reader|writer|fin|fout|source|sink", "stream"),
    ("read_?line|read_?lines", "reader"),
    (".*bytes|blob|payload|buf", "bytes"),
)


@dataclass
class Guess:
    """Kinds with their weight, and expressions that the parameter is compared with."""

    kinds: dict[str, int] = field(default_factory=dict)
    compared: list[str] = field(default_factory=list)

    def add(self, kind: str, weight: int) -> None:
        """Believe in `kind` a bit more."""
        self.kinds[kind] = self.kinds.get(kind, 0) + weight

    def learn(self, other: "Guess") -> None:
        """Believe what is known of the parameter that this one becomes."""
        for kind, weight in other.kinds.items():
            self.add(kind, weight)
        self.compared += [one for one in other.compared if one not in self.compared]

    @property
    def best(self) -> list[str]:
        """The kinds, likeliest first."""
        return sorted(self.kinds, key=lambda kind: -self.kinds[kind])


class Guesser:
    """Guesses for the routines of one module; what they hand on is looked at where it arrives."""

    def __init__(self, reading: Reading, constants: dict[str, Any]) -> None:
        self._reading = reading
        self._constants = constants
        self._known: dict[str, dict[str, Guess]] = {}

    def of(self, routine: Routine) -> dict[str, Guess]:
        """A guess for each parameter, by its uses.

        Here, in the methods that find it in `self`, and in the functions that it is handed to.
        """
        if routine.qualname in self._known:
            return self._known[routine.qualname]
        names = parameters_of(routine.node)
        found = {name: Guess() for name in names}
        self._known[routine.qualname] = found
        alias = _aliases(routine.node, set(names))
        for node in self._bodies(routine):
            for below in ast.walk(node):
                _look(below, alias, found, self._constants)
        self._handed_on(routine, alias, found)
        _told(routine.node, found)
        return found

    def _bodies(self, routine: Routine) -> list[Function]:
        """The routine's own body, and for a constructor those of the other methods."""
        bodies = [routine.node]
        if routine.name in ("__init__", "__new__") and routine.owner:
            bodies += [
                other.node
                for other in self._reading.routines.values()
                if other.owner == routine.owner and other is not routine
            ]
        return bodies

    def _handed_on(self, routine: Routine, alias: dict[str, str], found: dict[str, Guess]) -> None:
        for call in ast.walk(routine.node):
            if not isinstance(call, ast.Call):
                continue
            callee = self._callee(dotted(call.func), routine)
            if callee is None or callee is routine:
                continue
            names = [name for name in parameters_of(callee.node) if name not in ("self", "cls")]
            given = [*zip(names, call.args, strict=False)]
            given += [(one.arg, one.value) for one in call.keywords if one.arg]
            for name, value in given:
                if isinstance(value, ast.Name) and value.id in alias:
                    arrived = self.of(callee).get(name)
                    if arrived is not None:
                        found[alias[value.id]].learn(arrived)

    def _callee(self, name: str, routine: Routine) -> Routine | None:
        routines = self._reading.routines
        if name.startswith(("self.", "cls.")) and routine.owner:
            return routines.get(f"{routine.owner}.{name.partition('.')[2]}")
        return routines.get(name) or routines.get(f"{name}.__init__")


def parameters_of(node: Function) -> list[str]:
    """The names of a function's parameters, without `*args` and `**kwargs`."""
    arguments = node.args
    return [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _told(node: Function, found: dict[str, Guess]) -> None:
    """What docstring and name say."""
    documented = ast.get_docstring(node) or ""
    for name, guess in found.items():
        if told := re.search(
            rf":type {name}:\s*(\w+)|:param (\w+) {name}:|^\s*{name}\s*\((\w+)",
            documented,
            re.MULTILINE,
        ):
            kind = next(part for part in told.groups() if part).lower()
            guess.add({"string": "str", "integer": "int", "number": "float"}.get(kind, kind), 8)
        for pattern, kind in _NAMES:
            if re.fullmatch(pattern, name.lower()):
                guess.add(kind, 2)


def _aliases(node: Function, names: set[str]) -> dict[str, str]:
    """Names, and attributes of `self`, that stand for a parameter."""
    alias = {name: name for name in names}
    for below in ast.walk(node):
        if isinstance(below, ast.Assign) and len(below.targets) == 1:
            target, value = below.targets[0], below.value
            while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                value = value.func.value  # `x.strip().lower()` is still x in another form
            if isinstance(value, ast.BoolOp):
                value = value.values[0]  # `x or default`
            written = dotted(target)
            if written and isinstance(value, ast.Name) and value.id in alias:
                alias.setdefault(written, alias[value.id])
    return alias


def _look(
    node: ast.AST, alias: dict[str, str], found: dict[str, Guess], constants: dict[str, Any]
) -> None:
    def guess_of(expression: ast.AST) -> Guess | None:
        written = dotted(expression)
        return found[alias[written]] if written in alias else None

    if isinstance(node, ast.Attribute) and (guess := guess_of(node.value)):
        _by_attribute(guess, node.attr)
    elif isinstance(node, ast.Compare):
        _by_compare(node, guess_of, constants)
    elif isinstance(node, ast.BinOp):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if guess := guess_of(one):
                _by_operator(guess, node.op, other)
    elif isinstance(node, ast.Subscript) and (guess := guess_of(node.value)):
        text = isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
        for kind, weight in (("dict", 4),) if text else (("list", 2), ("str", 1)):
            guess.add(kind, weight)
    elif isinstance(node, ast.For | ast.comprehension) and (guess := guess_of(node.iter)):
        guess.add("list", 2)
        guess.add("str", 1)
    elif isinstance(node, ast.Call):
        _by_call(node, guess_of)
    elif isinstance(node, ast.UnaryOp) and (guess := guess_of(node.operand)):
        guess.add("bool" if isinstance(node.op, ast.Not) else "int", 1)


def _by_attribute(guess: Guess, name: str) -> None:
    for kind, methods in (
        ("str", _STRING_METHODS),
        ("list", _LIST_METHODS),
        ("dict", _DICT_METHODS),
        ("set", _SET_METHODS),
        ("stream", _STREAM_METHODS),
    ):
        if name in methods:
            guess.add(kind, 4)


def _by_compare(node: ast.Compare, guess_of: Any, constants: dict[str, Any]) -> None:
    sides = [node.left, *node.comparators]
    for at, operator in enumerate(node.ops):
        for one, other in ((sides[at], sides[at + 1]), (sides[at + 1], sides[at])):
            guess = guess_of(one)
            if isinstance(one, ast.Call) and one.args and dotted(one.func) == "len":
                if measured := guess_of(one.args[0]):
                    measured.add("list", 1)
                    measured.add("str", 1)
                continue
            if guess is None and isinstance(one, ast.Subscript | ast.Call):
                inner = one.value if isinstance(one, ast.Subscript) else one.func
                inner = inner.value if isinstance(inner, ast.Attribute) else inner
                guess = guess_of(inner)
                if guess is None or (isinstance(one, ast.Call) and one.args):
                    continue
            if guess is not None:
                _compared(guess, other, constants, is_in=isinstance(operator, ast.In | ast.NotIn))


def _compared(guess: Guess, other: ast.AST, constants: dict[str, Any], *, is_in: bool) -> None:
    try:
        value = ast.literal_eval(other)
    except (ValueError, TypeError, SyntaxError):
        name = dotted(other)
        if name not in constants:
            guess.add("int", 0 if is_in else 1)
            return
        value = constants[name]
    if is_in and isinstance(value, str):
        guess.compared += [repr(character) for character in value[:4]]
        guess.add("str", 3)
        return
    values = list(value)[:12] if is_in and isinstance(value, tuple | list | set | dict) else [value]
    if is_in and not isinstance(value, tuple | list | set | dict | frozenset):
        return
    for one in values:
        if isinstance(one, bool) or one is None:
            guess.compared.append(repr(one))
        elif isinstance(one, int):
            guess.compared += [repr(one), repr(one - 1), repr(one + 1)]
            guess.add("int", 3)
        elif isinstance(one, float):
            guess.compared += [repr(one), repr(one - 0.5), repr(one + 0.5)]
            guess.add("float", 3)
        elif isinstance(one, str | bytes):
            guess.compared.append(repr(one))
            guess.add(type(one).__name__, 3)


def _by_operator(guess: Guess, operator: ast.operator, other: ast.AST) -> None:
    value = other.value if isinstance(other, ast.Constant) else None
    if isinstance(value, str):
        guess.add("str", 3)
    elif isinstance(value, bytes):
        guess.add("bytes", 3)
    elif isinstance(value, int | float) or not isinstance(operator, ast.Add | ast.Mod | ast.Mult):
        guess.add("int", 3)
        guess.add("float", 2)
    else:
        guess.add("int", 1)


def _by_call(node: ast.Call, guess_of: Any) -> None:
    name = dotted(node.func)
    for at, argument in enumerate(node.args):
        guess = guess_of(argument)
        if guess is None:
            continue
        if name in ("isinstance", "issubclass") and len(node.args) == 2 and at == 0:
            wanted = node.args[1]
            for one in wanted.elts if isinstance(wanted, ast.Tuple) else [wanted]:
                guess.add(dotted(one).rpartition(".")[2].lower(), 4)
        elif name in ("int", "float") or name.startswith("re."):
            guess.add("str", 2)
        elif name in ("len", "sorted", "enumerate", "list", "tuple", "set", "iter", "max", "sum"):
            guess.add("list", 2)
        elif name in ("range", "abs", "round", "divmod", "chr", "hex", "pow"):
            guess.add("int", 4)
        elif name.startswith("math."):
            guess.add("float", 4)
        elif name in ("open", "os.path.join", "os.path.exists", "Path", "pathlib.Path"):
            guess.add("path", 4)
        elif name == "ord":
            guess.add("str", 3)
        elif node.func is not argument and name.endswith((".match", ".search", ".sub", ".findall")):
            guess.add("str", 4)
        elif name.endswith(".join"):
            guess.add("list", 3)
    if guess := guess_of(node.func):
        guess.add("callable", 6)
