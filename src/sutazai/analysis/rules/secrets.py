"""Secrets in Python source, by the name they stand under and the look of the value."""

import ast
import re
from collections.abc import Iterator

from sutazai.analysis.engines.secret_values import looks_like_secret, looks_random
from sutazai.analysis.findings import Confidence, RawFinding
from sutazai.analysis.parsing import Module
from sutazai.analysis.rules.hit import hit
from sutazai.analysis.source import Source

_SECRET_NAME = re.compile(
    r"(^|_|\b)(passw(or)?d|passwd|pwd|secret|token|api_?key|apikey|access_?key|private_?key"
    r"|auth_?key|signing_?key|encryption_?key|credentials?)(_|$|\d)",
    re.IGNORECASE,
)
_NOT_THE_VALUE = re.compile(
    r"(hash|digest|name|field|file|path|url|uri|type|header|prefix|suffix|env|param|label|regex"
    r"|pattern|expir\w*|ttl|length|size|count|id|ids|kind|format|error|message|help|hint|policy)$",
    re.IGNORECASE,
)
_FROM_QUOTE = re.compile(r"[\"'].*")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def find_secrets(module: Module) -> Iterator[RawFinding]:
    """Strings that are kept under the name of a secret."""
    for name, value in _named_values(module):
        constant, text = _constant(value)
        if not is_secret_name(name) or not looks_like_secret(text):
            continue
        yield hit(
            constant,
            "hardcoded-secret",
            f"`{name[:60]}` is set to a constant that looks like a real value.",
            confidence=Confidence.HIGH if looks_random(text) else Confidence.MEDIUM,
            secrets=_as_written(module.source, constant, text),
        )


def _named_values(module: Module) -> Iterator[tuple[str, ast.expr]]:
    for assign in module.of(ast.Assign):
        for target in assign.targets:
            yield _name(target), assign.value
    for annotated in module.of(ast.AnnAssign):
        if annotated.value is not None:
            yield _name(annotated.target), annotated.value
    for keyword in module.of(ast.keyword):
        yield keyword.arg or "", keyword.value
    for mapping in module.of(ast.Dict):
        for key, value in zip(mapping.keys, mapping.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value
    for compare in module.of(ast.Compare):
        if len(compare.ops) == 1 and isinstance(compare.ops[0], ast.Eq | ast.NotEq):
            yield _name(compare.left), compare.comparators[0]
    for arguments in module.of(ast.arguments):
        yield from _defaults(arguments)


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    if arguments.defaults:
        given = positional[-len(arguments.defaults) :]
        for argument, default in zip(given, arguments.defaults, strict=True):
            yield argument.arg, default
    for argument, kw_default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if kw_default is not None:
            yield argument.arg, kw_default


def _constant(value: ast.expr) -> tuple[ast.expr, str]:
    """The text that a value is, and where it stands; an empty one for anything else."""
    match value:
        # `os.environ.get("X", "fallback")`: the fallback is as readable as a plain assignment.
        case ast.Call(
            func=ast.Attribute(attr="get" | "getenv"),
            args=[ast.Constant(), ast.Constant(value=str(text)) as fallback],
        ):
            return fallback, text
        case ast.Constant(value=str(text)):
            return value, text
        case _:
            return value, ""


def _as_written(source: Source, constant: ast.expr, text: str) -> tuple[str, ...]:
    """The value, and what holds it on the lines where escapes or several parts spell it."""
    lines = source.lines[constant.lineno - 1 : constant.end_lineno]
    spelt = [_FROM_QUOTE.search(line) for line in lines if text not in line]
    return (text, *(found[0] for found in spelt if found))


def is_secret_name(name: str) -> bool:
    """Whether a name is that of a secret itself, rather than of something about one."""
    if not 0 < len(name) <= 80:
        return False
    spaced = _CAMEL.sub("_", name).replace("-", "_")
    return bool(_SECRET_NAME.search(spaced)) and not _NOT_THE_VALUE.search(spaced)


def _name(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(key))):
            return key
        case _:
            return ""
