"""A module's public names, from griffe's view of its syntax tree and from the bodies."""

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sutazai.analysis.documentation.bodies import Bodies
from sutazai.analysis.documentation.model import AnyFunction, Kind, Output, Parameter, Symbol
from sutazai.analysis.documentation.outputs import returned, uses, yielded
from sutazai.analysis.engines.secrets import scan_text
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.redaction import Redactor
from sutazai.analysis.rules.secrets import find_secrets
from sutazai.analysis.source import Source, SourceError

if TYPE_CHECKING:
    import griffe

_LONGEST_VALUE = 120
_LONGEST_SIGNATURE = 2_000
_BOUND = {"self", "cls", "mcs", "metacls"}


class Documented(msgspec.Struct, kw_only=True):
    """A file with its names; `root` is the folder that `module` is imported from."""

    source: Source
    module: Module
    symbol: Symbol
    bodies: Bodies
    redactor: Redactor
    root: str


def read_symbols(source: Source, name: str, root: str) -> Documented:
    """All names of a module, public or not. Raises SourceError for what cannot be read."""
    import griffe

    module = parse(source)
    redactor = Redactor(source, [*scan_text(source), *find_secrets(module)])
    visitor = griffe.Visitor(
        name, Path(source.file.lstrip("/") or "inline.py"), source.text, griffe.load_extensions()
    )
    try:
        visitor.visit(module.tree)
    except RecursionError:
        raise SourceError("nested too deeply to be documented") from None
    bodies = Bodies(module)
    reader = _Reader(source, module, bodies, redactor)
    symbol = reader.module_symbol(visitor.current.module, name)
    return Documented(
        source=source, module=module, symbol=symbol, bodies=bodies, redactor=redactor, root=root
    )


class _Reader:
    def __init__(self, source: Source, module: Module, bodies: Bodies, redactor: Redactor) -> None:
        self._source = source
        self._module = module
        self._bodies = bodies
        self._redactor = redactor
        self._definitions: dict[tuple[str, int], ast.ClassDef | AnyFunction] = {}
        nodes: list[ast.ClassDef | AnyFunction] = [*module.of(ast.ClassDef)]
        nodes += [*module.of(ast.FunctionDef), *module.of(ast.AsyncFunctionDef)]
        for node in nodes:
            start = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            self._definitions[node.name, start] = node
            self._definitions[node.name, node.lineno] = node

    def module_symbol(self, seen: "griffe.Module", name: str) -> Symbol:
        import griffe

        tree = self._module.tree
        symbol = Symbol(
            kind=Kind.MODULE,
            name=name.rpartition(".")[2],
            path=name,
            file=self._source.file,
            line=1,
            public=not any(part.startswith("_") and part != "__main__" for part in name.split(".")),
            node=tree,
        )
        self._read_docstring(symbol, tree)
        symbol.members = self._members(seen, name, public=symbol.public)
        for exported in seen.exports or ():
            member = seen.members.get(str(exported))
            if isinstance(member, griffe.Alias):
                symbol.exports[str(exported)] = member.target_path
        return symbol

    def _members(
        self, seen: "griffe.Module | griffe.Class", path: str, *, public: bool
    ) -> list[Symbol]:
        found = []
        for name, member in seen.members.items():
            if member.is_alias or member.lineno is None:
                continue
            made = self._member(member, f"{path}.{name}", public=public)
            if made is not None:
                found.append(made)
        return sorted(found, key=lambda symbol: symbol.line)

    def _member(
        self, seen: "griffe.Object | griffe.Alias", path: str, *, public: bool
    ) -> Symbol | None:
        line = seen.lineno or 1
        node = self._definitions.get((seen.name, line))
        is_public = public and bool(seen.is_public) and not _is_magic(seen.name)
        if isinstance(node, ast.ClassDef):
            return self._class(node, seen, path, is_public)
        if node is not None:
            return self._function(node, seen, path, is_public)
        return self._attribute(seen, path, is_public) if seen.is_attribute else None

    def _class(
        self, node: ast.ClassDef, seen: "griffe.Object | griffe.Alias", path: str, public: bool
    ) -> Symbol:
        symbol = Symbol(
            kind=Kind.CLASS,
            name=node.name,
            path=path,
            file=self._source.file,
            line=node.lineno,
            public=public,
            node=node,
            bases=[self._shown(base) for base in node.bases],
            labels=[ast.unparse(one)[:_LONGEST_VALUE] for one in node.decorator_list],
        )
        self._read_docstring(symbol, node)
        if not isinstance(seen.members, dict) or not seen.is_class:
            return symbol
        symbol.members = self._members(seen, path, public=public)  # type: ignore[arg-type]  # a class, says the line above
        start = next((one for one in symbol.members if one.name == "__init__"), None)
        if start is not None:
            symbol.parameters, symbol.raises = start.parameters, start.raises
        elif any("dataclass" in label for label in symbol.labels):
            symbol.parameters = [
                Parameter(
                    name=one.name,
                    shown=one.name,
                    annotation=one.annotation,
                    default=one.value,
                    use="",
                )
                for one in symbol.members
                if one.kind is Kind.ATTRIBUTE
                and one.annotation
                and "ClassVar" not in one.annotation
            ]
        shown = ", ".join(_in_signature(one) for one in symbol.parameters)
        symbol.signature = f"class {node.name}({shown})" if shown else f"class {node.name}"
        return symbol

    def _function(
        self, node: AnyFunction, seen: "griffe.Object | griffe.Alias", path: str, public: bool
    ) -> Symbol:
        in_class = seen.parent is not None and seen.parent.is_class
        kind = Kind.METHOD if in_class else Kind.FUNCTION
        if "property" in seen.labels or "cached" in seen.labels:
            kind = Kind.PROPERTY
        symbol = Symbol(
            kind=kind,
            name=node.name,
            path=path,
            file=self._source.file,
            line=node.lineno,
            public=public,
            node=node,
            labels=sorted(seen.labels),
            parameters=self._parameters(node, bound=in_class and "staticmethod" not in seen.labels),
            returns=self._masked(returned(node)),
            yields=self._masked(yielded(node)),
            raises=[
                msgspec.structs.replace(one, when=self._redactor.text(one.when))
                for one in self._bodies.raises(node)
            ],
        )
        shown = self._redactor.text(f"({ast.unparse(node.args)})")
        if node.returns is not None:
            shown += f" -> {ast.unparse(node.returns)}"
        prefix = "async def " if isinstance(node, ast.AsyncFunctionDef) else "def "
        symbol.signature = f"{prefix}{node.name}{shown}"[:_LONGEST_SIGNATURE]
        self._read_docstring(symbol, node)
        return symbol

    def _masked(self, output: Output | None) -> Output | None:
        if output is None:
            return None
        return Output(type=output.type, what=self._redactor.text(output.what))

    def _parameters(self, node: AnyFunction, *, bound: bool) -> list[Parameter]:
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        missing = len(positional) - len(arguments.defaults)
        defaults: list[ast.expr | None] = [*[None] * missing, *arguments.defaults]
        rows = [(one, one.arg, default) for one, default in zip(positional, defaults, strict=True)]
        if bound and rows and rows[0][1] in _BOUND:
            del rows[0]
        if arguments.vararg:
            rows.append((arguments.vararg, f"*{arguments.vararg.arg}", None))
        rows += [
            (one, one.arg, default)
            for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        ]
        if arguments.kwarg:
            rows.append((arguments.kwarg, f"**{arguments.kwarg.arg}", None))
        use = uses({one.arg for one, _, _ in rows}, node, self._module)
        return [
            Parameter(
                name=one.arg,
                shown=shown,
                annotation=self._shown(one.annotation) if one.annotation else None,
                default=self._shown(default) if default is not None else None,
                use=self._redactor.text(use.get(one.arg, "")),
                variadic=shown.startswith("*"),
            )
            for one, shown, default in rows
        ]

    def _attribute(
        self, seen: "griffe.Object | griffe.Alias", path: str, public: bool
    ) -> Symbol | None:
        value, annotation = getattr(seen, "value", None), getattr(seen, "annotation", None)
        if seen.name == "__all__":
            return None
        shown = self._redactor.text(" ".join(str(value).split())) if value is not None else None
        symbol = Symbol(
            kind=Kind.ATTRIBUTE,
            name=seen.name,
            path=path,
            file=self._source.file,
            line=seen.lineno or 1,
            public=public,
            value=shown if shown is None or len(shown) <= _LONGEST_VALUE else "…",
            annotation=str(annotation) if annotation is not None else None,
            labels=sorted(seen.labels),
        )
        if seen.docstring is not None:
            symbol.docstring = self._redactor.text(seen.docstring.value)
            symbol.doc_line = seen.docstring.lineno or symbol.line
        return symbol

    def _read_docstring(
        self, symbol: Symbol, node: ast.Module | ast.ClassDef | AnyFunction
    ) -> None:
        text = ast.get_docstring(node, clean=True)
        if text is not None and text.strip():
            symbol.docstring = text
            symbol.doc_line = node.body[0].lineno

    def _shown(self, expression: ast.expr) -> str:
        text = self._redactor.text(" ".join(ast.unparse(expression).split()))
        return text if len(text) <= _LONGEST_VALUE else "…"


def _in_signature(parameter: Parameter) -> str:
    text = parameter.shown
    if parameter.annotation:
        text += f": {parameter.annotation}"
    if parameter.default is not None:
        text += f" = {parameter.default}" if parameter.annotation else f"={parameter.default}"
    return text


def _is_magic(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
