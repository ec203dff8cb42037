"""Bandit's checks, run over the tree that is already parsed.

Bandit's own manager parses each file again and copies a context for each check of each node; this
driver gives the same checks the same facts, computed once per node.
"""

import ast
import logging
import warnings
from typing import Any

from sutazai.analysis.catalogue import BY_CODE, bandit_codes
from sutazai.analysis.findings import Confidence, RawFinding, Severity
from sutazai.analysis.parsing import Module, parent

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # bandit calls stevedore in a way that is going out of use
    from bandit.blacklists.calls import gen_blacklist  # type: ignore[import-untyped]  # no types
    from bandit.core.config import BanditConfig  # type: ignore[import-untyped]  # no types
    from bandit.core.context import Context  # type: ignore[import-untyped]  # no types
    from bandit.core.test_set import BanditTestSet  # type: ignore[import-untyped]  # no types
    from bandit.core.utils import get_call_name  # type: ignore[import-untyped]  # no types

# A string beyond this is data; bandit's SQL pattern is quadratic in what an attacker can write.
_MAX_STRING = 20_000
_SHELL_RULES = frozenset({"B602", "B605"})

_Check = Any
"""A function with attributes, as bandit's decorators make them."""


class _FastContext(Context):  # type: ignore[misc]  # bandit ships no types
    """Bandit's context with its two costly properties computed once per node."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__(facts)
        self._keywords: dict[str, Any] | None = None
        self._arguments: list[Any] | None = None

    @property
    def call_keywords(self) -> dict[str, Any] | None:
        if self._keywords is None:
            self._keywords = super().call_keywords
        return self._keywords

    @property
    def call_args(self) -> list[Any]:
        if self._arguments is None:
            self._arguments = super().call_args
        return self._arguments


class BanditEngine:
    """The loaded checks; made once per worker, then `run` for each file."""

    def __init__(self) -> None:
        logging.getLogger("bandit").setLevel(logging.CRITICAL)
        wanted = set(bandit_codes())
        config = BanditConfig()
        tests = BanditTestSet(config, profile={"include": sorted(wanted | {"B001"})})
        self._checks: dict[str, list[_Check]] = {
            kind: [check for check in tests.get_tests(kind) if _id_of(check) != "B001"]
            for kind in ("Call", "Str", "Bytes", "FunctionDef", "ExceptHandler", "Assert")
        }
        self._calls: dict[str, dict[str, Any]] = {
            name: entry
            for entry in gen_blacklist()["Call"]
            if entry["id"] in wanted
            for name in entry["qualnames"]
        }

    def run(self, module: Module) -> list[RawFinding]:
        """What bandit sees in one file."""
        return _FileRun(self._checks, self._calls, module).run()


def _id_of(check: _Check) -> str:
    identifier: str = getattr(check, "_test_id", "")  # where bandit's decorators put it
    return identifier


class _FileRun:
    def __init__(
        self,
        checks: dict[str, list[_Check]],
        calls: dict[str, dict[str, Any]],
        module: Module,
    ) -> None:
        self._checks = checks
        self._calls = calls
        self._module = module
        self._imports: set[str] = set()
        self._aliases: dict[str, str] = {}
        self._found: list[RawFinding] = []

    def run(self) -> list[RawFinding]:
        for node in self._module.nodes:
            match node:
                case ast.Call():
                    self._call(node)
                case ast.Constant():
                    self._constant(node)
                case ast.Import():
                    self._import(node)
                case ast.ImportFrom():
                    self._import_from(node)
                case ast.FunctionDef() | ast.ExceptHandler() | ast.Assert():
                    self._check(type(node).__name__, node, {})
                case _:
                    pass
        return self._found

    def _call(self, node: ast.Call) -> None:
        name = get_call_name(node, self._aliases)
        if (entry := self._calls.get(name)) is not None:
            self._add(entry["id"], node, entry["message"].replace("{name}", name))
        facts = {"call": node, "qualname": name, "name": name.rsplit(".", 1)[-1]}
        self._check("Call", node, facts)

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        if not isinstance(value, str | bytes) or len(value) > _MAX_STRING:
            return
        if isinstance(parent(node), ast.Expr):  # a docstring
            return
        if isinstance(value, str):
            self._check("Str", node, {"str": value})
        elif self._checks["Bytes"]:
            self._check("Bytes", node, {"bytes": value})

    def _import(self, node: ast.Import) -> None:
        for name in node.names:
            if name.asname:
                self._aliases[name.asname] = name.name
            self._imports.add(name.name)

    def _import_from(self, node: ast.ImportFrom) -> None:
        if node.module is None:
            self._imports.update(name.name for name in node.names)
            return
        for name in node.names:
            full = f"{node.module}.{name.name}"
            self._aliases[name.asname or name.name] = full
            self._imports.add(full)

    def _check(self, kind: str, node: ast.AST, facts: dict[str, Any]) -> None:
        facts |= {
            "imports": self._imports,
            "import_aliases": self._aliases,
            "node": node,
            "filename": self._module.source.file,
            "lineno": getattr(node, "lineno", 1),
        }
        context = _FastContext(facts)
        for check in self._checks[kind]:
            try:
                config = getattr(check, "_config", None)
                issue = check(context, config) if config is not None else check(context)
            except Exception:  # noqa: S112 - a check that trips over odd code has seen nothing
                continue
            if issue is not None:
                self._add(issue.test_id or _id_of(check), node, issue.text, issue)

    def _add(self, code: str, node: Any, message: str, issue: Any = None) -> None:
        rule = BY_CODE.get(code)
        if rule is None:
            return
        literal = code in _SHELL_RULES and issue is not None and issue.severity == "LOW"
        confidence = Confidence(issue.confidence.lower()) if issue is not None else None
        self._found.append(
            RawFinding(
                engine="bandit",
                code=code,
                rule=rule.name,
                line=(issue.lineno if issue is not None else None) or node.lineno,
                column=node.col_offset + 1,
                end_line=node.end_lineno or node.lineno,
                message=message,
                # A constant command line is a habit to break, not an injection.
                severity=Severity.LOW if literal else None,
                confidence=confidence,
            )
        )
