"""Strings put together at run time: their constant text, and the parts that are not constant."""

import ast
import re

_SQL = re.compile(
    r"^\s*\(?\s*(select\b.+\bfrom\b|insert\s+(or\s+\w+\s+)?into\b|update\b.+\bset\b|delete\s+from\b"
    r"|replace\s+into\b|create\s+(table|index|view|user|database)\b|drop\s+\w+\b|alter\s+\w+\b"
    r"|truncate\b|with\b.+\bselect\b)",
    re.IGNORECASE | re.DOTALL,
)
_PART_LIMIT = 200
_TEXT_LIMIT = 2_000


def dynamic_parts(node: ast.expr) -> list[ast.expr] | None:
    """The expressions that a string is built from; None if `node` builds no string."""
    match node:
        case ast.JoinedStr(values=values):
            parts = [value.value for value in values if isinstance(value, ast.FormattedValue)]
            return parts or None
        case ast.BinOp(left=left, op=ast.Mod(), right=right) if constant_text(left):
            return list(right.elts) if isinstance(right, ast.Tuple) else [right]
        case ast.Call(func=ast.Attribute(value=text, attr="format")) if constant_text(text):
            return [*node.args, *(keyword.value for keyword in node.keywords)] or None
        case ast.BinOp(op=ast.Add()):
            return _added(node)
        case _:
            return None


def constant_text(node: ast.expr) -> str:
    """The constant text in a string expression, with gaps where values go."""
    pieces: list[str] = []
    stack: list[ast.expr] = [node]
    while stack and len(pieces) < _PART_LIMIT:
        match stack.pop():
            case ast.Constant(value=str(text)):
                pieces.append(text[:_TEXT_LIMIT])
            case ast.JoinedStr(values=values):
                stack.extend(reversed(values))
            case ast.FormattedValue():
                pieces.append(" ")
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                stack.extend((right, left))
            case ast.BinOp(left=left, op=ast.Mod()):
                stack.append(left)
            case ast.Call(func=ast.Attribute(value=text, attr="format")):
                stack.append(text)
            case _:
                pieces.append(" ")
    return "".join(pieces)[:_TEXT_LIMIT].strip(" ")


def is_sql(node: ast.expr) -> bool:
    """Whether a string expression starts like a statement of SQL."""
    return bool(_SQL.match(constant_text(node)))


def is_harmless_part(node: ast.expr) -> bool:
    """Whether a part cannot carry an attacker's text: constants, numbers, lists of placeholders."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            is_constant = name.isupper() and len(name) > 1
            return is_constant or name == "__tablename__" or "placeholder" in name.lower()
        case ast.Call(func=ast.Name(id="int" | "len" | "float" | "range")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[argument]):
            return _only_placeholders(argument)
        case ast.BinOp(op=ast.Mult() | ast.Add(), left=left, right=right):
            if isinstance(node.op, ast.Mult):
                return isinstance(left, ast.Constant) or isinstance(right, ast.Constant)
            return is_harmless_part(left) and is_harmless_part(right)
        case _:
            return False


def _only_placeholders(node: ast.expr) -> bool:
    match node:
        case ast.BinOp(op=ast.Mult(), left=ast.List(elts=[ast.Constant()])):
            return True
        case ast.BinOp(op=ast.Mult(), left=ast.Constant()):
            return True
        case ast.GeneratorExp(elt=ast.Constant()) | ast.ListComp(elt=ast.Constant()):
            return True
        case _:
            return False


def _added(node: ast.BinOp) -> list[ast.expr] | None:
    """The operands of `a + "b" + c` that are no constants; None without a constant string."""
    parts: list[ast.expr] = []
    has_text = False
    stack: list[ast.expr] = [node]
    while stack:
        match stack.pop():
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                stack.extend((right, left))
            case ast.Constant(value=str()):
                has_text = True
            case ast.JoinedStr(values=values):
                has_text = True
                parts += [v.value for v in values if isinstance(v, ast.FormattedValue)]
            case other:
                parts.append(other)
    return parts if has_text and parts else None
