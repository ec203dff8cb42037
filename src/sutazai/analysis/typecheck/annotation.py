"""From a type as mypy reveals it to an annotation that can stand in a certain file."""

import ast
import re
from collections.abc import Iterable

_LONGEST = 80
_LITERAL = re.compile(r"Literal\[(?P<value>(?:[^\[\]'\"]|'[^']*'|\"[^\"]*\")*)\]\??")
_PLAIN = {"int", "str", "bytes", "bool", "float", "complex", "object", "None"}
_CONTAINERS = {"list", "dict", "set", "frozenset", "tuple", "type"}
_BUILTINS = _PLAIN | _CONTAINERS


class Names:
    """What a module's top level binds, by the full name of what is bound."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        """`module` is the dotted name under which mypy knows the file."""
        self._bound: dict[str, str] = {}
        self._taken: set[str] = set()
        for node in tree.body:
            match node:
                case ast.ClassDef(name=name):
                    self._bound[f"{module}.{name}"] = name
                    self._taken.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self._taken.add(name)
                case ast.Import():
                    for alias in node.names:
                        self._bound[alias.name] = alias.asname or alias.name
                case ast.ImportFrom(module=str(source), level=0):
                    for alias in node.names:
                        self._bound[f"{source}.{alias.name}"] = alias.asname or alias.name
                case ast.Assign():
                    self._taken.update(
                        target.id for target in node.targets if isinstance(target, ast.Name)
                    )
                case _:
                    pass
        self._class_lines = {
            node.name: node.lineno for node in tree.body if isinstance(node, ast.ClassDef)
        }

    def of(self, full: str, line: int) -> str | None:
        """How a full name is written at a line, None where it cannot be."""
        if full in _BUILTINS:
            return None if full in self._taken else full
        if full in self._bound:
            name = self._bound[full]
            defined = self._class_lines.get(name, 0)
            # Before its class exists a name has to be quoted; we rather leave that out.
            return name if defined <= line and not self._within(name, line) else None
        module, _, rest = full.rpartition(".")
        return f"{self._bound[module]}.{rest}" if module in self._bound else None

    def _within(self, name: str, line: int) -> bool:
        return self._class_lines.get(name) == line


def annotation(revealed: Iterable[str], names: Names, line: int) -> str | None:
    """One annotation that covers all of these types; None where there is no plain one."""
    parts: list[str] = []
    for one in revealed:
        written = _written(one, names, line)
        if written is None:
            return None
        parts += [part for part in _split(written) if part not in parts]
    if not parts:
        return None
    if "int" in parts and "bool" in parts:
        parts.remove("bool")
    ordered = sorted(parts, key=lambda part: part == "None")
    text = " | ".join(ordered)
    return text if len(text) <= _LONGEST and len(parts) <= 3 else None


def _split(written: str) -> list[str]:
    """The members of a union, at its outermost level."""
    found, depth, since = [], 0, 0
    for at, char in enumerate(written):
        depth += (char == "[") - (char == "]")
        if char == "|" and depth == 0:
            found.append(written[since:at].strip())
            since = at + 1
    return [*found, written[since:].strip()]


def _written(revealed: str, names: Names, line: int) -> str | None:
    text = _LITERAL.sub(_of_literal, revealed.replace("builtins.", ""))
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return None  # a function, a type variable, or what has no name
    return _node(tree, names, line)


def _of_literal(match: re.Match[str]) -> str:
    try:
        value = ast.literal_eval(match["value"])
    except (SyntaxError, ValueError):
        return "?"
    return "None" if value is None else type(value).__name__


def _node(node: ast.expr, names: Names, line: int) -> str | None:
    match node:
        case ast.Constant(value=None):
            return "None"
        case ast.Constant(value=value) if value is ...:
            return "..."
        case ast.Name() | ast.Attribute():
            return names.of(ast.unparse(node), line)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            both = (_node(left, names, line), _node(right, names, line))
            return None if None in both else f"{both[0]} | {both[1]}"
        case ast.Subscript(value=value, slice=inner):
            outer = _node(value, names, line)
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            written = [_node(one, names, line) for one in items]
            if outer is None or not written:
                return None
            known = [one for one in written if one is not None]
            return f"{outer}[{', '.join(known)}]" if len(known) == len(written) else None
        case _:
            return None
