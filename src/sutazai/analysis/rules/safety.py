"""Unsafe habits that need no data flow: one call, one look."""

import ast
import re
from collections.abc import Iterator

from sutazai.analysis.findings import Confidence, RawFinding, Severity
from sutazai.analysis.parsing import Module, enclosing_function
from sutazai.analysis.rules.hit import hit
from sutazai.analysis.scopes import Scopes

_PASSWORD = re.compile(r"passw(or)?d|passwd|pwd|passphrase", re.IGNORECASE)
_SIGNATURE = re.compile(r"(^|_)(signature|hmac|mac|digest)(_|$)", re.IGNORECASE)
_FAST_HASHES = frozenset(
    f"hashlib.{name}"
    for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "blake2b", "blake2s")
)
_DIGESTS = frozenset({"digest", "hexdigest"})
_WEAK = frozenset({"hashlib.md5", "hashlib.sha1"})
_BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SERVERS = frozenset({"uvicorn.run", "flask.Flask.run", "web.run_app", "aiohttp.web.run_app"})


def find_unsafe_habits(module: Module) -> Iterator[RawFinding]:
    """Every habit of this file."""
    scopes = Scopes(module)
    for call in module.of(ast.Call):
        name = module.qualified(call.func)
        if name in _FAST_HASHES:
            yield from _password_hash(call, name)
        elif name == "jwt.decode":
            yield from _unverified_token(call)
        elif name == "urllib.request.urlopen":
            if len(call.args) < 3 and not any(k.arg in ("timeout", None) for k in call.keywords):
                yield hit(call, "missing-timeout", "`urlopen` is called without a timeout.")
        elif name in _SERVERS and any(_is_true(k, "debug") for k in call.keywords):
            yield hit(call, "debug-mode", f"`{name}` is started with `debug=True`.")
    for attribute in module.of(ast.Attribute):
        if attribute.attr == "MODE_ECB":
            yield hit(attribute, "weak-cipher", "Equal blocks look equal when encrypted by ECB.")
    for compare in module.of(ast.Compare):
        yield from _timing(compare, scopes)
    yield from _django_debug(module)
    yield from _bidirectional(module)


def _password_hash(call: ast.Call, name: str) -> Iterator[RawFinding]:
    mentioned = [
        inner.id if isinstance(inner, ast.Name) else inner.attr
        for argument in call.args
        for inner in ast.walk(argument)
        if isinstance(inner, ast.Name | ast.Attribute)
    ]
    function = enclosing_function(call)
    if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        mentioned.append(function.name)
    if any(_PASSWORD.search(word) for word in mentioned):
        yield hit(
            call,
            "weak-password-hash",
            f"A password goes through `{name}`.",
            severity=Severity.HIGH if name in _WEAK else Severity.MEDIUM,
            confidence=Confidence.HIGH if name in _WEAK else Confidence.MEDIUM,
        )


def _unverified_token(call: ast.Call) -> Iterator[RawFinding]:
    for keyword in call.keywords:
        unverified = False
        match keyword:
            case ast.keyword(arg="verify", value=ast.Constant(value=False)):
                unverified = True
            case ast.keyword(arg="options", value=ast.Dict(keys=keys, values=values)):
                unverified = any(
                    isinstance(key, ast.Constant)
                    and key.value == "verify_signature"
                    and isinstance(value, ast.Constant)
                    and value.value is False
                    for key, value in zip(keys, values, strict=True)
                )
            case ast.keyword(arg="algorithms", value=ast.List(elts=names)):
                unverified = any(
                    isinstance(name, ast.Constant) and str(name.value).lower() == "none"
                    for name in names
                )
            case _:
                pass
        if unverified:
            yield hit(
                call,
                "token-not-verified",
                "`jwt.decode` is told not to check the signature.",
                confidence=Confidence.HIGH,
            )
            return


def _timing(compare: ast.Compare, scopes: Scopes) -> Iterator[RawFinding]:
    match compare:
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            sides = (left, right)
            if any(isinstance(side, ast.Constant) for side in sides):
                return
            if any(_is_digest(side, scopes) for side in sides) and any(
                _is_signature(side) for side in sides
            ):
                yield hit(compare, "timing-unsafe-comparison", "A signature is compared with `==`.")
        case _:
            return


def _is_digest(node: ast.expr, scopes: Scopes) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr=attr)):
            return attr in _DIGESTS
        case ast.Name(id=name):
            values = scopes.around(node).values.get(name, ())
            return any(
                isinstance(value, ast.Call) and _is_digest(value, scopes) for _, value in values
            )
        case _:
            return False


def _is_signature(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else ""
    name = node.id if isinstance(node, ast.Name) else name
    return bool(_SIGNATURE.search(name))


def _django_debug(module: Module) -> Iterator[RawFinding]:
    if not module.source.file.endswith("settings.py"):
        return
    for statement in module.tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="DEBUG")], value=ast.Constant(value=True)):
                yield hit(
                    statement,
                    "debug-mode",
                    "`DEBUG` is on in the settings.",
                    severity=Severity.MEDIUM,
                    confidence=Confidence.MEDIUM,
                )
            case _:
                pass


def _bidirectional(module: Module) -> Iterator[RawFinding]:
    if module.source.text.isascii():
        return
    for number, line in enumerate(module.source.lines, 1):
        if match := _BIDIRECTIONAL.search(line):
            yield RawFinding(
                engine="sutazai",
                code="bidirectional-text",
                rule="bidirectional-text",
                line=number,
                column=match.start() + 1,
                end_line=number,
                message="The line holds an invisible mark that changes the direction of text.",
            )


def _is_true(keyword: ast.keyword, name: str) -> bool:
    value = keyword.value
    return keyword.arg == name and isinstance(value, ast.Constant) and value.value is True
