"""A case: one call with what goes before it, as text that is run, varied and at last rendered."""

import ast
import builtins
import keyword
from dataclasses import dataclass, field, replace

from sutazai.analysis.generation.inside.values import MODULE

HELPERS = {
    "written": (
        "def written(path, text):\n"
        "    path.write_text(text)\n"
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
    """One call. `receiver` is the expression that makes `{self}`; `whole` replaces everything."""

    target: str
    arguments: Arguments = ()
    receiver: str = ""
    steps: tuple[str, ...] = ()
    whole: str = ""

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
        elif slot.is_changed and slot.name in given and _is_display(given[slot.name]):
            name = variable(slot.name)
            setup.append(f"{name} = {given[slot.name]}")
            watched.append(name)
            given[slot.name] = name
    watched += [f"{MODULE}.{name}" for name in target.state]
    if not case.receiver:
        setup += case.steps
    if case.whole:
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


def written(target: Target, given: dict[str, str]) -> str:
    """Arguments as a person writes them: required ones by position, options by name."""
    parts: list[str] = []
    by_name = False
    takes_more = any(slot.variadic and slot.name in given for slot in target.slots)
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
    """The statement that gives the environment, `input()` or the command line its value."""
    if name == "$input":
        return [f"monkeypatch.setattr('builtins.input', lambda *args: {expression or repr('')})"]
    if name == "$argv":
        return [f"monkeypatch.setattr(sys, 'argv', {expression})"] if expression else []
    wanted = name.partition(":")[2]
    if expression is None:
        return [f"monkeypatch.delenv({wanted!r}, raising=False)"]
    return [f"monkeypatch.setenv({wanted!r}, {expression})"]


def variable(name: str) -> str:
    """A name for a variable: `MyStack` becomes `my_stack`, and nothing is shadowed."""
    snake = "".join(
        f"_{letter.lower()}" if letter.isupper() and at and not name[at - 1].isupper() else letter
        for at, letter in enumerate(name)
    ).lower().strip("_")  # fmt: skip
    if keyword.iskeyword(snake) or hasattr(builtins, snake) or snake in FIXTURES or not snake:
        return f"the_{snake}" if snake else "item"
    return snake


def names_in(text: str) -> set[str]:
    """The plain names that a text of statements or an expression reads."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _is_display(text: str) -> bool:
    return text[:1] in "[{" or text.startswith(("set(", "collections.", "bytearray(", "io."))
