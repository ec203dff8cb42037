"""A case: one call with what goes before it, as text that is run, varied and at last rendered."""

import ast
import builtins
import keyword
import re
from dataclasses import dataclass, field, replace

from sutazai.analysis.generation.inside.values import MODULE

HELPERS = {
    "written": (
        "def written(path, text):\n"
        "    path.write_text(text)\n"
        "    return path\n"
    ),
    "stored": (
        "def stored(path, data):\n"
        "    path.write_bytes(data)\n"
        "    return path\n"
    ),
    "collect": (
        "async def collect(items):\n"
        "    return [item async for item in items]\n"
    ),
    "enter": (
        "async def enter(manager):\n"
        "    async with manager as value:\n"
        "        return value\n"
    ),
}  # fmt: skip
"""Functions that a test may call; a file gets those that its tests use."""

STDIN_TEXT, STDIN_BYTES = "$stdin", "$stdin.buffer"
FIXTURES = ("tmp_path", "monkeypatch", "capsys")


@dataclass
class Slot:
    """A parameter and the expressions to try for it, likeliest first."""

    name: str
    pool: list[str]
    required: bool = True
    positional: bool = True
    only_positional: bool = False
    variadic: bool = False
    is_changed: bool = False
    score: dict[str, float] = field(default_factory=dict)


@dataclass
class Target:
    """What is called: a template over `{self}`, `{args}` and `{0}`, and its parameters.

    `form` is `value`, or `with` for a context manager; `pins` are statements that fix what would
    be different from run to run; `state` names variables of the module that the call changes.
    """

    qualname: str
    template: str
    slots: list[Slot]
    owner: str | None = None
    form: str = "value"
    pins: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    is_private: bool = False
    seeds: list[str] = field(default_factory=list)


Arguments = tuple[tuple[str, str], ...]
"""Pairs of a slot's name and an expression; what is missing is left to its default."""


@dataclass(frozen=True)
class Step:
    """A call on the receiver before the one that counts."""

    text: str


@dataclass(frozen=True)
class Case:
    """One call. `receiver` is the expression that makes `{self}`; `whole` replaces everything.

    `proposal` is the number of the language model's proposal that it comes from, 0 without one.
    """

    target: str
    arguments: Arguments = ()
    receiver: str = ""
    steps: tuple[str, ...] = ()
    whole: str = ""
    proposal: int = 0

    def with_argument(self, name: str, expression: str) -> "Case":
        """The same with another value for one parameter."""
        others = tuple(pair for pair in self.arguments if pair[0] != name)
        return replace(self, arguments=(*others, (name, expression)))


@dataclass(frozen=True)
class Script:
    """A case as Python: statements, then the expression, then what to look at afterwards."""

    setup: tuple[str, ...]
    call: str
    watched: tuple[str, ...]
    form: str


def script(case: Case, target: Target) -> Script:
    """Write a case down."""
    setup = list(target.pins)
    watched: list[str] = []
    given = dict(case.arguments)
    for slot in target.slots:
        if slot.name.startswith("$"):
            setup += surrounding(slot.name, given.pop(slot.name, None))
        elif slot.name in given and _is_watched(given[slot.name], is_changed=slot.is_changed):
            name = variable(slot.name)
            setup.append(f"{name} = {given[slot.name]}")
            watched.append(name)
            given[slot.name] = name
    watched += [f"{MODULE}.{name}" for name in target.state]
    if not case.receiver:
        setup += case.steps
    if case.whole:
        used = names_in(case.whole) if case.steps else set[str]()
        watched += [name for step in case.steps if (name := set_up(step)[0]) in used]
        return Script(tuple(setup), case.whole, tuple(watched), target.form)
    receiver = ""
    if target.owner is not None and "{self}" in target.template:
        receiver = variable(target.owner.rpartition(".")[2])
        setup.append(f"{receiver} = {case.receiver}")
        setup += [step.replace("{self}", receiver) for step in case.steps]
        watched.append(receiver)
    texts = [given[slot.name] for slot in target.slots if slot.name in given]
    call = target.template.replace("{self}", receiver).replace("{args}", written(target, given))
    for at, text in enumerate(texts):
        call = call.replace(f"{{{at}}}", text)
    return Script(tuple(setup), call, tuple(watched), target.form)


def set_up(step: str) -> tuple[str, str]:
    """The name that a step gives a value to, and the value's expression; empty for a call."""
    name, equals, value = step.partition(" = ")
    return (name, value) if equals and name.isidentifier() else ("", "")


def written(target: Target, given: dict[str, str]) -> str:
    """Arguments as a person writes them: required ones by position, options by name."""
    parts: list[str] = []
    by_name = False
    takes_more = any(
        slot.variadic and slot.positional and slot.name in given for slot in target.slots
    )
    for slot in target.slots:
        if slot.name.startswith("$"):
            continue
        if slot.name not in given:
            by_name = True
        elif slot.variadic or (
            slot.positional
            and not by_name
            and (slot.required or slot.only_positional or takes_more)
        ):
            parts.append(given[slot.name])
        else:
            by_name = True
            parts.append(f"{slot.name}={given[slot.name]}")
    return ", ".join(part for part in parts if part)


def surrounding(name: str, expression: str | None) -> list[str]:
    """The statement that gives something around the call its value.

    The environment, standard input, the command line, or what an optional import has left.
    """
    if name == "$input":
        return [f"monkeypatch.setattr('builtins.input', lambda *args: {expression or repr('')})"]
    if name == "$argv":
        return [f"monkeypatch.setattr(sys, 'argv', {expression})"] if expression else []
    if name in (STDIN_TEXT, STDIN_BYTES):
        return [f"monkeypatch.setattr(sys, 'stdin', {expression})"] if expression else []
    kind, _, wanted = name.partition(":")
    if kind == "$without":
        replaced = f"monkeypatch.setattr({MODULE}, {wanted!r}, {expression})"
        return [replaced] if expression else []
    if expression is None:
        return [f"monkeypatch.delenv({wanted!r}, raising=False)"]
    return [f"monkeypatch.setenv({wanted!r}, {expression})"]


def variable(name: str) -> str:
    """A name for a variable: `MyStack` becomes `my_stack`, and nothing is shadowed."""
    plain = snake(name)
    if keyword.iskeyword(plain) or hasattr(builtins, plain) or plain in FIXTURES or not plain:
        return f"the_{plain}" if plain else "item"
    return plain


def snake(name: str) -> str:
    """`HTMLCalendar` as `html_calendar`."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return parts.lower().strip("_")


def names_in(text: str) -> set[str]:
    """The plain names that a text of statements or an expression reads."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _is_watched(text: str, *, is_changed: bool) -> bool:
    """Whether the call may change the value, so that it is looked at afterwards."""
    if text.startswith("io."):
        return not text.endswith(".readline")
    return is_changed and text.startswith(("[", "{", "set(", "collections.", "bytearray("))
