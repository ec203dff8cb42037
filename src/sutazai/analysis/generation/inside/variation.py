"""Small changes of an expression: the neighbours of an input that led somewhere."""

import ast
import random
from collections.abc import Sequence
from dataclasses import replace

from sutazai.analysis.generation.inside.cases import Case, set_up
from sutazai.analysis.generation.inside.reading import Words

_CHARACTERS = " \t\n,;:=-_./\\'\"()[]{}<>#%&*+!?@|~^$0159aZx\u00e9"
_LONGEST = 200


def varied(expression: str, words: Words, pool: list[str], chance: random.Random) -> str:
    """An expression near `expression`; another one of the pool where nothing can be changed."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return chance.choice(pool) if pool else expression
    nodes = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and not isinstance(node.value, bool | type(None)))
        or isinstance(node, ast.List | ast.Dict | ast.Set | ast.Tuple)
    ]
    if not nodes or chance.random() < 0.15:
        return chance.choice(pool) if pool else expression
    node = chance.choice(nodes)
    if isinstance(node, ast.Constant):
        node.value = _constant(node.value, words, chance)
    elif isinstance(node, ast.List | ast.Set | ast.Tuple):
        _sequence(node, pool, chance)
    elif isinstance(node, ast.Dict):
        _mapping(node, words, chance)
    ast.fix_missing_locations(tree)
    text = ast.unparse(tree)
    return text if len(text) <= _LONGEST else expression


def varied_whole(case: Case, words: Words, chance: random.Random) -> Case:
    """A neighbour of a case that is written out: its call varied, or a value set up before it."""
    parts = [case.whole, *(value for step in case.steps if (value := set_up(step)[1]))]
    part = parts[0] if len(parts) == 1 else chance.choice(parts)
    other = varied(part, words, [part], chance)
    if part is case.whole:
        return replace(case, whole=other)
    steps = tuple(
        f"{set_up(step)[0]} = {other}" if set_up(step)[1] == part else step for step in case.steps
    )
    return replace(case, steps=steps)


def _constant(value: object, words: Words, chance: random.Random) -> str | bytes | int | float:
    if isinstance(value, str):
        return _string(value, words.strings, chance)
    if isinstance(value, bytes):
        known = [*(blob.decode("latin-1") for blob in words.blobs), *words.strings]
        text = _string(value.decode("latin-1"), known, chance)
        return text.encode("latin-1", "replace")
    if isinstance(value, int):
        return _integer(value, words, chance)
    if isinstance(value, float):
        return round(
            chance.choice([value + 0.1, value - 0.1, -value, value * 2, value / 4, 0.0]), 6
        )
    return 0


def _integer(value: int, words: Words, chance: random.Random) -> int:
    known = [number for number in words.numbers if isinstance(number, int)]
    choices = [value + 1, value - 1, -value, value * 2, value // 2, 0, value + 10]
    if known:
        choices += [chance.choice(known), chance.choice(known) + 1]
    return chance.choice(choices)


def _string(text: str, words: Sequence[str], chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    known = [word for word in words if word] or ["a"]
    match chance.randint(0, 9):
        case 0 if text:
            return text[: max(0, at - 1)] + text[at:]
        case 1:
            return text[:at] + chance.choice(_CHARACTERS) + text[at:]
        case 2 | 3:
            return text[:at] + chance.choice(known) + text[at:]
        case 4 if text:
            at = min(at, len(text) - 1)
            return text[:at] + chance.choice(_CHARACTERS) + text[at + 1 :]
        case 5:
            return text + text[at:]
        case 6:
            return chance.choice(known) + chance.choice(["", " ", "\n", text])
        case 7 if text:
            return text.swapcase() if chance.random() < 0.5 else text[::-1]
        case 8 if text:
            return text[at:] or text[:1]
        case _:
            quote = chance.choice("\"'([{<`")
            closing = {"(": ")", "[": "]", "{": "}", "<": ">"}.get(quote, quote)
            return quote + text + closing


def _sequence(node: ast.List | ast.Set | ast.Tuple, pool: list[str], chance: random.Random) -> None:
    items = node.elts
    match chance.randint(0, 4):
        case 0 if items and not (isinstance(node, ast.Set) and len(items) == 1):
            items.pop(chance.randrange(len(items)))
        case 1 if items:
            items.append(chance.choice(items))
        case 2 if items:
            items.reverse()
        case 3 if items:
            chance.shuffle(items)
        case _:
            items.append(_element(items, pool, chance))


def _element(items: list[ast.expr], pool: list[str], chance: random.Random) -> ast.expr:
    for expression in chance.sample(pool, min(3, len(pool))):
        tree = ast.parse(expression, mode="eval").body
        if isinstance(tree, ast.List | ast.Tuple) and tree.elts:
            return chance.choice(tree.elts)
    return chance.choice(items) if items else ast.Constant(1)


def _mapping(node: ast.Dict, words: Words, chance: random.Random) -> None:
    if node.keys and chance.random() < 0.4:
        at = chance.randrange(len(node.keys))
        del node.keys[at], node.values[at]
        return
    key = chance.choice([word for word in words.strings if word] or ["a"])
    value = chance.choice(node.values) if node.values else ast.Constant(1)
    node.keys.append(ast.Constant(key))
    node.values.append(value)
