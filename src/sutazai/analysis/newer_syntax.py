"""Python newer than the interpreter: its new forms rewritten to old ones, line by line in place.

libcst parses the syntax of 3.12 to 3.14 on any interpreter. Each new form is replaced by an older
one with as many newlines before each piece, so every line number stays true:

- type parameters (`def f[T]()`) go, `type X = int` becomes `X = (int)`;
- `except A, B:` gets its parentheses;
- f-strings, which since 3.12 may hold any quotes, become a call that is turned into the tree of an
  f-string after parsing; t-strings become a tuple of their parts, for they format nothing.
"""

import ast
import re
from collections.abc import Iterator, Sequence

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper

from sutazai.analysis.source import SourceError

# Placeholders no real code uses; the text is refused if it does.
_F_STRING = "__sutazai_formatted__"
_T_STRING = "__sutazai_template__"
_LONGEST = 1_000_000
_DEEPEST = 100
_BRACKETS = re.compile(r"[()\[\]{}]")
_CHAINS = re.compile(
    r"(?:[-+~] ?){100}|(?:not ){100}|(?:\.\w{1,40}){500}|(?:lambda[ \w]{0,40}:){50}"
)

_Edit = tuple[int, int, str]
_Strings = cst.FormattedString | cst.TemplatedString | cst.ConcatenatedString


def rewrite(text: str, error: SyntaxError) -> ast.Module:
    """The tree of `text`, which `ast` refused with `error`. Raises SourceError."""
    refused = SourceError(f"not valid Python: {error.msg}", error.lineno or 1)
    if len(text) > _LONGEST or _F_STRING in text or _T_STRING in text or _is_towering(text):
        raise refused
    try:
        wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
        spans = wrapper.resolve(ByteSpanPositionProvider)
        older = _Rewriter(wrapper.module, spans, text.encode()).run()
        tree = ast.parse(older)
    except (cst.ParserSyntaxError, cst.CSTValidationError, SyntaxError, ValueError):
        raise refused from None
    except (RecursionError, MemoryError):
        raise SourceError("nested too deeply to be parsed") from None
    restored = _Restorer().visit(tree)
    if not isinstance(restored, ast.Module):
        raise refused
    return ast.fix_missing_locations(restored)


def _is_towering(text: str) -> bool:
    """Whether the nesting may overflow libcst's native stack, which would end the process.

    The pool survives even that, at the cost of a worker; this keeps the usual ways away from it.
    """
    if _CHAINS.search(text):
        return True
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        if depth > _DEEPEST:
            return True
    return False


class _Rewriter:
    """Finds the new forms and splices older ones into the text."""

    def __init__(self, module: cst.Module, spans: object, data: bytes) -> None:
        self._module = module
        self._spans = spans
        self._data = data

    def run(self) -> str:
        finder = _Finder()
        self._module.visit(finder)
        edits: list[_Edit] = []
        for node in finder.found:
            edits += self._edits(node)
        return self._splice(0, len(self._data), edits)

    def _span(self, node: cst.CSTNode) -> tuple[int, int]:
        span = self._spans[node]  # type: ignore[index]  # libcst types the mapping loosely
        return span.start, span.start + span.length

    def _edits(self, node: cst.CSTNode) -> list[_Edit]:
        match node:
            case cst.TypeParameters():
                return [self._parameters(node)]
            case cst.TypeAlias():
                return [self._alias(node)]
            case cst.Tuple():
                start, end = self._span(node)
                return [(start, start, "("), (end, end, ")")]
            case cst.FormattedString() | cst.TemplatedString() | cst.ConcatenatedString():
                start, end = self._span(node)
                return [(start, end, self._string(node))]
            case _:
                return []

    def _parameters(self, node: cst.TypeParameters) -> _Edit:
        start, end = self._span(node)
        newlines = self._newlines(start, end)
        rest = self._data[end:].lstrip(b" \t")
        if not newlines:
            return start, end, ""
        # A newline is only allowed inside parentheses: those that follow, or a pair of our own.
        if rest.startswith(b"("):
            after = len(self._data) - len(rest) + 1
            return start, after, "(" + newlines
        return start, end, "(" + newlines + ")"

    def _alias(self, node: cst.TypeAlias) -> _Edit:
        start, end = self._span(node)
        value, value_end = self._span(node.value)
        written = self._data[value:value_end].decode()
        padding = self._newlines(start, value)
        after = self._newlines(value_end, end)
        return start, end, f"{node.name.value} = ({padding}{written}{after})"

    def _string(self, node: _Strings) -> str:
        """A call of the placeholder with the string's pieces, each on the line it stood on."""
        start, end = self._span(node)
        pieces = list(self._pieces(node))
        is_template = any(isinstance(part, cst.TemplatedString) for part in _parts(node))
        output = [_T_STRING if is_template else _F_STRING, "("]
        position = start
        for piece_start, piece_end, written in pieces:
            output.append(self._newlines(position, piece_start))
            output += [written, ", "]
            # What was written holds its own newlines, which may be fewer than the source's.
            missing = self._data.count(b"\n", piece_start, piece_end) - written.count("\n")
            output.append("\n" * max(0, missing))
            position = piece_end
        output += [self._newlines(position, end), ")"]
        return "".join(output)

    def _pieces(self, node: cst.CSTNode) -> Iterator[tuple[int, int, str]]:
        for part in _parts(node):
            start, end = self._span(part)
            if isinstance(part, cst.SimpleString):
                yield start, end, part.value
                continue
            yield from self._contents(_children_of(part))

    def _contents(self, contents: Sequence[cst.CSTNode]) -> Iterator[tuple[int, int, str]]:
        for content in contents:
            start, end = self._span(content)
            expression = getattr(content, "expression", None)
            if expression is None:
                yield start, end, repr(self._data[start:end].decode())
                continue
            first, last = self._span(expression)
            nested = _Finder()
            expression.visit(nested)
            edits = [edit for found in nested.found for edit in self._edits(found)]
            # The set marks an expression, so that a constant in it is not taken for text.
            yield first, last, "{(" + self._splice(first, last, edits) + ")}"
            yield from self._contents(getattr(content, "format_spec", None) or ())

    def _splice(self, start: int, end: int, edits: list[_Edit]) -> str:
        output: list[str] = []
        position = start
        for first, last, written in sorted(edits, key=lambda edit: (edit[0], edit[1])):
            output += [self._data[position:first].decode(), written]
            position = last
        output.append(self._data[position:end].decode())
        return "".join(output)

    def _newlines(self, start: int, end: int) -> str:
        return "\n" * self._data.count(b"\n", start, end)


class _Finder(cst.CSTVisitor):
    """The nodes to rewrite, outermost only where strings nest."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        match node:
            case cst.ExceptHandler(type=caught) | cst.ExceptStarHandler(type=caught):
                if isinstance(caught, cst.Tuple) and not caught.lpar:
                    self.found.append(caught)
                return True
            case cst.ConcatenatedString():
                if any(not isinstance(part, cst.SimpleString) for part in _parts(node)):
                    self.found.append(node)
                return False
            case (
                cst.TypeParameters()
                | cst.TypeAlias()
                | cst.FormattedString()
                | cst.TemplatedString()
            ):
                self.found.append(node)
                return False
            case _:
                return True


class _Restorer(ast.NodeTransformer):
    """Turns the placeholder calls back into the tree of a formatted string."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id=name), args=arguments) if name == _F_STRING:
                string = ast.JoinedStr(values=[_value_of(argument) for argument in arguments])
                return ast.copy_location(string, node)
            case ast.Call(func=ast.Name(id=name), args=arguments) if name == _T_STRING:
                parts = ast.Tuple(elts=arguments, ctx=ast.Load())
                return ast.copy_location(parts, node)
            case _:
                return node


def _value_of(argument: ast.expr) -> ast.expr:
    match argument:
        case ast.Set(elts=[inner]):
            value = ast.FormattedValue(value=inner, conversion=-1, format_spec=None)
            return ast.copy_location(value, argument)
        case _:
            return argument


def _parts(node: cst.CSTNode) -> list[cst.CSTNode]:
    parts: list[cst.CSTNode] = []
    while isinstance(node, cst.ConcatenatedString):
        parts.append(node.left)
        node = node.right
    return [*parts, node]


def _children_of(part: cst.CSTNode) -> Sequence[cst.CSTNode]:
    if isinstance(part, cst.FormattedString | cst.TemplatedString):
        return part.parts
    return ()
