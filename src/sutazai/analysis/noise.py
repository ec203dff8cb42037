"""What engines report and nobody should have to read: dropped before it becomes a finding."""

import ast
import re

from sutazai.analysis.findings import Confidence, RawFinding
from sutazai.analysis.parsing import Module, enclosing_function, parent
from sutazai.analysis.rules.strings import dynamic_parts, is_harmless_part, is_sql
from sutazai.analysis.source import Source

# Lines of one expression that are looked at: longer ones are tables.
_SPAN = 50
_KNOWN_NAME = re.compile(r"\bget_ipython\b|type: ignore\[[^\]]*name-defined")
_PERMISSION_WORDS = re.compile(
    r"\bis_(admin|staff|owner|superuser|authenticated)|permission|allowed|authori[sz]ed|has_role"
    r"|\b(role|owner|password|signature)\b",
    re.IGNORECASE,
)
_SECRET_WORDS = re.compile(
    r"token|secret|passw|pwd|otp|nonce|salt|session|api_?key|csrf|auth|credential|verification",
    re.IGNORECASE,
)


def is_noise(raw: RawFinding, source: Source, module: Module | None) -> bool:
    """Whether an engine's finding says nothing worth acting on at this place."""
    if source.is_test and raw.rule == "hardcoded-secret" and raw.confidence is not Confidence.HIGH:
        return True  # tests need passwords; a token in a known format is one wherever it stands
    if raw.engine == "sutazai":
        return False
    if module is not None and (raw.rule, raw.line) in module.cleared:
        return True
    match raw.rule:
        case "assert-used":
            return source.is_test or module is None or not _guards_something(raw, module)
        case "hardcoded-secret":
            # Our rule looks at the name and the value more closely than the engines do.
            lines = range(raw.line, min(max(raw.line, raw.end_line), raw.line + _SPAN) + 1)
            return module is not None and not any(
                (raw.rule, line) in module.confirmed for line in lines
            )
        case "predictable-random":
            return module is not None and not _concerns_a_secret(raw, module)
        case "sql-injection":
            return module is not None and not _is_open_sql(raw, module)
        case "command-injection":
            # Bandit takes any argument called `shell` for the one of `subprocess`.
            return raw.code == "B604" and module is not None and not _sets_shell(raw, module)
        case "file-left-open":
            return module is not None and _is_closed_by_somebody(raw, module)
        case "star-import":
            return source.file.rpartition("/")[2] == "__init__.py"  # it gathers a package's names
        case "binds-all-interfaces":
            return module is not None and _is_compared(raw, module)
        case "undefined-name":
            # What a notebook's shell provides, or what the author already told the type checker.
            line = source.lines[raw.line - 1]
            return source.file.endswith(".pyi") or bool(_KNOWN_NAME.search(line))
        case "ineffective-statement":
            return module is not None and _reads_an_attribute(raw, module)
        case _:
            return False


def _guards_something(raw: RawFinding, module: Module) -> bool:
    """Whether an assert checks a permission or the range of an argument.

    Most asserts only tell a type checker or a reader what holds anyway.
    """
    for node in module.starting_at(raw.line, ast.Assert):
        if _PERMISSION_WORDS.search(ast.unparse(node.test)[:500]):
            return True
        function = enclosing_function(node)
        match node.test:
            case ast.Compare(
                left=ast.Name(id=name), ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE()]
            ) if function is not None:
                return name in {argument.arg for argument in function.args.args}
            case _:
                pass
    return False


def _sets_shell(raw: RawFinding, module: Module) -> bool:
    return any(
        keyword.arg == "shell"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is True
        for node in module.starting_at(raw.line, ast.Call)
        for keyword in node.keywords
    )


def _is_closed_by_somebody(raw: RawFinding, module: Module) -> bool:
    """Whether the opened file is kept by an object, handed to the caller or closed in `finally`."""
    for node in module.starting_at(raw.line, ast.Call):
        statement = parent(node)
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is not node:
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        match targets[0]:
            case ast.Attribute():
                return True
            case ast.Name(id=name):
                return _is_let_go(name, enclosing_function(node) or module.tree)
            case _:
                return False
    return False


def _is_let_go(name: str, scope: ast.AST) -> bool:
    for node in ast.walk(scope):
        match node:
            case ast.Return(value=ast.Name(id=given)) | ast.Yield(value=ast.Name(id=given)):
                if given == name:
                    return True
            case ast.Try(finalbody=[_, *_] as last):
                for step in last:
                    for call in ast.walk(step):
                        match call:
                            case ast.Attribute(value=ast.Name(id=closed), attr="close"):
                                if closed == name:
                                    return True
                            case _:
                                pass
            case _:
                pass
    return False


def _is_compared(raw: RawFinding, module: Module) -> bool:
    """Whether the address is only looked at, not bound to."""
    return any(
        node.value == "0.0.0.0"  # noqa: S104  # what to look for
        and any(isinstance(above, ast.Compare) for above in module.parents(node))
        for node in module.starting_at(raw.line, ast.Constant)
    )


def _reads_an_attribute(raw: RawFinding, module: Module) -> bool:
    """A bare attribute is often read for its effect, as with a property."""
    return any(
        isinstance(node.value, ast.Attribute | ast.Name)
        for node in module.starting_at(raw.line, ast.Expr)
    )


def _concerns_a_secret(raw: RawFinding, module: Module) -> bool:
    for node in module.starting_at(raw.line, ast.Call):
        function = enclosing_function(node)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and _SECRET_WORDS.search(
            function.name
        ):
            return True
        statement: ast.AST | None = node
        while statement is not None and not isinstance(statement, ast.stmt):
            statement = parent(statement)
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Return) and _SECRET_WORDS.search(
            _names_of(statement)
        ):
            return True
    return False


def _is_open_sql(raw: RawFinding, module: Module) -> bool:
    """Whether text that starts like SQL is put together from more than constants there."""
    for line in range(raw.line, min(max(raw.line, raw.end_line), raw.line + _SPAN) + 1):
        for node in module.starting_at(line, ast.expr):
            parts = dynamic_parts(node)
            if parts and is_sql(node) and not all(is_harmless_part(part) for part in parts):
                return True
    return False


def _names_of(statement: ast.AST) -> str:
    names = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, ast.Attribute):
            names.append(node.attr)
    return " ".join(names)
