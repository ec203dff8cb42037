"""Names of tests: what is called, what happens, and where two would be alike, under what."""

import ast
import re
from collections.abc import Iterator

from sutazai.analysis.generation.inside.cases import Case, set_up, snake
from sutazai.analysis.generation.inside.selecting import Group

_LONGEST = 70
_NOUNS = {"none", "truth", "list", "tuple", "dict", "set", "bytes", "text", "number"}
_SPOKEN = {
    "__init__": "", "__new__": "", "__post_init__": "", "__len__": "length", "__eq__": "equality",
    "__ne__": "inequality", "__lt__": "less_than", "__le__": "at_most", "__gt__": "greater_than",
    "__ge__": "at_least", "__iter__": "iteration", "__contains__": "membership",
    "__getitem__": "item", "__setitem__": "item_assignment", "__delitem__": "item_deletion",
    "__call__": "call", "__enter__": "context", "__exit__": "context", "__str__": "text",
    "__repr__": "repr", "__hash__": "hash", "__bool__": "truth", "__add__": "addition",
    "__sub__": "subtraction", "__mul__": "multiplication", "__truediv__": "division",
}  # fmt: skip


class Names:
    """Gives each test of a file a name of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name_of(self, group: Group) -> str:
        """`test_<what is called>_<what happens>`, longer where that is taken."""
        start = f"test_{_called(group.target)}"
        outcome = _outcome(group)
        base = _joined(start, outcome)
        for name in [base, *_longer(base, group)]:
            if name not in self._taken and len(name) <= _LONGEST + 20:
                self._taken.add(name)
                return name
        number = 2
        while f"{base}_case_{number}" in self._taken:
            number += 1
        name = f"{base}_case_{number}"
        self._taken.add(name)
        return name


def _called(target: str) -> str:
    parts = [_SPOKEN.get(part, snake(part.strip("_"))) for part in target.split(".")]
    return "_".join(part for part in parts if part)


def _outcome(group: Group) -> str:
    outcomes = list(dict.fromkeys(tuple(check.told) for check in group.checks))
    if len(outcomes) == 1:
        return "_".join(outcomes[0])
    given = [outcome for outcome in outcomes if outcome[0] != "raises"]
    raised = ["_".join(outcome) for outcome in outcomes if outcome[0] == "raises"]
    parts: list[str] = []
    if given:
        found = [_noun(outcome) for outcome in given]
        if "text" in found:  # words of a text beside "text" are texts, too
            found = [noun if noun in _NOUNS else "text" for noun in found]
        nouns = list(dict.fromkeys(found))
        said = "_or_".join(nouns) if len(nouns) <= 2 else "what_fits"
        parts.append(f"{given[0][0]}_{said}" if len(given) > 1 else "_".join(given[0]))
    if raised:
        parts.append(raised[0] if len(raised) == 1 else "raises")
    return "_or_".join(parts)


def _noun(outcome: tuple[str, ...]) -> str:
    """What kind of thing came back: `list_of_3` and `empty_list` are a list."""
    words = [word for word in outcome[1:] if word not in ("empty", "long", "minus", "of")]
    first = words[0] if words else "it"
    if first.isdigit():
        return "number"
    if first in ("true", "false"):
        return "truth"
    return first if first in _NOUNS else "_".join(words[:3])


def _longer(base: str, group: Group) -> Iterator[str]:
    check = group.checks[0]
    called = [step for step in check.case.steps if not set_up(step)[0]]
    heads = [re.split(r"[(=\[]", step, maxsplit=1)[0].strip() for step in called]
    steps = [head.rpartition(".")[2] for head in heads]
    if steps:
        yield _joined(base, "after_" + "_and_".join(dict.fromkeys(map(snake, steps))))
    for name, value in check.case.arguments:
        kind, _, wanted = name.partition(":")
        if kind == "$without":
            yield _joined(base, "without", wanted)
        elif kind == "$argv":
            options = re.findall(r"'-*([a-zA-Z][\w-]*)'", value)[1:]
            said = "with_" + "_and_".join(options) if options else "without_arguments"
            yield _joined(base, said)
        elif kind == "$env" and (words := _described(value)):
            yield _joined(base, f"where_{wanted}_is_{words}".lower())
    given = [name for name, _ in check.case.arguments if not name.startswith("$")]
    described = [(snake(name), _described(dict(check.case.arguments)[name])) for name in given]
    for name, words in described:
        if words:
            yield _joined(base, f"for_{words}")
            yield _joined(base, f"for_{name}_{words}")
    if given:
        yield _joined(base, f"with_{snake(given[-1])}")
        yield _joined(base, "with_" + "_and_".join(map(snake, given[-2:])))
    if words := _described_call(check.case):
        yield _joined(base, f"for_{words}")


def _described_call(case: Case) -> str:
    try:
        tree = ast.parse(case.whole or "None", mode="eval").body
    except SyntaxError:
        return ""
    if isinstance(tree, ast.Call) and tree.args:
        return _described(ast.unparse(tree.args[0]))
    return ""


def _described(expression: str) -> str:
    if stream := re.fullmatch(r"io\.\w+\((.+)\)", expression):
        expression = stream[1]
    try:
        value = ast.literal_eval(expression)
    except (ValueError, SyntaxError, TypeError):
        return ""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        if value == 0:
            return "zero"
        whole = str(abs(value)).replace(".", "_").replace("-", "_").replace("+", "")
        return f"minus_{whole}" if value < 0 else whole
    if isinstance(value, str | bytes):
        if not value:
            return "empty_text" if isinstance(value, str) else "empty_bytes"
        text = value if isinstance(value, str) else value.decode("latin-1")
        words = re.findall(r"[a-z0-9]+", text.lower())
        if text.strip().count("\n") and len(words) > 2:
            return "several_lines"
        return "_".join(words) if text.isascii() and 0 < len(words) <= 4 else ""
    if isinstance(value, list | tuple | dict | set):
        kind = type(value).__name__
        return f"{kind}_of_{len(value)}" if value else f"empty_{kind}"
    return ""


def _joined(*parts: str) -> str:
    """One name; whatever cannot stand in a name becomes an underscore."""
    return re.sub(r"[^a-zA-Z0-9]+", "_", "_".join(part for part in parts if part)).strip("_")
