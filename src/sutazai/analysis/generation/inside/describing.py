"""Outcomes as assertions: of values, exceptions, objects, changed state, output and files."""

import ast
import inspect
import math
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sutazai.analysis.generation.inside.cases import snake
from sutazai.analysis.generation.inside.literals import LONGEST, Literals

_MOST_ATTRIBUTES = 6
_MOST_FILES = 3
_MESSAGE = 80
_LONG_FLOAT = 9


_NOWHERE = Path("/nothing/is/here")


class Folder(Protocol):
    """Where temporary files go; `path` is None as long as there are none."""

    path: Path | None


@dataclass
class Told:
    """Lines of a check, and words for its name: a verb and what it is about.

    `is_accident` is an error that nobody raised on purpose.
    """

    lines: list[str]
    outcome: list[str] = field(default_factory=list)
    is_accident: bool = False


class Describer:
    """Describes what happened around one module in one folder for temporary files."""

    def __init__(self, module: types.ModuleType, folder: Folder) -> None:
        self._module = module
        self._place = folder
        self._literals = Literals(module)

    @property
    def _folder(self) -> Path:
        return self._place.path or _NOWHERE

    def outcome(self, call: str, value: Any, *, yielded: bool = False, bare: bool = False) -> Told:
        """Assertions that the call gives this value."""
        words = ["yields" if yielded else "returns", *_words(value)]
        if (is_comparison := _is_comparison(call)) and value is True:
            return Told([f"assert {call}"], words)
        call = f"({call})" if is_comparison else call
        if value is None:
            return Told([f"assert {call} is None"], words)
        if isinstance(value, bool):
            return Told([f"assert {call} is {value}"], words)
        if isinstance(value, Path) and value.is_absolute():
            inside = self._below_folder(value)
            return Told([f"assert {call} == {inside}"] if inside else [], words)
        text = self._expected(value)
        is_constructor = (
            re.match(r"\w+\.(\w+)\(", call)
            and type(value).__name__ == (call.split("(", maxsplit=1)[0].rpartition(".")[2])
        )
        if text is not None and not is_constructor:
            sign = (
                "is" if isinstance(value, type) or text in ("Ellipsis", "NotImplemented") else "=="
            )
            return Told([f"assert {call} {sign} {text}"], words)
        name = call if bare else "result"
        lines = self._about(name, value, call)
        if not lines:
            return Told([], words)
        if is_constructor:
            words = ["keeps", "its", "arguments"]
        return Told(lines if bare else [f"{name} = {call}", *lines], words)

    def raising(self, error: BaseException, call: str, *, is_meant: bool) -> Told:
        """`pytest.raises` around the call; the message counts where the module wrote it."""
        name = self._class_name(type(error))
        message = str(error)
        match = ""
        plain = 0 < len(message) <= _MESSAGE and message.isprintable() and "0x" not in message
        if is_meant and plain and str(self._folder) not in message:
            escaped = re.escape(message)
            same = escaped.replace("\\ ", " ").replace("\\-", "-")
            text = repr(message) if same == message else f"re.escape({message!r})"
            match = f", match={text}"
        words = ["raises", *snake(type(error).__name__).split("_")]
        lines = [f"with pytest.raises({name}{match}):", f"    {call}"]
        is_accident = not is_meant or isinstance(error, AssertionError)
        return Told(lines, words, is_accident=is_accident)

    def state(self, thing: Any) -> dict[str, str]:
        """What can be seen of a thing from outside: expressions over `{}` and their values."""
        text = self._expected(thing)
        if text is not None and type(thing).__module__ != self._module.__name__:
            return {"{}": text}
        seen: dict[str, str] = {}
        for name in _public_names(thing):
            try:
                value = getattr(thing, name)
            except Exception:  # noqa: S112  # a property may fail; then it is not told
                continue
            if not callable(value) and (text := self._expected(value)) is not None:
                seen[f"{{}}.{name}"] = text
        for method, expression, look in _LOOKS:
            if _defines(thing, method):
                try:
                    text = self._expected(look(thing))
                except Exception:  # noqa: S112  # as above
                    continue
                if text is not None:
                    seen[expression] = text
        return seen

    def changes(self, name: str, before: dict[str, str], thing: Any) -> list[str]:
        """Assertions of what is different about a thing than before the call."""
        after = self.state(thing)
        changed = [key for key, text in after.items() if before.get(key) != text]
        if "list({})" in changed and "len({})" in changed:
            changed.remove("len({})")
        return [_assertion(key.format(name), after[key]) for key in changed[:_MOST_ATTRIBUTES]]

    def printed(self, text: str) -> list[str]:
        """An assertion of what was written to standard output."""
        if str(self._folder) in text or "0x" in text:
            return []
        if len(text) > LONGEST:
            first = next((line for line in text.splitlines() if line.strip()), "")[:60]
            return [f"assert {first!r} in capsys.readouterr().out"] if first else []
        return [f"assert capsys.readouterr().out == {text!r}"]

    def files(self) -> dict[str, bytes]:
        """The files in the folder for temporary files."""
        found: dict[str, bytes] = {}
        if self._place.path is None:
            return found
        for path in sorted(self._folder.rglob("*"))[:100]:
            if path.is_file() and path.stat().st_size < 10_000:
                found[path.relative_to(self._folder).as_posix()] = path.read_bytes()
        return found

    def new_files(self, before: dict[str, bytes]) -> list[str]:
        """Assertions of what files the call has written."""
        lines: list[str] = []
        for name, content in self.files().items():
            if before.get(name) == content or len(lines) == _MOST_FILES:
                continue
            place = f"(tmp_path / {name!r})"
            try:
                text = content.decode()
            except UnicodeDecodeError:
                text = ""
            if text and len(text) <= LONGEST and str(self._folder) not in text:
                lines.append(f"assert {place}.read_text() == {text!r}")
            else:
                lines.append(f"assert {place}.stat().st_size == {len(content)}")
        return lines

    def _expected(self, value: Any) -> str | None:
        if isinstance(value, float) and math.isfinite(value) and len(repr(value)) > _LONG_FLOAT:
            return f"pytest.approx({value!r})"
        if (
            isinstance(value, list | tuple)
            and value
            and all(type(item) in (int, float) and math.isfinite(item) for item in value)
            and any(len(repr(item)) > _LONG_FLOAT for item in value if isinstance(item, float))
        ):
            text = self._literals.of(value) if type(value) in (list, tuple) else None
            return f"pytest.approx({text})" if text else None
        if isinstance(value, Path) and value.is_absolute():
            return self._below_folder(value)
        text = self._literals.of(value)
        return None if text is not None and str(self._folder) in text else text

    def _about(self, name: str, value: Any, call: str) -> list[str]:
        """Assertions about an object, or about what is too long to be written out."""
        if isinstance(value, float) and math.isnan(value):
            return [f"assert math.isnan({name})"]
        if type(value) is str and len(value) > LONGEST:
            start = value[:40]
            lines = [f"assert len({name}) == {len(value)}", f"assert {name}.startswith({start!r})"]
            return [] if str(self._folder) in value else lines
        if type(value) in (list, tuple, dict, set, frozenset, bytes):
            lines = [f"assert len({name}) == {len(value)}"]
            if type(value) in (list, tuple) and value:
                lines += self._item(f"{name}[0]", value[0])
                lines += self._item(f"{name}[-1]", value[-1]) if len(value) > 1 else []
            elif type(value) is dict:
                for key in list(value)[:2]:
                    if (text := self._literals.of(key)) is not None:
                        lines += self._item(f"{name}[{text}]", value[key])
            return lines
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
            return []
        lines = []
        kind = self._class_name(type(value))
        if kind != "object":
            lines.append(f"assert isinstance({name}, {kind})")
        seen = self.state(value)
        kept = list(seen)[:_MOST_ATTRIBUTES]
        return [*lines, *(_assertion(key.format(name), seen[key]) for key in kept)]

    def _item(self, place: str, value: Any) -> list[str]:
        text = self._expected(value)
        if text is not None:
            return [_assertion(place, text)]
        seen = self.state(value)
        return [_assertion(key.format(place), seen[key]) for key in list(seen)[:2]]

    def _below_folder(self, path: Path) -> str | None:
        if path == self._folder:
            return "tmp_path"
        if self._folder in path.parents:
            return f"tmp_path / {path.relative_to(self._folder).as_posix()!r}"
        return None

    def _class_name(self, kind: type) -> str:
        for one in kind.__mro__:
            if name := self._literals.name_of(one):
                return name
            if one.__module__ == "builtins" and "." not in one.__qualname__:
                return one.__qualname__
            home = sys.modules.get(one.__module__)
            if home is not None and getattr(home, one.__qualname__, None) is one:
                root = sys.modules.get(one.__module__.partition(".")[0])
                if root is not None and getattr(root, one.__qualname__, None) is one:
                    return f"{root.__name__}.{one.__qualname__}"
                if not one.__module__.startswith("_"):
                    return f"{one.__module__}.{one.__qualname__}"
        return "object"


_LOOKS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("__len__", "len({})", len),
    ("__iter__", "list({})", lambda thing: list(thing) if _defines(thing, "__len__") else None),
    ("__str__", "str({})", str),
    ("getvalue", "{}.getvalue()", lambda thing: thing.getvalue()),
)


_NOUNS: dict[type, str] = {
    list: "list",
    tuple: "tuple",
    dict: "dict",
    bytes: "bytes",
    set: "set",
    frozenset: "set",
}
_FEW = 12


def _is_comparison(call: str) -> bool:
    """Whether it binds less than the comparison that an assertion makes of it."""
    return isinstance(
        ast.parse(call, mode="eval").body, ast.Compare | ast.BoolOp | ast.Lambda | ast.IfExp
    )


def _assertion(place: str, text: str) -> str:
    return f"assert {place} {'is' if text in ('None', 'True', 'False') else '=='} {text}"


def _defines(thing: Any, method: str) -> bool:
    found = getattr(type(thing), method, None)
    return found is not None and found is not getattr(object, method, None)


def _public_names(thing: Any) -> list[str]:
    kind = type(thing)
    names: dict[str, None] = dict.fromkeys(getattr(thing, "__dict__", {}))
    for one in kind.__mro__:
        slots = one.__dict__.get("__slots__", ())
        names |= dict.fromkeys([slots] if isinstance(slots, str) else slots)
    for one in kind.__mro__:
        for name, member in one.__dict__.items():
            if isinstance(member, property) or inspect.isdatadescriptor(member):
                names[name] = None
    return [name for name in names if isinstance(name, str) and not name.startswith("_")]


def _words(value: Any) -> list[str]:
    if value is None or isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, int) and abs(value) < 10_000:
        return [*(["minus"] if value < 0 else []), str(abs(value))]
    if isinstance(value, str):
        if not value:
            return ["empty", "text"]
        # Said in the name where it is words or a number, and not some signs with letters between.
        is_plain = re.fullmatch(r"[A-Za-z]{2,}([ _-][A-Za-z]{2,}){0,2}|\d{1,6}", value)
        return re.findall(r"[a-z0-9]+", value.lower()) if is_plain else ["text"]
    if noun := _NOUNS.get(type(value)):
        if len(value) > _FEW:
            return ["long", noun]
        return ["empty", noun] if not value else [noun, "of", str(len(value))]
    if isinstance(value, float):
        return ["number"]
    return snake(type(value).__name__).split("_")
