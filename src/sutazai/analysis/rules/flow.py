"""Injections: text from outside that reaches a query, a shell, a path or an address unchecked.

Within one function, in the order of its statements. That misses flows across functions, and is
the reason why a finding here is worth its severity.
"""

import ast
import re
from collections.abc import Iterator, Mapping

from sutazai.analysis.findings import Confidence, RawFinding, Severity
from sutazai.analysis.parsing import Module
from sutazai.analysis.rules.hit import hit, short
from sutazai.analysis.rules.strings import dynamic_parts, is_harmless_part, is_sql
from sutazai.analysis.rules.taint import Taint, TaintState
from sutazai.analysis.scopes import names_in, own_nodes

_EXECUTE = frozenset({"execute", "executemany", "executescript", "raw", "fetch", "fetchrow"})
_SHELLS = frozenset(
    [
        "os.system",
        "os.popen",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
        "asyncio.create_subprocess_shell",
    ]
)
_SUBPROCESS = frozenset(
    f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "Popen")
)
_TEMPLATES = frozenset(
    {"flask.render_template_string", "render_template_string", "jinja2.Template"}
)
_FETCHERS = re.compile(
    r"^(requests|httpx|httpx2)\.(get|post|put|delete|patch|head|request)$|^urllib\.request\.urlopen$"
)
_REDIRECTS = frozenset({"redirect", "RedirectResponse", "HttpResponseRedirect", "HTTPFound"})
_OPENERS = frozenset(
    [
        "open",
        "io.open",
        "os.remove",
        "os.unlink",
        "os.rename",
        "os.rmdir",
        "shutil.copy",
        "shutil.copyfile",
        "shutil.move",
        "shutil.rmtree",
        "send_file",
        "flask.send_file",
        "FileResponse",
        "starlette.responses.FileResponse",
        "fastapi.responses.FileResponse",
        "zipfile.ZipFile",
        "tarfile.open",
    ]
)
_PATH_METHODS = frozenset(
    [
        "open",
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "unlink",
        "rename",
        "mkdir",
        "rmdir",
    ]
)
_STATEMENT_NAME = re.compile(r"(^|_)(sql|query|statement|stmt|operation|clause|ddl|fragment)$")
_FILE_NAME = re.compile(r"(^|_)(file_?name|fname|upload|attachment|upload_name|document_name)$")


def find_injections(module: Module) -> Iterator[RawFinding]:
    """Every unchecked flow of this file."""
    functions = [*module.of(ast.FunctionDef), *module.of(ast.AsyncFunctionDef)]
    for function in (module.tree, *functions):
        yield from Flow(module, function).run()


class Flow:
    """One function, gone through once.

    `seeds` say what its parameters carry, where that is known better than from its signature.
    """

    def __init__(
        self, module: Module, function: ast.AST, seeds: Mapping[str, Taint] | None = None
    ) -> None:
        self._module = module
        self._function = function
        self._taint = TaintState(module, function, seeds)
        # The last string or path that each name was built as.
        self._built: dict[str, ast.expr] = {}
        self._values: dict[str, ast.expr] = {}

    def run(self) -> Iterator[RawFinding]:
        """What reaches something dangerous, in the order of the statements."""
        for node in own_nodes(self._function):
            match node:
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        self._assign(target, value)
                case ast.AnnAssign(target=target, value=value) if value is not None:
                    self._assign(target, value)
                case ast.NamedExpr(target=target, value=value):
                    self._assign(target, value)
                case ast.AugAssign(target=ast.Name(id=name) as target, value=value):
                    self._taint.assign(target, value, grows=True)
                    if dynamic_parts(value):
                        self._built[name] = value
                case ast.For(target=target, iter=values) | ast.AsyncFor(target=target, iter=values):
                    self._taint.assign(target, values)
                case ast.Call():
                    self.called(node)
                    yield from self._call(node)
                case _:
                    pass

    def called(self, call: ast.Call) -> None:
        """A call is about to be judged; for who wants to know what it is handed."""

    def level(self, node: ast.expr) -> Taint:
        """The worst that an expression may carry, at this point of the function."""
        return max(self._taint.level(node), self._taint.level(self._origin(node)))

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        self._taint.assign(target, value)
        if isinstance(target, ast.Name):
            self._built.pop(target.id, None)
            self._values[target.id] = value
            if dynamic_parts(value) or _path_parts(value, self._module):
                self._built[target.id] = value

    def _origin(self, node: ast.expr) -> ast.expr:
        """What a name was built as, for a name; the expression itself otherwise."""
        if isinstance(node, ast.Name):
            return self._built.get(node.id, node)
        return node

    def _call(self, call: ast.Call) -> Iterator[RawFinding]:
        name = self._module.qualified(call.func)
        last = name.rsplit(".", 1)[-1]
        method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        first = call.args[0] if call.args else None
        if method in _PATH_METHODS and isinstance(call.func, ast.Attribute):
            yield from self._path(call.func.value)
        if first is None:
            return
        if method in _EXECUTE:
            yield from self._sql(first)
        elif name in _SHELLS or (name in _SUBPROCESS and _uses_shell(call)):
            yield from self._shell(call, first, name)
        elif name in _OPENERS or last in ("send_file", "FileResponse"):
            yield from self._path(first)
        elif name in ("eval", "exec"):
            yield from self._simple(call, first, "code-injection", Taint.PARAMETER)
        elif name in _TEMPLATES or _is_template_source(call):
            yield from self._simple(call, first, "template-injection", Taint.PARAMETER)
        elif _FETCHERS.match(name):
            address = call.args[1] if last == "request" and len(call.args) > 1 else first
            yield from self._simple(call, address, "server-side-request-forgery", Taint.REQUEST)
        elif last in _REDIRECTS:
            yield from self._simple(call, first, "open-redirect", Taint.REQUEST)
        elif name in ("pickle.loads", "pickle.load", "yaml.load", "marshal.loads"):
            rule = "unsafe-yaml" if name == "yaml.load" else "unsafe-deserialization"
            if not _has_safe_loader(call):
                yield from self._simple(call, first, rule, Taint.REQUEST)

    def _sql(self, argument: ast.expr) -> Iterator[RawFinding]:
        match argument:
            case ast.Call(func=func, args=[inner, *_]) if self._module.qualified(func).endswith(
                "text"
            ):
                argument = inner
            case _:
                pass
        built = self._origin(argument)
        parts = dynamic_parts(built)
        if not parts or not (is_sql(built) or built is not argument):
            return
        open_parts = [p for p in parts if not is_harmless_part(p) and not _is_statement(p)]
        level = max((self._taint.level(part) for part in open_parts), default=Taint.NONE)
        if level is Taint.NONE:
            if all(self._is_known(part) for part in open_parts):
                self._module.cleared.add(("sql-injection", built.lineno))
            return
        worst = max(open_parts, key=self._taint.level)
        yield hit(
            built,
            "sql-injection",
            f"`{short(ast.unparse(worst))}` ({_origin_word(level)}) becomes part of the SQL text.",
            severity=Severity.CRITICAL if level is Taint.REQUEST else Severity.HIGH,
            confidence=Confidence.HIGH,
            description="SQL injection: a value from outside becomes part of the statement.",
        )

    def _is_known(self, part: ast.expr) -> bool:
        """Whether a part was checked before, or was assigned something harmless."""
        if not isinstance(part, ast.Name):
            return False
        value = self._values.get(part.id)
        return part.id in self._taint.checked or (value is not None and is_harmless_part(value))

    def _shell(self, call: ast.Call, line: ast.expr, name: str) -> Iterator[RawFinding]:
        built = self._origin(line)
        level = max(self._taint.level(line), self._taint.level(built))
        if level is Taint.NONE:
            is_new = name == "asyncio.create_subprocess_shell"
            if is_new and not isinstance(built, ast.Constant):
                yield hit(call, "command-injection", f"`{name}` runs a computed command line.")
            return
        yield hit(
            call,
            "command-injection",
            f"`{short(ast.unparse(line))}` ({_origin_word(level)}) reaches `{name}`.",
            severity=Severity.CRITICAL if level is Taint.REQUEST else Severity.HIGH,
            confidence=Confidence.HIGH,
            description="Command injection: a value from outside becomes part of a shell command.",
        )

    def _path(self, argument: ast.expr) -> Iterator[RawFinding]:
        built = self._origin(argument)
        names = names_in(argument) | names_in(built)
        if names & self._taint.checked:
            return
        level = self._taint.level(built)
        if level is Taint.NONE:
            return
        joined = _path_parts(built, self._module)
        if level is Taint.PARAMETER:
            # A function that opens the path it is given is no finding; one that puts a bare file
            # name from its caller below a folder of its own is.
            suspects = [
                part.id
                for part in joined[1:]
                if isinstance(part, ast.Name)
                and part.id in self._taint.parameters
                and _FILE_NAME.search(part.id)
            ]
            if not suspects:
                return
        yield hit(
            built,
            "path-traversal",
            f"`{short(ast.unparse(built))}` ({_origin_word(level)}) is opened without a check.",
            severity=Severity.HIGH if level is Taint.REQUEST else Severity.MEDIUM,
            confidence=Confidence.HIGH if level is Taint.REQUEST else Confidence.MEDIUM,
        )

    def _simple(
        self, call: ast.Call, argument: ast.expr, rule: str, least: Taint
    ) -> Iterator[RawFinding]:
        level = self._taint.level(argument)
        if level < least:
            return
        certain = level is Taint.REQUEST
        critical = certain and rule.startswith(("code", "template", "unsafe"))
        yield hit(
            call,
            rule,
            f"`{short(ast.unparse(argument))}` ({_origin_word(level)}) reaches "
            f"`{short(ast.unparse(call.func))}`.",
            severity=Severity.CRITICAL if critical else None,
            confidence=Confidence.HIGH if certain else Confidence.MEDIUM,
        )


def _is_statement(part: ast.expr) -> bool:
    """A caller that hands over SQL text means it: the statement is the argument."""
    return isinstance(part, ast.Name) and bool(_STATEMENT_NAME.search(part.id))


def _is_template_source(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr="from_string"):
            return bool(re.search(r"env|jinja|template", name, re.IGNORECASE))
        case _:
            return False


def _origin_word(level: Taint) -> str:
    return "from the request" if level is Taint.REQUEST else "from the caller"


def _path_parts(node: ast.expr, module: Module) -> list[ast.expr]:
    """The components of a joined path, base first; empty if `node` joins none."""
    match node:
        case ast.Call(func=func, args=[first, *rest]) if rest:
            if module.qualified(func) in ("os.path.join", "posixpath.join", "pathlib.Path"):
                return [first, *rest]
            return []
        case ast.Call(func=ast.Attribute(value=base, attr="joinpath"), args=[*rest]):
            return [base, *rest]
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return [*(_path_parts(left, module) or [left]), right]
        case ast.JoinedStr(values=[first, *rest]) if rest:
            parts = [v.value if isinstance(v, ast.FormattedValue) else v for v in (first, *rest)]
            slash = any(isinstance(v, ast.Constant) and "/" in str(v.value) for v in parts)
            return parts if slash else []
        case ast.BinOp(op=ast.Add()):
            parts = dynamic_parts(node) or []
            return [node, *parts] if parts else []
        case ast.Call(func=func, args=[inner]) if module.qualified(func) in (
            "pathlib.Path",
            "str",
        ):
            return _path_parts(inner, module)
        case _:
            return []


def _uses_shell(call: ast.Call) -> bool:
    return any(
        keyword.arg == "shell"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is True
        for keyword in call.keywords
    )


def _has_safe_loader(call: ast.Call) -> bool:
    text = " ".join(ast.unparse(k.value) for k in call.keywords if k.arg == "Loader")
    text += ast.unparse(call.args[1]) if len(call.args) > 1 else ""
    return "Safe" in text
