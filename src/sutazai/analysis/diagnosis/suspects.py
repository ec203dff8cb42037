"""Who may be to blame: places with reasons, ranked."""

import ast
import builtins
import difflib
import re
from collections.abc import Iterator, Sequence

import msgspec

from sutazai.analysis.diagnosis.expressions import Failing, name_of
from sutazai.analysis.diagnosis.origins import Origin, Origins, Spot, falls_through, shown
from sutazai.analysis.diagnosis.project import File, Project
from sutazai.analysis.diagnosis.tracebacks import Failure
from sutazai.analysis.documentation.bodies import own_nodes

_MOST = 15
_NEAR = 0.6
_GIVES_NONE = {
    "sort", "append", "extend", "insert", "remove", "reverse", "clear", "update", "add", "discard",
    "print", "setdefault_", "shuffle", "seed", "put", "put_nowait", "writelines",
}  # fmt: skip
_MAY_GIVE_NONE = {"match", "search", "fullmatch", "which", "first", "one_or_none",
                  "find_spec", "scalar", "fetchone", "poll", "getmodule"}  # fmt: skip
_GIVES_TEXT = {"input", "getenv", "read", "readline", "readlines", "get", "strip", "split"}
_MUTATES = {"append", "extend", "insert", "add", "update", "pop", "remove", "clear", "setdefault",
            "discard", "popitem", "sort"}  # fmt: skip


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A line that may be the cause: `code` is what stands there, `score` is for the order alone."""

    kind: str
    file: str
    line: int
    code: str
    reason: str
    score: float


class Suspects:
    """Collects them for one failure. `calls` are its frames in the source, outermost first."""

    def __init__(
        self, project: Project, failure: Failure, calls: Sequence[Spot], failing: Failing | None
    ) -> None:
        self._project = project
        self._failure = failure
        self._calls = calls
        self._failing = failing
        self._origins = Origins(project, calls)
        self._found: dict[tuple[str, int], Suspect] = {}

    def ranked(self, changed: dict[str, set[int]]) -> list[Suspect]:
        """The suspects, the likeliest first. `changed` are the lines of a recent diff, by file."""
        self._collect()
        raised = [self._with_diff(one, changed) for one in self._found.values()]
        return sorted(raised, key=lambda one: (-one.score, one.file, one.line))[:_MOST]

    def _with_diff(self, one: Suspect, changed: dict[str, set[int]]) -> Suspect:
        name = one.file.lstrip("/")
        lines = next(
            (
                lines
                for path, lines in changed.items()
                if name == path or name.endswith(f"/{path}") or path.endswith(f"/{name}")
            ),
            set[int](),
        )
        if one.line in lines:
            reason = f"{one.reason} The diff changes this line."
            return msgspec.structs.replace(one, score=one.score + 5, reason=reason)
        if any(abs(one.line - line) <= 3 for line in lines):
            reason = f"{one.reason} The diff changes lines beside it."
            return msgspec.structs.replace(one, score=one.score + 2, reason=reason)
        return one

    def _add(self, kind: str, file: File, line: int, reason: str, score: float) -> None:
        """Note one; of two reasons for a line the stronger stands."""
        quote = file.quote(line)
        if not quote:
            return
        key = (file.name, line)
        if key in self._found and self._found[key].score >= score:
            return
        self._found[key] = Suspect(
            kind=kind,
            file=file.name,
            line=line,
            code=quote,
            reason=file.redactor.text(reason),
            score=score,
        )

    def _collect(self) -> None:
        if not self._calls:
            return
        last = self._calls[-1]
        self._add("failing-line", last.file, last.line, "It fails here.", 1.0)
        for distance, spot in enumerate(reversed(self._calls[:-1]), 1):
            reason = "It calls what fails."
            self._add("caller", spot.file, spot.line, reason, max(0.1, 0.8 - distance / 10))
        failing = self._failing
        if failing is None:
            return
        name, message = self._failure.name, self._failure.message
        if isinstance(failing.statement, ast.Raise):
            self._raised_on_purpose(failing.statement, last)
        elif "NoneType" in message:
            self._none(failing, last)
        elif name == "KeyError":
            self._key(failing, last)
        elif name == "IndexError":
            self._index(failing, last)
        elif name == "ZeroDivisionError":
            self._zero(failing, last)
        elif name in ("NameError", "UnboundLocalError"):
            self._unbound(failing, last)
        elif name == "AttributeError":
            self._missing_attribute(failing, last)
        elif name in ("ImportError", "ModuleNotFoundError"):
            self._import(last)
        elif name == "AssertionError":
            self._assertion(failing, last)
        elif name in ("TypeError", "ValueError"):
            self._type(failing, last)
        self._mutable_defaults()

    def _of(self, expression: ast.expr | None, spot: Spot) -> list[Origin]:
        return self._origins.of(expression, spot) if expression is not None else []

    def _none(self, failing: Failing, last: Spot) -> None:
        culprit = failing.culprit
        if culprit is None:
            return
        what = shown(culprit)
        for one in self._of(culprit, last):
            score = 9.0 - one.steps * 0.3
            value = one.expression
            if value is None:
                self._add(
                    "returns-none", one.file, one.line, f"{one.how}: {what} is None then.", score
                )
                for line in _ends(one.file, one.line):
                    reason = f"Nothing is returned after this, so that {what} is None."
                    self._add("returns-none", one.file, line, reason, score - 0.5)
            elif isinstance(value, ast.Constant) and value.value is None:
                self._add("none", one.file, one.line, f"None {one.how or 'is used'}.", score)
            elif isinstance(value, ast.Call):
                self._none_of_call(one, value, what, score)

    def _none_of_call(self, one: Origin, call: ast.Call, what: str, score: float) -> None:
        name = name_of(call.func)
        if self._project.functions(name):
            return  # what it returns is looked at itself
        if name in _GIVES_NONE and isinstance(call.func, ast.Attribute):
            reason = f"`{name}` changes its object and returns None, which {one.how or 'is used'}."
            self._add("method-returns-none", one.file, one.line, reason, score + 0.5)
        elif name in _MAY_GIVE_NONE or (name in ("get", "getenv") and len(call.args) < 2):
            reason = f"{shown(call)} gives None where it finds nothing; it {one.how or 'is used'}."
            self._add("may-be-none", one.file, one.line, reason, score)
        elif name == "next" and len(call.args) == 2:
            self._add(
                "may-be-none", one.file, one.line, f"{shown(call)} may give its default.", score
            )

    def _key(self, failing: Failing, last: Spot) -> None:
        key = self._failure.message.strip()
        expression = failing.expression
        for one in self._of(failing.culprit, last):
            if isinstance(one.expression, ast.Dict):
                keys = [ast.unparse(name) for name in one.expression.keys if name is not None]
                near = difflib.get_close_matches(key, keys, 1, _NEAR)
                hint = f" {near[0]} is written much like it." if near else ""
                listed = ", ".join(keys[:6]) or "none"
                reason = f"The dictionary has no key {key} (it has {listed}).{hint}"
                self._add(
                    "missing-key", one.file, one.line, reason, 8.5 - one.steps * 0.3 + bool(near)
                )
            elif isinstance(one.expression, ast.Call):
                reason = f"{shown(one.expression)} gives the dictionary, which lacks {key}."
                self._add("missing-key", one.file, one.line, reason, 5.0 - one.steps * 0.3)
        if isinstance(expression, ast.Subscript) and not isinstance(expression.slice, ast.Constant):
            for one in self._of(expression.slice, last):
                said = one.expression is not None and shown(one.expression)
                reason = f"The key {key} comes from here: {said} {one.how}." if said else one.how
                certain = (
                    isinstance(one.expression, ast.Constant) and repr(one.expression.value) == key
                )
                self._add(
                    "wrong-key", one.file, one.line, reason, 6.0 + 2 * certain - one.steps * 0.3
                )

    def _index(self, failing: Failing, last: Spot) -> None:
        expression = failing.expression
        index = expression.slice if isinstance(expression, ast.Subscript) else None
        if isinstance(index, ast.BinOp) and isinstance(index.op, ast.Add):
            reason = f"{shown(index)} is one past the end in the last round."
            self._add("off-by-one", last.file, last.line, reason, 7.5)
        if isinstance(index, ast.Call) and name_of(index.func) == "len":
            reason = "The last index is one less than the length."
            self._add("off-by-one", last.file, last.line, reason, 9.0)
        for one in self._of(index, last) if index is not None else []:
            if isinstance(one.expression, ast.Call) and name_of(one.expression.func) == "range":
                text = ast.unparse(one.expression)
                if re.search(r"len\(.{1,100}\) \+ 1\b", text):
                    reason = f"`{text}` goes one past the end."
                    self._add("off-by-one", one.file, one.line, reason, 9.0)
        if last.function is not None:
            for node in own_nodes(last.function):
                if isinstance(node, ast.While) and re.search(r"<= len\(", ast.unparse(node.test)):
                    reason = f"{shown(node.test)} lets the index reach the length."
                    self._add("off-by-one", last.file, node.lineno, reason, 9.0)
        for one in self._of(failing.culprit, last):
            value = one.expression
            if isinstance(value, ast.List | ast.Tuple):
                reason = f"It has {len(value.elts)} elements, and {one.how or 'is indexed'}."
                self._add("too-short", one.file, one.line, reason, 7.0 - one.steps * 0.3)
            elif isinstance(value, ast.Call) and name_of(value.func) in (
                "split",
                "findall",
                "sorted",
            ):
                reason = f"{shown(value)} may give fewer elements than are taken."
                self._add("too-short", one.file, one.line, reason, 7.5 - one.steps * 0.3)
            elif isinstance(value, ast.Call | ast.ListComp):
                reason = f"{shown(value)} may give nothing; it {one.how or 'is indexed'}."
                self._add("too-short", one.file, one.line, reason, 5.5 - one.steps * 0.3)

    def _zero(self, failing: Failing, last: Spot) -> None:
        culprit = failing.culprit
        origins = self._of(culprit, last)
        if isinstance(culprit, ast.Call):
            reason = f"{shown(culprit)} is zero here, and nothing asks before."
            self._add("zero", last.file, last.line, reason, 8.0)
            if culprit.args:
                origins += self._of(culprit.args[0], last)
        for one in origins:
            value = one.expression
            if isinstance(value, ast.Constant) and value.value == 0:
                self._add(
                    "zero",
                    one.file,
                    one.line,
                    f"Zero {one.how or 'is used'}.",
                    8.5 - one.steps * 0.3,
                )
            elif (
                isinstance(value, ast.List | ast.Tuple | ast.Dict) and not ast.unparse(value)[1:-1]
            ):
                reason = f"It is empty, and {one.how or 'is used'}."
                self._add("zero", one.file, one.line, reason, 8.5 - one.steps * 0.3)
            elif isinstance(value, ast.Call) and name_of(value.func) in (
                "len",
                "sum",
                "count",
                "int",
            ):
                reason = f"{shown(value)} may be zero; it {one.how or 'is used'}."
                self._add("zero", one.file, one.line, reason, 7.0 - one.steps * 0.3)

    def _unbound(self, failing: Failing, last: Spot) -> None:
        expression = failing.expression
        if not isinstance(expression, ast.Name):
            return
        name = expression.id
        known = {
            node.id for node in last.file.module.of(ast.Name) if isinstance(node.ctx, ast.Store)
        }
        known |= {one.name for one in last.file.module.of(ast.FunctionDef)}
        known |= {one.name for one in last.file.module.of(ast.ClassDef)}
        known |= {*last.file.module.imported, *dir(builtins)} - {name}
        if last.function is not None and self._failure.name == "UnboundLocalError":
            for node in own_nodes(last.function):
                if (
                    isinstance(node, ast.Name)
                    and node.id == name
                    and isinstance(node.ctx, ast.Store)
                ):
                    reason = f"`{name}` is assigned only here, which is not always run before."
                    self._add("not-always-assigned", last.file, node.lineno, reason, 8.0)
            return
        near = difflib.get_close_matches(name, known, 1, 0.75)
        hint = f" `{near[0]}` is written much like it." if near else " Is an import missing?"
        reason = f"Nothing in the file is called `{name}`.{hint}"
        self._add("unknown-name", last.file, last.line, reason, 8.5)

    def _missing_attribute(self, failing: Failing, last: Spot) -> None:
        expression = failing.expression
        if not isinstance(expression, ast.Attribute):
            return
        found = re.search(
            r"(?:'|type object ')(\w{1,200})' object has no|module '([\w.]{1,200})'",
            self._failure.message,
        )
        owner = (found[1] or found[2] or "") if found is not None else ""
        for file in self._project.files.values():
            if (
                file.name.strip("/").removesuffix(".py").replace("/", ".").endswith(owner)
                and found
                and found[2]
            ):
                reason = f"This file is imported as `{owner}`; it may hide a module of that name."
                self._add("shadowing", file, 1, reason, 9.0)
            for definition in file.module.of(ast.ClassDef):
                if definition.name != owner:
                    continue
                names = {
                    node.attr for node in ast.walk(definition) if isinstance(node, ast.Attribute)
                }
                names |= {
                    node.name for node in definition.body if isinstance(node, ast.FunctionDef)
                }
                near = difflib.get_close_matches(
                    expression.attr, names - {expression.attr}, 1, _NEAR
                )
                hint = f" `{near[0]}` is written much like it." if near else ""
                reason = f"`{owner}` has no `{expression.attr}`.{hint}"
                self._add("unknown-attribute", last.file, last.line, reason, 8.5 if near else 6.0)
                self._add("unknown-attribute", file, definition.lineno, reason, 5.0)
        self._values(failing, last, "has that type")

    def _import(self, last: Spot) -> None:
        reason = "The module or the name in it is not there: not installed, renamed, or in a cycle."
        self._add("import", last.file, last.line, reason, 7.0)

    def _assertion(self, failing: Failing, last: Spot) -> None:
        for node in ast.walk(failing.statement):
            if not isinstance(node, ast.Call):
                continue
            for file, function in self._project.functions(name_of(node.func)):
                for one in own_nodes(function):
                    if isinstance(one, ast.Return):
                        reason = (
                            f"`{function.name}` returns this, and the test expects another value."
                        )
                        self._add("wrong-result", file, one.lineno, reason, 7.0)
                    if isinstance(one, ast.AugAssign):
                        reason = f"`{function.name}` computes its result here."
                        self._add("wrong-result", file, one.lineno, reason, 6.0)
                if falls_through(function.body):
                    reason = f"`{function.name}` can end without returning anything."
                    self._add("returns-none", file, function.lineno, reason, 6.5)
        self._values(failing, last, "is compared")

    def _type(self, failing: Failing, last: Spot) -> None:
        message, expression = self._failure.message, failing.expression
        called = re.search(r"([\w.<>]{1,200})\(\) (?:takes|missing|got)", message)
        if called is not None and isinstance(expression, ast.Call):
            name = called[1].rpartition(".")[2]
            self._add(
                "wrong-arguments",
                last.file,
                last.line,
                f"It does not give what `{name}` takes: {message}.",
                8.0,
            )
            for file, function in self._project.functions(name):
                self._add(
                    "wrong-arguments",
                    file,
                    function.lineno,
                    f"`{name}` takes {shown_arguments(function)}.",
                    7.0,
                )
            return
        if "not callable" in message and isinstance(expression, ast.Call):
            self._not_callable(expression, last)
        self._values(failing, last, "has that type or value")

    def _not_callable(self, call: ast.Call, last: Spot) -> None:
        name = name_of(call.func)
        for one in self._of(call.func, last):
            hidden = " It hides the built-in of that name." if hasattr(builtins, name) else ""
            reason = f"`{name}` is no function here: {one.how or 'it is a value'}.{hidden}"
            self._add("shadowing", one.file, one.line, reason, 9.0)

    def _values(self, failing: Failing, last: Spot, words: str) -> None:
        """Where the wrong value comes from, when all that is known is that it is wrong."""
        for one in self._of(failing.culprit, last):
            value = one.expression
            if value is None:
                self._add("returns-none", one.file, one.line, f"{one.how}.", 6.0)
                continue
            score = 5.5 - one.steps * 0.3
            reason = f"{shown(value)} {one.how or words}."
            if isinstance(value, ast.Call) and name_of(value.func) in _GIVES_TEXT:
                score += 2
                reason = f"{shown(value)} gives text, which {one.how or words}."
            elif isinstance(value, ast.Subscript) and "environ" in ast.unparse(value):
                score += 2
                reason = f"{shown(value)} is always text, and {one.how or words}."
            elif isinstance(value, ast.Constant):
                score += 1.5
            self._add("value", one.file, one.line, reason, score)

    def _raised_on_purpose(self, statement: ast.Raise, last: Spot) -> None:
        """A failing line that is a `raise`: the condition, and who gave the values in it."""
        for above in last.file.module.parents(statement):
            if not isinstance(above, ast.If):
                continue
            reason = f"It is raised because of {shown(above.test)}."
            self._add("condition", last.file, above.lineno, reason, 6.5)
            for name in [node for node in ast.walk(above.test) if isinstance(node, ast.Name)][:3]:
                for one in self._of(name, last):
                    said = f"{shown(one.expression)} " if one.expression is not None else ""
                    reason = f"`{name.id}` in the condition: {said}{one.how}."
                    self._add("value", one.file, one.line, reason, 7.0 - one.steps * 0.3)
            return

    def _mutable_defaults(self) -> None:
        for spot in self._calls:
            if spot.function is None:
                continue
            for name, default in _mutable(spot.function):
                changes = list(_mutations(spot.function, name))
                if changes:
                    reason = (
                        f"The default of `{name}` is one object for all calls, and line "
                        f"{changes[0]} changes it: what one call leaves is there in the next."
                    )
                    self._add("mutable-default", spot.file, default.lineno, reason, 6.0)


def shown_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The parameters of a function in a sentence."""
    return f"`({ast.unparse(function.args)})`"


def _mutable(
    function: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[str, ast.expr]]:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    given = positional[len(positional) - len(arguments.defaults) :]
    pairs = [*zip(given, arguments.defaults, strict=True)]
    for one, kw_default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if kw_default is not None:
            pairs.append((one, kw_default))
    for one, default in pairs:
        made = isinstance(default, ast.Call) and name_of(default.func) in ("list", "dict", "set")
        if isinstance(default, ast.List | ast.Dict | ast.Set) or made:
            yield one.arg, default


def _mutations(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Iterator[int]:
    for node in own_nodes(function):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=method)) if (
                owner == name and method in _MUTATES
            ):
                yield node.lineno
            case ast.Subscript(value=ast.Name(id=owner), ctx=ast.Store() | ast.Del()) if (
                owner == name
            ):
                yield node.lineno
            case ast.AugAssign(target=ast.Name(id=owner)) if owner == name:
                yield node.lineno


def _ends(file: File, line: int) -> list[int]:
    """The last lines of the blocks of a function that end without a return."""
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = [*file.module.of(ast.FunctionDef)]
    functions += file.module.of(ast.AsyncFunctionDef)
    for function in functions:
        if function.lineno == line:
            last = function.body[-1]
            return [last.lineno] if falls_through([last]) else []
    return []
