"""The source that a traceback speaks of: its frames found again, and its functions by name."""

import ast
from collections.abc import Iterator, Sequence

import msgspec

from sutazai.analysis.diagnosis.tracebacks import Frame
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.protocol import Unparsed
from sutazai.analysis.redaction import Redactor
from sutazai.analysis.source import Source, SourceError, excerpt

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef
_NEARBY = 40
_INSTALLED = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ")


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """A frame in the source: `line` is where its code stands now; `moved` if that is another."""

    file: str
    line: int
    moved: bool
    certain: bool


class File(msgspec.Struct, kw_only=True):
    """One Python file that could be parsed."""

    source: Source
    module: Module
    redactor: Redactor

    @property
    def name(self) -> str:
        """Its path as results show it."""
        return self.source.file

    def quote(self, line: int) -> str:
        """Line `line`, without secrets; empty where there is none."""
        return excerpt(self.redactor.line(line), 1)


class Project:
    """All files that were given."""

    def __init__(self, sources: Sequence[Source]) -> None:
        from sutazai.analysis.engines.secrets import scan_text
        from sutazai.analysis.rules.secrets import find_secrets

        self.files: dict[str, File] = {}
        self.unparsed: list[Unparsed] = []
        self._functions: dict[str, list[tuple[File, AnyFunction]]] = {}
        for source in sources:
            try:
                module = parse(source)
            except SourceError as error:
                self.unparsed.append(
                    Unparsed(file=source.file, line=error.line, reason=error.reason)
                )
                continue
            redactor = Redactor(source, [*scan_text(source), *find_secrets(module)])
            file = File(source=source, module=module, redactor=redactor)
            self.files[source.file] = file
            functions: list[AnyFunction] = [*module.of(ast.FunctionDef)]
            functions += module.of(ast.AsyncFunctionDef)
            for function in functions:
                self._functions.setdefault(function.name, []).append((file, function))

    def functions(self, name: str) -> list[tuple[File, AnyFunction]]:
        """Every function and method of that name."""
        return self._functions.get(name, [])

    def locate(self, frame: Frame) -> Located | None:
        """Where a frame is in the source; None for what is not in it."""
        if any(part in frame.file for part in _INSTALLED):
            return None
        wanted = [
            part for part in frame.file.replace("\\", "/").split("/") if part not in ("", ".")
        ]
        best: tuple[int, Located] | None = None
        for file in self.files.values():
            parts = [part for part in file.name.split("/") if part]
            shared = _shared_end(parts, wanted)
            whole = shared == len(parts) or shared == len(wanted)
            found = self._line(file, frame)
            if shared == 0 and not (frame.file.startswith("<") or len(self.files) == 1):
                continue
            if found is None or (not whole and not found.certain):
                continue
            score = shared * 4 + 2 * found.certain + whole
            if best is None or score > best[0]:
                best = score, found
        return best[1] if best is not None else None

    def _line(self, file: File, frame: Frame) -> Located | None:
        lines = file.source.lines
        wanted = frame.code.strip()
        if not wanted:
            inside = 1 <= frame.line <= len(lines)
            return (
                Located(file=file.name, line=frame.line, moved=False, certain=False)
                if inside
                else None
            )
        # The one that was printed, or the nearest that reads the same.
        for distance in range(_NEARBY + 1):
            for line in {frame.line - distance, frame.line + distance}:
                if 1 <= line <= len(lines) and lines[line - 1].strip() == wanted:
                    return Located(file=file.name, line=line, moved=distance > 0, certain=True)
        everywhere = [n for n, line in enumerate(lines, 1) if line.strip() == wanted]
        if len(everywhere) == 1:
            return Located(file=file.name, line=everywhere[0], moved=True, certain=True)
        return None


def _shared_end(one: list[str], other: list[str]) -> int:
    count = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        count += 1
    return count


def statement_at(file: File, line: int) -> ast.stmt | None:
    """The innermost statement that covers a line."""
    best: ast.stmt | None = None
    for node in file.module.nodes:
        if not isinstance(node, ast.stmt):
            continue
        covers = node.lineno <= line <= (node.end_lineno or node.lineno)
        if covers and (best is None or node.lineno >= best.lineno):
            best = node
    return best


def function_around(file: File, node: ast.AST) -> AnyFunction | None:
    """The function that a node is in."""
    for above in file.module.parents(node):
        if isinstance(above, AnyFunction):
            return above
    return None


def own_expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of a statement, outermost first, without those of statements inside it."""
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.expr):
            yield node
        pending += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
        ]
