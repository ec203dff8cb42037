"""What the syntax tree of the module says: its routines, their parameters, the words it knows."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef

_MUTATING = {
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "add", "discard",
    "update", "setdefault", "popitem", "appendleft", "popleft", "write", "difference_update",
}  # fmt: skip


@dataclass
class Words:
    """Literals that stand somewhere: raw material for inputs."""

    strings: list[str] = field(default_factory=list)
    numbers: list[int | float] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)


@dataclass
class Routine:
    """A function or method as it is written."""

    qualname: str
    owner: str | None
    node: Function
    words: Words
    calls: set[str]
    raises: set[str]
    is_generator: bool
    is_endless: bool

    @property
    def name(self) -> str:
        """The last part of the qualified name."""
        return self.node.name

    @property
    def lines(self) -> tuple[int, int]:
        """First (of the `def`) and last line."""
        return self.node.lineno, self.node.end_lineno or self.node.lineno

    @property
    def is_public(self) -> bool:
        """Whether neither it nor its class begins with an underscore; dunder methods are public."""
        return all(
            not part.startswith("_") or (part.startswith("__") and part.endswith("__"))
            for part in self.qualname.split(".")
        )


@dataclass
class Reading:
    """Everything that was read."""

    text: str
    tree: ast.Module
    routines: dict[str, Routine]
    classes: dict[str, ast.ClassDef]
    state: dict[str, str]
    words: Words
    statements: int
    accelerators: list[str]
    optional: dict[str, str]
    _reached: dict[str, set[str]] = field(default_factory=dict)
    _changed: dict[str, list[str]] = field(default_factory=dict)

    def reaches(self, qualname: str) -> set[str]:
        """The routines of this module that one may call, itself included, by their names."""
        if qualname not in self._reached:
            self._reached[qualname] = self._reach(qualname)
        return self._reached[qualname]

    def _reach(self, qualname: str) -> set[str]:
        by_name: dict[str, list[str]] = {}
        for known in self.routines:
            by_name.setdefault(known.rpartition(".")[2], []).append(known)
        found: set[str] = set()
        waiting = [qualname]
        while waiting:
            current = waiting.pop()
            if current in found or current not in self.routines:
                continue
            found.add(current)
            for name in self.routines[current].calls:
                waiting += by_name.get(name, [])
                if name in self.classes:
                    waiting.append(f"{name}.__init__")
        return found

    def words_in(self, name: str) -> Words:
        """The literals that a variable of the module is first made of."""
        value = _assigned(self.tree).get(name)
        return Words() if value is None else words_of(value)

    def touched_state(self, qualname: str) -> list[str]:
        """Module variables that a routine, or one that it calls, changes."""
        touched: dict[str, None] = {}
        for reached in sorted(self.reaches(qualname)):
            if reached not in self._changed:
                self._changed[reached] = _changes(self.routines[reached].node, self.state)
            touched |= dict.fromkeys(self._changed[reached])
        return list(touched)


def read(text: str) -> Reading:
    """Read the module's text; SyntaxError where it is none."""
    tree = ast.parse(text)
    routines: dict[str, Routine] = {}
    classes: dict[str, ast.ClassDef] = {}
    _collect(tree.body, None, routines, classes)
    # As coverage.py counts them: several in a line are one.
    statements = len(
        {
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.stmt) and not _is_docstring(node)
        }
    )
    return Reading(
        text=text,
        tree=tree,
        routines=routines,
        classes=classes,
        state=_module_variables(tree, routines),
        words=words_of(tree),
        statements=statements,
        accelerators=_accelerators(tree, routines, classes),
        optional=_optional(tree),
    )


def _optional(tree: ast.Module) -> dict[str, str]:
    """What names become where an import fails, such as `None`, by name."""
    found: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.Try) or not any(
            isinstance(inner, ast.Import | ast.ImportFrom) for inner in node.body
        ):
            continue
        for handler in node.handlers:
            for name, value in _assigned(handler).items():
                if isinstance(value, ast.Constant):
                    found[name] = ast.unparse(value)
    return found


def _accelerators(
    tree: ast.Module, routines: dict[str, Routine], classes: dict[str, ast.ClassDef]
) -> list[str]:
    """Modules in C that replace, if they are there, what this one defines."""
    found: list[str] = []
    for node in tree.body:
        if not isinstance(node, ast.Try):
            continue
        for inner in node.body:
            if isinstance(inner, ast.ImportFrom) and inner.module and inner.module[0] == "_":
                names = {name.asname or name.name for name in inner.names}
                if names & ({"*"} | set(routines) | set(classes)) and inner.module not in found:
                    found.append(inner.module)
    return found


def words_of(tree: ast.AST) -> Words:
    """The literals below a node, without docstrings, each once and in order."""
    words = Words()
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and _is_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _note_patterns(node, words)
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        value = node.value
        if isinstance(value, str) and len(value) <= 60 and value not in words.strings:
            words.strings.append(value)
        elif isinstance(value, bytes) and len(value) <= 60 and value not in words.blobs:
            words.blobs.append(value)
        elif isinstance(value, bool):
            continue
        elif isinstance(value, int | float) and value not in words.numbers:
            words.numbers.append(value)
    return words


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a routine without those of functions and classes inside it."""
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        below = waiting.pop()
        yield below
        if not isinstance(
            below, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            waiting += ast.iter_child_nodes(below)


def body_lines(node: Function) -> set[int]:
    """The lines that statements of a routine begin on, without its docstring."""
    lines: set[int] = set()
    for below in ast.walk(node):
        is_docstring = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(below, ast.stmt) and below is not node and not is_docstring:
            lines.add(below.lineno)
    return lines


def dotted(node: ast.AST) -> str:
    """`a.b.c` as it is written; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _collect(
    body: list[ast.stmt],
    owner: str | None,
    routines: dict[str, Routine],
    classes: dict[str, ast.ClassDef],
) -> None:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{owner}.{node.name}" if owner else node.name
            if name not in routines or not _is_overload(node):
                routines[name] = _routine(name, owner, node)
        elif isinstance(node, ast.ClassDef):
            name = f"{owner}.{node.name}" if owner else node.name
            classes[name] = node
            _collect(node.body, name, routines, classes)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                _collect(getattr(node, part, []), owner, routines, classes)
            for handler in getattr(node, "handlers", []):
                _collect(handler.body, owner, routines, classes)


def _is_overload(node: Function) -> bool:
    return any(dotted(decorator).endswith("overload") for decorator in node.decorator_list)


def _routine(name: str, owner: str | None, node: Function) -> Routine:
    calls: set[str] = set()
    raises: set[str] = set()
    is_generator = is_endless = False
    for below in own_nodes(node):
        if isinstance(below, ast.Attribute):
            calls.add(below.attr)
        elif isinstance(below, ast.Name):
            calls.add(below.id)
        elif isinstance(below, ast.Raise) and below.exc is not None:
            raised = below.exc.func if isinstance(below.exc, ast.Call) else below.exc
            raises.add(dotted(raised))
        elif isinstance(below, ast.Yield | ast.YieldFrom):
            is_generator = True
        elif isinstance(below, ast.While) and isinstance(below.test, ast.Constant):
            is_endless = True
        elif isinstance(below, ast.BinOp | ast.Compare | ast.Subscript):
            calls |= _operators(below)
    return Routine(
        qualname=name,
        owner=owner,
        node=node,
        words=words_of(node),
        calls=calls,
        raises=raises - {""},
        is_generator=is_generator,
        is_endless=is_endless and is_generator,
    )


def _operators(node: ast.BinOp | ast.Compare | ast.Subscript) -> set[str]:
    if isinstance(node, ast.Subscript):
        return {"__getitem__", "__setitem__"}
    if isinstance(node, ast.Compare):
        return {"__eq__", "__lt__", "__contains__", "__le__", "__gt__", "__ge__"}
    return {f"__{type(node.op).__name__.lower()}__"}


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _note_patterns(node: ast.Call, words: Words) -> None:
    if dotted(node.func).startswith("re.") and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            words.patterns.append(first.value)


def _module_variables(tree: ast.Module, routines: dict[str, Routine]) -> dict[str, str]:
    """Variables of the module that its routines change, with the text of their first value."""
    values = {name: ast.unparse(value) for name, value in _assigned(tree).items()}
    changed: set[str] = set()
    for routine in routines.values():
        changed |= set(_changes(routine.node, values))
    return {name: text for name, text in values.items() if name in changed}


def _assigned(tree: ast.Module | ast.ExceptHandler) -> dict[str, ast.expr]:
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name):
            values[target.id] = value
    return values


def _changes(node: Function, known: dict[str, str]) -> list[str]:
    globals_: set[str] = set()
    found: dict[str, None] = {}
    locals_ = {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
    for below in ast.walk(node):
        if isinstance(below, ast.Global):
            globals_ |= set(below.names)
    for below in ast.walk(node):
        name = ""
        if isinstance(below, ast.Name) and isinstance(below.ctx, ast.Store | ast.Del):
            if below.id in globals_:
                name = below.id
            else:
                locals_.add(below.id)
        elif isinstance(below, ast.Subscript) and isinstance(below.ctx, ast.Store | ast.Del):
            name = dotted(below.value)
        elif (
            isinstance(below, ast.Call)
            and isinstance(below.func, ast.Attribute)
            and below.func.attr in _MUTATING
        ):
            name = dotted(below.func.value)
        if name in known and (name in globals_ or name not in locals_):
            found[name] = None
    return list(found)
