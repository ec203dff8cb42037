"""Source text to one indexed syntax tree, whatever Python version the text was written for."""

import ast
import warnings
from collections.abc import Iterator
from typing import TypeVar

from sutazai.analysis.source import Source, SourceError

Node = TypeVar("Node", bound=ast.AST)

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
# The attribute in which bandit's plugins look for a node's parent; so do we.
_PARENT = "_bandit_parent"
# Context markers carry no position and are shared between trees: walking them is wasted time.
_SKIPPED = (ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop)


class Module:
    """A parsed file: its nodes in source order, by type, each knowing its parent."""

    def __init__(self, source: Source, tree: ast.Module) -> None:
        self.source = source
        self.tree = tree
        self.nodes: list[ast.AST] = []
        # Class and line of what a rule has looked into and found harmless, whatever others say.
        self.cleared: set[tuple[str, int]] = set()
        # Class and line of what our own rules found, for judging what others say.
        self.confirmed: set[tuple[str, int]] = set()
        self._by_type: dict[type[ast.AST], list[ast.AST]] = {}
        self._imported: dict[str, str] | None = None
        self._by_line: dict[int, list[ast.AST]] | None = None
        self._index()

    def _index(self) -> None:
        # A loop with a stack of its own: nesting in a hostile file must not end in RecursionError.
        stack: list[ast.AST] = [self.tree]
        nodes, by_type = self.nodes, self._by_type
        while stack:
            node = stack.pop()
            nodes.append(node)
            by_type.setdefault(type(node), []).append(node)
            children: list[ast.AST] = []
            for field in node._fields:
                value = getattr(node, field, None)
                if isinstance(value, list):
                    children += [item for item in value if isinstance(item, ast.AST)]
                elif isinstance(value, ast.AST) and not isinstance(value, _SKIPPED):
                    children.append(value)
            for child in children:
                setattr(child, _PARENT, node)
            children.reverse()
            stack += children

    def of(self, *types: type[Node]) -> Iterator[Node]:
        """All nodes of exactly these types, type by type, in source order."""
        for kind in types:
            yield from self._by_type.get(kind, ())  # type: ignore[misc]  # filed by their type

    def starting_at(self, line: int, *types: type[Node]) -> list[Node]:
        """All nodes of these types whose first line is `line`."""
        if self._by_line is None:
            self._by_line = {}
            for node in self.nodes:
                self._by_line.setdefault(getattr(node, "lineno", 0), []).append(node)
        return [node for node in self._by_line.get(line, ()) if isinstance(node, types)]

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """From the node's parent up to the module."""
        above = parent(node)
        while above is not None:
            yield above
            above = parent(above)

    def qualified(self, expression: ast.expr) -> str:
        """The dotted name of `a.b.c` with the file's imports resolved; empty for anything else."""
        names: list[str] = []
        node = expression
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        names.append(self.imported.get(node.id, node.id))
        return ".".join(reversed(names))

    @property
    def imported(self) -> dict[str, str]:
        """What each name that an import binds means in full; a plain `import a` is not in it."""
        if self._imported is None:
            self._imported = {}
            for plain in self.of(ast.Import):
                for name in plain.names:
                    if name.asname:
                        self._imported[name.asname] = name.name
            for source in self.of(ast.ImportFrom):
                for name in source.names:
                    full = f"{source.module}.{name.name}" if source.module else name.name
                    self._imported[name.asname or name.name] = full
        return self._imported

    def symbol(self, node: ast.AST) -> str:
        """The dotted name of the enclosing classes and functions; empty at module level."""
        names = [above.name for above in self.parents(node) if isinstance(above, _SCOPES)]
        return ".".join(reversed(names))


def parent(node: ast.AST) -> ast.AST | None:
    """The node around `node`, None for the module."""
    return getattr(node, _PARENT, None)


def enclosing_function(
    node: ast.AST,
) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
    """The innermost function whose body or signature holds `node`."""
    above = parent(node)
    while above is not None and not isinstance(above, _FUNCTIONS):
        above = parent(above)
    return above


def parse(source: Source) -> Module:
    """Parse Python text, newer than the running interpreter's syntax too.

    Raises SourceError with the reason and the line for what no parser here can read.
    """
    try:
        tree = _parse(source.text)
    except SyntaxError as error:
        from sutazai.analysis.newer_syntax import rewrite  # libcst is slow to import

        tree = rewrite(source.text, error)
    return Module(source, tree)


def _parse(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in someone else's code are their affair
            return ast.parse(text)
    except (RecursionError, MemoryError):
        raise SourceError("nested too deeply to be parsed") from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, SyntaxError):
            raise
        raise SourceError(f"not valid Python: {error}") from None
