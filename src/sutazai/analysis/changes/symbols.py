"""Functions and classes that a change adds, removes, renames or gives another signature."""

import ast
import hashlib
from pathlib import PurePosixPath

import msgspec

from sutazai.analysis.changes.model import FileChange, SymbolChange
from sutazai.analysis.parsing import parse
from sutazai.analysis.source import SourceError, looks_like_test, read_source

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Defined = _Function | ast.ClassDef
_LONGEST = 400


class _Symbol(msgspec.Struct, kw_only=True):
    name: str
    kind: str
    line: int
    signature: str
    body: str
    node: _Defined
    public: bool


def changed_symbols(file: FileChange) -> list[SymbolChange] | None:
    """What changed in a Python file; None where a side is unknown or cannot be parsed."""
    if file.before is None or file.after is None:
        return None
    if PurePosixPath(file.path).suffix not in (".py", ".pyi", ".pyw"):
        return None
    try:
        old, new = _symbols(file.old_path, file.before), _symbols(file.path, file.after)
    except SourceError:
        return None
    return _Comparison(file, old, new).changes()


class _Comparison:
    def __init__(self, file: FileChange, old: dict[str, _Symbol], new: dict[str, _Symbol]) -> None:
        self._file = file
        self._old = old
        self._new = new
        self._is_test = looks_like_test(file.path)

    def changes(self) -> list[SymbolChange]:
        gone = [one for name, one in self._old.items() if name not in self._new]
        come = [one for name, one in self._new.items() if name not in self._old]
        found: list[SymbolChange] = []
        for before in list(gone):
            after = next((one for one in come if _is_renamed(before, one)), None)
            if after is not None:
                gone.remove(before)
                come.remove(after)
                found.append(self._change("renamed", before, after, "its old name is gone"))
        # What goes with its class or comes with it is not told again.
        lost, made = {one.name for one in gone}, {one.name for one in come}
        found += [
            self._change("removed", one, None, "it is gone")
            for one in gone
            if one.name.rpartition(".")[0] not in lost
        ]
        found += [
            self._change("added", None, one, "")
            for one in come
            if one.name.rpartition(".")[0] not in made
        ]
        for name, after in self._new.items():
            before_same = self._old.get(name)
            if before_same is None:
                continue
            if before_same.signature != after.signature:
                reason = _breaks(before_same.node, after.node)
                found.append(self._change("signature", before_same, after, reason))
            elif before_same.body != after.body and after.kind != "class":
                found.append(self._change("body", before_same, after, ""))
        return sorted(found, key=lambda one: (one.line or one.old_line or 0, one.symbol))

    def _change(
        self, change: str, before: _Symbol | None, after: _Symbol | None, reason: str
    ) -> SymbolChange:
        known = after or before
        assert known is not None
        is_public = (before or known).public and not self._is_test
        return SymbolChange(
            change=change,
            kind=known.kind,
            symbol=known.name,
            file=self._file.path,
            line=after.line if after else None,
            old_line=before.line if before else None,
            before=before.signature if before else None,
            after=after.signature if after else None,
            public=is_public,
            breaking=reason if is_public else "",
        )


def _is_renamed(before: _Symbol, after: _Symbol) -> bool:
    same_place = before.name.rpartition(".")[0] == after.name.rpartition(".")[0]
    return (
        before.kind == after.kind and before.body == after.body and same_place and bool(before.body)
    )


def _symbols(path: str, text: str) -> dict[str, _Symbol]:
    tree = parse(read_source(path, text.encode("utf-8", "replace"), "python")).tree
    found: dict[str, _Symbol] = {}
    exported = _exported(tree)
    pending: list[tuple[ast.stmt, str, bool, bool]] = [
        (node, "", True, False) for node in reversed(tree.body)
    ]
    while pending:
        node, prefix, public, in_class = pending.pop()
        if isinstance(node, ast.If | ast.Try):
            inner = [*node.body, *node.orelse]
            pending += [(one, prefix, public, in_class) for one in reversed(inner)]
        if not isinstance(node, _Defined):
            continue
        name = f"{prefix}{node.name}"
        shown = public and (not node.name.startswith("_") or node.name == "__init__")
        if exported is not None and not prefix:
            shown = node.name in exported
        is_class = isinstance(node, ast.ClassDef)
        found[name] = _Symbol(
            name=name,
            kind="class" if is_class else "method" if in_class else "function",
            line=node.lineno,
            signature=_signature(node),
            body=_body(node),
            node=node,
            public=shown,
        )
        if is_class:
            pending += [(one, f"{name}.", shown, True) for one in reversed(node.body)]
    return found


def _exported(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id="__all__")], value=ast.List() | ast.Tuple() as names
            ):
                return {
                    one.value
                    for one in names.elts
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return None


def _signature(node: _Defined) -> str:
    decorators = "".join(f"@{ast.unparse(one)} " for one in node.decorator_list)
    if isinstance(node, ast.ClassDef):
        bases = [ast.unparse(one) for one in (*node.bases, *(one.value for one in node.keywords))]
        text = f"class {node.name}({', '.join(bases)})" if bases else f"class {node.name}"
    else:
        prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        text = f"{prefix} {node.name}({ast.unparse(node.args)})"
        if node.returns is not None:
            text += f" -> {ast.unparse(node.returns)}"
    return (decorators + text)[:_LONGEST]


def _body(node: _Defined) -> str:
    """A digest of what a body does, docstring aside; empty where there is next to nothing."""
    body = node.body
    match body[0]:
        case ast.Expr(value=ast.Constant(value=str())):
            body = body[1:]
    text = "\n".join(ast.dump(one) for one in body)
    if len(text) < 40:
        return ""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _breaks(before: _Defined, after: _Defined) -> str:
    """Why callers of the old signature may fail with the new one; empty where they do not."""
    if isinstance(before, ast.ClassDef) or isinstance(after, ast.ClassDef):
        old = {ast.unparse(one) for one in getattr(before, "bases", ())}
        new = {ast.unparse(one) for one in getattr(after, "bases", ())}
        gone = old - new
        return f"it is no longer a {', '.join(sorted(gone))}" if gone else ""
    if isinstance(before, ast.AsyncFunctionDef) != isinstance(after, ast.AsyncFunctionDef):
        return (
            "it has to be awaited now"
            if isinstance(after, ast.AsyncFunctionDef)
            else "it cannot be awaited any more"
        )
    old_arguments, new_arguments = before.args, after.args
    old_positional = [one.arg for one in (*old_arguments.posonlyargs, *old_arguments.args)]
    new_positional = [one.arg for one in (*new_arguments.posonlyargs, *new_arguments.args)]
    old_keywords = [one.arg for one in old_arguments.kwonlyargs]
    new_keywords = [one.arg for one in new_arguments.kwonlyargs]
    gone = {*old_positional, *old_keywords} - {*new_positional, *new_keywords}
    if gone and new_arguments.kwarg is None:
        return (
            f"{_listed(gone)} is taken no more"
            if len(gone) == 1
            else f"{_listed(gone)} are taken no more"
        )
    moved_to_keywords = set(old_positional) & set(new_keywords)
    if moved_to_keywords:
        return f"{_listed(moved_to_keywords)} can be given by keyword alone"
    required = _required(after) - _required(before)
    fresh = required - {*old_positional, *old_keywords}
    if fresh:
        return f"{_listed(fresh)} must be given"
    if required:
        return f"{_listed(required)} has no default any more"
    kept = [name for name in new_positional if name in old_positional]
    if kept != [name for name in old_positional if name in kept]:
        return "its parameters stand in another order"
    common = new_positional[: len(old_positional)]
    if common != old_positional and set(common) - set(old_positional):
        return "a parameter stands before older ones"
    if old_arguments.vararg and not new_arguments.vararg:
        return f"`*{old_arguments.vararg.arg}` is taken no more"
    if old_arguments.kwarg and not new_arguments.kwarg:
        return f"`**{old_arguments.kwarg.arg}` is taken no more"
    return ""


def _required(node: _Function) -> set[str]:
    arguments = node.args
    positional = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    needed = positional[: len(positional) - len(arguments.defaults)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {*needed, *(one.arg for one, default in keywords if default is None)}


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
