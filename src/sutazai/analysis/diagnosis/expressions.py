"""Which expression of the failing line failed, and which of its parts has the wrong value."""

import ast
import re
from collections.abc import Callable, Iterable

import msgspec

from sutazai.analysis.diagnosis.project import File, own_expressions, statement_at
from sutazai.analysis.diagnosis.tracebacks import Failure, Frame

_ATTRIBUTE = re.compile(r"has no attribute '(?P<name>[^']{1,200})'")
_NAME = re.compile(r"(?:name|variable) '(?P<name>[^']{1,200})'")
_CALLED = re.compile(r"(?P<name>[\w.<>]{1,200})\(\) (?:takes|missing|got|argument)")
_ITERATED = re.compile(r"not iterable|cannot unpack|not enough values|too many values")


class Failing(msgspec.Struct, kw_only=True):
    """The expression, and `culprit`: the part of it whose value does not fit."""

    statement: ast.stmt
    expression: ast.expr | None
    culprit: ast.expr | None


def find_failing(file: File, line: int, frame: Frame, failure: Failure) -> Failing | None:
    """By the carets where there are some, else by what the exception says."""
    statement = statement_at(file, line)
    if statement is None:
        return None
    expressions = list(own_expressions(statement))
    if isinstance(statement, ast.AugAssign):
        expressions.insert(0, _operation(statement))
    marked = _marked(file, line, frame, expressions)
    expression = marked if marked is not None else _told(failure, expressions)
    if marked is not None:
        inner = _told(failure, [one for one in ast.walk(marked) if isinstance(one, ast.expr)])
        # Carets of a whole call or comprehension may cover what really failed.
        if inner is not None and failure.name != "AssertionError":
            expression = inner
    return Failing(
        statement=statement, expression=expression, culprit=_culprit(failure, statement, expression)
    )


def _operation(statement: ast.AugAssign) -> ast.BinOp:
    """What `a += b` computes, as the expression that it is without the assignment."""
    target = ast.parse(ast.unparse(statement.target), mode="eval").body
    ast.copy_location(target, statement.target)
    operation = ast.BinOp(target, statement.op, statement.value)
    return ast.copy_location(operation, statement)


def _marked(
    file: File, line: int, frame: Frame, expressions: Iterable[ast.expr]
) -> ast.expr | None:
    if frame.start is None or frame.end is None:
        return None
    text = file.source.lines[line - 1]
    indent = len(text) - len(text.lstrip())
    start = len(text[: indent + frame.start].encode())
    end = len(text[: indent + frame.end].encode())
    same = [one for one in expressions if one.lineno == line and one.col_offset == start]
    exact = [one for one in same if one.end_lineno == line and one.end_col_offset == end]
    return exact[0] if exact else (same[0] if same else None)


def _told(failure: Failure, expressions: Iterable[ast.expr]) -> ast.expr | None:
    """The first expression, innermost last, that can fail as the exception says."""
    fits = _test(failure)
    found = [one for one in expressions if fits(one)]
    return found[0] if len(found) == 1 else (found[-1] if found else None)


def _test(failure: Failure) -> Callable[[ast.expr], bool]:
    message = failure.message
    attribute, name, called = (
        _ATTRIBUTE.search(message),
        _NAME.search(message),
        _CALLED.search(message),
    )
    match failure.name:
        case "AttributeError" if attribute:
            return lambda one: isinstance(one, ast.Attribute) and one.attr == attribute["name"]
        case "NameError" | "UnboundLocalError" if name:
            return lambda one: isinstance(one, ast.Name) and one.id == name["name"]
        case "KeyError":
            key = message.strip()
            return lambda one: isinstance(one, ast.Subscript) and _may_be(one.slice, key)
        case "IndexError":
            return lambda one: isinstance(one, ast.Subscript) or _is_pop(one)
        case "ZeroDivisionError":
            return lambda one: (
                isinstance(one, ast.BinOp) and isinstance(one.op, ast.Div | ast.FloorDiv | ast.Mod)
            )
        case "AssertionError":
            return lambda one: isinstance(one, ast.Compare | ast.Call | ast.Name)
        case "TypeError" if called:
            last = called["name"].rpartition(".")[2]
            return lambda one: isinstance(one, ast.Call) and name_of(one.func) in (last, "__init__")
        case "TypeError" if "not subscriptable" in message or "indices must be" in message:
            return lambda one: isinstance(one, ast.Subscript)
        case "TypeError" if "not callable" in message:
            return lambda one: isinstance(one, ast.Call)
        case "TypeError" if "operand" in message or "concatenate" in message:
            return lambda one: isinstance(one, ast.BinOp | ast.UnaryOp)
        case "TypeError" if "not supported between" in message:
            return lambda one: isinstance(one, ast.Compare)
        case "TypeError" | "ValueError" if _ITERATED.search(message):
            return lambda one: isinstance(one, ast.Name | ast.Call | ast.Attribute | ast.Subscript)
        case "ValueError" if "int()" in message or "float" in message:
            return lambda one: isinstance(one, ast.Call) and name_of(one.func) in ("int", "float")
        case _:
            return lambda one: isinstance(one, ast.Call)


def _may_be(key: ast.expr, message: str) -> bool:
    return not isinstance(key, ast.Constant) or repr(key.value) == message


def _is_pop(one: ast.expr) -> bool:
    return isinstance(one, ast.Call) and name_of(one.func) == "pop"


def name_of(function: ast.expr) -> str:
    """The last name of what is called."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _culprit(failure: Failure, statement: ast.stmt, expression: ast.expr | None) -> ast.expr | None:
    """The part of the failing expression whose value is not what it takes."""
    if _ITERATED.search(failure.message):
        match statement:
            case ast.For(iter=iterated) | ast.AsyncFor(iter=iterated):
                return iterated
            case ast.Assign(value=value, targets=[ast.Tuple() | ast.List()]):
                return value
    match expression:
        case ast.Attribute(value=value) | ast.Subscript(value=value):
            return value
        case ast.BinOp(op=ast.Div() | ast.FloorDiv() | ast.Mod(), right=right) if (
            failure.name == "ZeroDivisionError"
        ):
            return right
        case ast.BinOp(left=left, right=right):
            return _none_side(failure, left, right)
        case ast.Compare(left=left, comparators=[right, *_]):
            return left if failure.name == "AssertionError" else _none_side(failure, left, right)
        case ast.Call(func=function, args=arguments):
            if "not callable" in failure.message:
                return function
            return (
                arguments[0] if arguments and failure.name in ("ValueError", "TypeError") else None
            )
        case _:
            return expression


def _none_side(failure: Failure, left: ast.expr, right: ast.expr) -> ast.expr:
    """Of two operands the one that the message says is None, or is no plain constant."""
    kinds = re.findall(r"'([\w.]{1,100})'", failure.message)
    if len(kinds) >= 2 and "NoneType" in kinds[:2]:
        return left if kinds[0] == "NoneType" else right
    return right if isinstance(left, ast.Constant | ast.JoinedStr) else left
