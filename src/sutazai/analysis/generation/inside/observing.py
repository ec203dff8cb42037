"""Running one case and writing down, as assertions, what came of it."""

import asyncio
import inspect
import io
import itertools
import re
import shutil
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from sutazai.analysis.generation.inside import cases
from sutazai.analysis.generation.inside.cases import Script, snake
from sutazai.analysis.generation.inside.describing import Describer, Told
from sutazai.analysis.generation.inside.forks import (
    STDIN,
    Alarm,
    Builtins,
    OutOfTime,
    has_children,
)
from sutazai.analysis.generation.inside.tracing import Tracer
from sutazai.analysis.generation.inside.values import MODULE
from sutazai.analysis.generation.inside.watching import Watch

_MOST_YIELDED = 20
_FEW_YIELDED = 5
# What nobody asks for on purpose: wrong types handed in, not behaviour.
_ACCIDENTS = (TypeError, AttributeError, NameError, RecursionError, MemoryError, SyntaxError,
              UnboundLocalError, SystemError, ImportError, AssertionError)  # fmt: skip


TOO_LONG = "takes too long"


_NO_OPERATOR = re.compile("not supported between instances|unsupported operand type")
_FUNCTION = re.compile("func|fn|function|f|method|callback|handler|wrapped|cls|key|predicate")


class Discarded(Exception):
    """A case that says nothing worth asserting; the message says why."""


class Folder:
    """A folder for temporary files that is made when it is first asked for: most never do."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def made(self) -> Path:
        """Where it is."""
        if self.path is None:
            self.path = Path(tempfile.mkdtemp(prefix="case-"))
        return self.path

    def remove(self) -> None:
        """Take it away again."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)


class Namespace(dict[str, Any]):
    """The names that a test's text may use: fixtures, helpers, modules, the module under test."""

    def __init__(self, module: types.ModuleType) -> None:
        super().__init__({MODULE: module, "pytest": pytest, "re": re, "capsys": _Captured()})
        self.folder = Folder()
        self.patch = pytest.MonkeyPatch()
        self["monkeypatch"] = self.patch

    def __missing__(self, name: str) -> Any:
        if name == "tmp_path":
            self[name] = self.folder.made()
            return self[name]
        if name in cases.HELPERS:
            exec(cases.HELPERS[name], self)  # noqa: S102  # our own text
            return self[name]
        if name in sys.modules:
            return sys.modules[name]
        if name in sys.stdlib_module_names:
            return __import__(name)
        raise KeyError(name)


class _Printed(io.TextIOWrapper):
    """What is printed, as text or as bytes."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", newline="", write_through=True)

    def taken(self) -> str:
        """All of it; it is gone afterwards."""
        data = self._bytes.getvalue()
        self._bytes.seek(0)
        self._bytes.truncate()
        return data.decode()


class _Captured:
    """What pytest's `capsys` is to a test, as far as tests here use it."""

    def __init__(self) -> None:
        self._streams = _Printed(), _Printed()

    def readouterr(self) -> Any:
        """Everything printed since the last call."""
        out, err = (stream.taken() for stream in self._streams)
        return types.SimpleNamespace(out=out, err=err)

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Put the streams in place, and at the end those that were there before."""
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self._streams
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextmanager
def staged(module: types.ModuleType) -> Iterator[Namespace]:
    """A namespace with fresh fixtures, undone at the end."""
    names = Namespace(module)
    try:
        with names["capsys"].capturing():
            yield names
    finally:
        names.patch.undo()
        names.folder.remove()


class Observer:
    """Observes cases against one loaded module; `raise_lines` are those of `raise` statements.

    With a `watch`, a case that does what it refuses is discarded.
    """

    def __init__(
        self,
        module: types.ModuleType,
        filename: str,
        raise_lines: set[int],
        seconds: float,
        watch: Watch | None = None,
    ) -> None:
        self._module = module
        self.filename = filename
        self._raise_lines = raise_lines
        self._builtins = Builtins()
        self._seconds = seconds
        self._watch = watch

    def observe(self, script: Script) -> dict[str, Any]:
        """JSON: `arcs` and either `lines` of a check with `told`, or why there is none."""
        tracer = Tracer(self.filename)
        try:
            watched = self._watch.on() if self._watch else nullcontext()
            with staged(self._module) as names, watched:
                told = self._run(script, names, tracer)
            self._must_not_spoil()
        except Discarded as reason:
            return {"discarded": str(reason), "arcs": sorted(tracer.arcs)}
        except OutOfTime:
            return {"discarded": TOO_LONG, "arcs": []}
        except BaseException as error:  # whatever it is, it is the module's
            return {"discarded": _short(error), "arcs": []}
        return {
            "arcs": sorted(tracer.arcs),
            "lines": told.lines,
            "told": told.outcome,
            "accident": told.is_accident,
        }

    def _run(self, script: Script, names: Namespace, tracer: Tracer) -> Told:
        describer = Describer(self._module, names.folder)
        with Alarm(self._seconds):
            for statement in script.setup:
                exec(statement, names)  # noqa: S102  # in the sandbox
            before = {name: describer.state(eval(name, names)) for name in script.watched}  # noqa: S307  # as above
            files = describer.files()
            names["capsys"].readouterr()
            code = compile(script.call, "<case>", "exec" if script.form == "statement" else "eval")
            try:
                with tracer:
                    told = self._called(script, code, names, describer)
            except OutOfTime:
                raise
            except Discarded:
                raise
            except BaseException as error:  # SystemExit is an outcome, too
                self._must_not_spoil()
                told = self._raised(script, error, describer, ran=bool(tracer.arcs))
            effects: list[str] = []
            if printed := names["capsys"].readouterr().out:
                effects += describer.printed(printed)
            for name in script.watched:
                effects += describer.changes(name, before[name], eval(name, names))  # noqa: S307  # as above
            effects += describer.new_files(files)
            _add(effects, told)
        told.lines = _inlined(script, told.lines)
        if not any("assert " in line or "pytest.raises" in line for line in told.lines):
            raise Discarded("nothing about its outcome can be asserted")
        return told

    def _must_not_spoil(self) -> None:
        """Discard a case after which what comes later would not be as it was."""
        if replaced := self._builtins.restored():
            raise Discarded(f"it replaces Python's own {replaced[0]}")
        if self._watch and self._watch.refused:
            raise Discarded(self._watch.refused)
        if has_children():
            raise Discarded("it starts a process and leaves it behind")

    def _called(
        self, script: Script, code: types.CodeType, names: Namespace, describer: Describer
    ) -> Told:
        call = script.call
        if script.form == "statement":
            exec(code, names)  # noqa: S102  # in the sandbox
            self._must_not_spoil()
            return Told([call], ["changes", "it"])
        value = eval(code, names)  # noqa: S307  # in the sandbox
        self._must_not_spoil()
        if inspect.iscoroutine(value):
            call, value = f"asyncio.run({call})", asyncio.run(value)
        elif inspect.isasyncgen(value):
            collect = names["collect"] if "collect" in names else names.__missing__("collect")
            call, value = f"asyncio.run(collect({call}))", asyncio.run(collect(value))
        elif hasattr(type(value), "__aenter__") and not hasattr(type(value), "__enter__"):
            enter = names.__missing__("enter")
            call, value = f"asyncio.run(enter({call}))", asyncio.run(enter(value))
        if script.form == "with" and hasattr(type(value), "__enter__"):
            with value as entered:
                inner = describer.outcome("value", entered, bare=True)
            lines = [f"with {call} as value:"] if inner.lines else [f"with {call}:", "    pass"]
            lines += [f"    {line}" for line in inner.lines]
            return Told(lines, ["enters", *inner.outcome[1:]])
        if isinstance(value, types.GeneratorType) or (
            hasattr(type(value), "__next__") and not isinstance(value, io.IOBase)
        ):
            items = list(itertools.islice(value, _MOST_YIELDED + 1))
            if len(items) > _MOST_YIELDED:
                if hasattr(value, "close"):
                    value.close()
                call = f"list(itertools.islice({call}, {_FEW_YIELDED}))"
                return describer.outcome(call, items[:_FEW_YIELDED])
            return describer.outcome(f"list({call})", items, yielded=True)
        if isinstance(value, types.FunctionType) and self._is_made_here(value):
            call, value = self._used(call, value)
        return describer.outcome(call, value)

    def _is_made_here(self, function: types.FunctionType) -> bool:
        inner = function.__code__
        return inner.co_filename == self.filename and "<locals>" in function.__qualname__

    def _used(self, call: str, function: types.FunctionType) -> tuple[str, Any]:
        """A function that came back says nothing before it is called, too."""
        names = [
            name
            for name, parameter in inspect.signature(
                function, follow_wrapped=False
            ).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        for one in ("1", "'abc'", "[1, 2]", "lambda *args: args"):
            values = ["lambda *args: args" if _FUNCTION.match(name) else one for name in names]
            text = f"{call}({', '.join(values)})"
            try:
                value = function(*(eval(argument) for argument in values))  # noqa: S307  # our own
            except Exception:  # noqa: S112  # the next may fit
                continue
            if isinstance(value, types.FunctionType) and self._is_made_here(value):
                return self._used(text, value)
            return text, value
        return call, function

    def _raised(
        self, script: Script, error: BaseException, describer: Describer, *, ran: bool
    ) -> Told:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if frame.filename == self.filename]
        is_meant = bool(
            ours and frames[-1].filename == self.filename and ours[-1].lineno in self._raise_lines
        )
        if ran and not ours and isinstance(error, TypeError) and _NO_OPERATOR.search(str(error)):
            # The module said NotImplemented, and Python made this of it.
            told = describer.raising(error, script.call, is_meant=False)
            told.is_accident = False
            return told
        if isinstance(error, _ACCIDENTS) and not is_meant:
            raise Discarded(_short(error)) from None
        if not ours and not isinstance(error, SystemExit):
            raise Discarded(_short(error)) from None
        if str(error) == STDIN:
            raise Discarded(STDIN) from None
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            raise Discarded(_short(error)) from None
        call = script.call
        if script.form == "with":
            raised = describer.raising(error, f"with {call}:", is_meant=is_meant)
            raised.lines.append("        pass")
            return raised
        return describer.raising(error, self._forced(call, error), is_meant=is_meant)

    def _forced(self, call: str, error: BaseException) -> str:
        """The call, made to run as it was run here when it raised."""
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        flags = 0
        for frame in frames:
            if frame.f_code.co_filename == self.filename:
                flags = frame.f_code.co_flags
                break
        if flags & inspect.CO_COROUTINE:
            return f"asyncio.run({call})"
        if flags & inspect.CO_ASYNC_GENERATOR:
            return f"asyncio.run(collect({call}))"
        return f"list({call})" if flags & inspect.CO_GENERATOR else call


def _add(effects: list[str], told: Told) -> None:
    """Say what the call changed; that it gave None back is then not worth saying."""
    if effects and told.outcome == ["returns", "none"] and len(told.lines) == 1:
        told.lines = [told.lines[0].removeprefix("assert ").removesuffix(" is None")]
        told.outcome = _effect(effects)
    told.lines += effects


def _effect(lines: list[str]) -> list[str]:
    """Words for what was changed, printed or written."""
    found: dict[str, None] = {}
    for line in lines:
        changed = re.match(r"assert (?:\w+\()?(\w+)(?:\.(\w+))?", line)
        if "capsys." in line:
            return ["prints", "text"]
        if changed is None:
            return ["writes", "a", "file"]
        if changed[2] == "getvalue":
            return ["writes", "to", snake(changed[1])]
        found[snake(changed[2] or changed[1])] = None
    return ["changes", *"_and_".join(list(found)[:2]).split("_")]


def _inlined(script: Script, lines: list[str]) -> list[str]:
    """Set-up and outcome; a stream that is only handed over gets no variable."""
    setup: list[str] = []
    for at, statement in enumerate(script.setup):
        name, _, value = statement.partition(" = ")
        uses = re.compile(rf"\b{re.escape(name)}\b(?!=)")
        later = [*script.setup[at + 1 :], *lines]
        if value.startswith("io.") and sum(len(uses.findall(line)) for line in later) == 1:
            lines = [uses.sub(value.replace("\\", r"\\"), line) for line in lines]
        else:
            setup.append(statement)
    return [*setup, *lines]


def _short(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
