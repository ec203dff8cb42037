"""Duplicated code: runs of statements that are the same but for names and constants."""

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

import msgspec

from sutazai.analysis.parsing import Module

_FEWEST_NODES = 40
_FEWEST_LINES = 5
_MOST_GROUPS = 200
_MOST_PLACES = 20
_LARGEST_BLOCK = 2_000
_MOSTLY_DATA = 0.5

_BODIES = ("body", "orelse", "finalbody")


class Place(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Where one of the copies is."""

    file: str
    line: int
    end_line: int


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """The same statements in several places. `exact` where not even a name differs."""

    places: list[Place]
    statements: int
    lines: int
    exact: bool


class _Statement(msgspec.Struct, frozen=True):
    shape: bytes
    exact: bytes
    nodes: int
    constants: int
    line: int
    end_line: int


_Block = list[_Statement]
_Spot = tuple[int, int]  # a block and the statement in it where a run begins


def duplicates(modules: Mapping[str, Module]) -> list[Duplicate]:
    """Every run of statements that stands in more places than one, the longest first."""
    files: list[str] = []
    blocks: list[_Block] = []
    for file, module in modules.items():
        for body in _bodies(module):
            files.append(file)
            blocks.append([_statement(node) for node in body])
    found = []
    done: set[tuple[_Spot, ...]] = set()
    for spots, length in _seeds(blocks):
        if spots in done:
            continue
        whole = _extended(blocks, spots, length)
        done.update(tuple((block, at + by) for block, at in spots) for by in range(whole))
        found.append(_duplicate(files, blocks, spots, whole))
    return _largest(found)


def _bodies(module: Module) -> Iterator[list[ast.stmt]]:
    for node in module.nodes:
        for field in _BODIES:
            body = getattr(node, field, None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                kept = [one for one in body if not _is_ceremony(one)]
                if 0 < len(kept) <= _LARGEST_BLOCK:
                    yield kept


def _is_ceremony(node: ast.stmt) -> bool:
    """Imports and docstrings, which are meant to be alike."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _statement(node: ast.stmt) -> _Statement:
    """Its shape: names by the order in which they first stand in it, constants by their type.

    What is called, and attributes, keep their names: another call is another thing.
    """
    shape, exact = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    names: dict[str, int] = {}
    nodes = constants = 0
    stack: list[object] = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, ast.expr_context):
            continue
        if not isinstance(part, ast.AST):
            shape.update(b"|")
            exact.update(repr(part).encode("utf-8", "surrogatepass"))
            if isinstance(part, str):
                shape.update(part.encode("utf-8", "surrogatepass"))
            continue
        nodes += 1
        mark = type(part).__name__.encode()
        shape.update(mark)
        exact.update(mark)
        match part:
            case ast.Constant(value=value):
                constants += 1
                shape.update(type(value).__name__.encode())
                exact.update(repr(value).encode("utf-8", "surrogatepass"))
                continue
            case ast.Name(id=name) | ast.arg(arg=name):
                shape.update(str(names.setdefault(name, len(names))).encode())
                exact.update(name.encode("utf-8", "surrogatepass"))
                continue
            case ast.Call(func=ast.Name(id=name)):
                shape.update(name.encode("utf-8", "surrogatepass"))
        for field, value in ast.iter_fields(part):
            if field == "name" and isinstance(part, ast.stmt):
                exact.update(str(value).encode("utf-8", "surrogatepass"))
            elif isinstance(value, list):
                shape.update(str(len(value)).encode())
                stack.extend(value)
            elif value is not None:
                stack.append(value)
    end = node.end_lineno or node.lineno
    return _Statement(shape.digest(), exact.digest(), nodes, constants, node.lineno, end)


def _seeds(blocks: list[_Block]) -> Iterator[tuple[tuple[_Spot, ...], int]]:
    """Spots where the shortest runs worth telling are the same, and how long those are."""
    groups: dict[bytes, list[_Spot]] = defaultdict(list)
    lengths: dict[bytes, int] = {}
    for number, block in enumerate(blocks):
        for start in range(len(block)):
            length = _shortest(block, start)
            if length:
                run = block[start : start + length]
                key = b"".join(one.shape for one in run)
                groups[key].append((number, start))
                lengths[key] = length
    order = sorted((key for key in groups if len(groups[key]) > 1), key=lambda key: groups[key])
    for key in order:
        spots = _apart(groups[key], lengths[key])
        if len(spots) > 1:
            yield tuple(spots[:_MOST_PLACES]), lengths[key]


def _shortest(block: _Block, start: int) -> int:
    nodes = constants = 0
    for length in range(1, len(block) - start + 1):
        last = block[start + length - 1]
        nodes += last.nodes
        constants += last.constants
        lines = last.end_line - block[start].line + 1
        if nodes >= _FEWEST_NODES and lines >= _FEWEST_LINES:
            return length if constants < _MOSTLY_DATA * nodes else 0
    return 0


def _apart(spots: list[_Spot], length: int) -> list[_Spot]:
    """Without those that overlap the one before in the same block."""
    kept: list[_Spot] = []
    for block, start in sorted(spots):
        if not kept or kept[-1][0] != block or kept[-1][1] + length <= start:
            kept.append((block, start))
    return kept


def _extended(blocks: list[_Block], spots: tuple[_Spot, ...], length: int) -> int:
    """How long the runs are the same, without running into each other."""
    while True:
        following = []
        for index, (number, start) in enumerate(spots):
            end = start + length
            after = spots[index + 1] if index + 1 < len(spots) else (-1, 0)
            if end >= len(blocks[number]) or after == (number, end):
                return length
            following.append(blocks[number][end].shape)
        if len(set(following)) > 1:
            return length
        length += 1


def _duplicate(
    files: list[str], blocks: list[_Block], spots: tuple[_Spot, ...], length: int
) -> Duplicate:
    runs = [blocks[number][start : start + length] for number, start in spots]
    places = [
        Place(file=files[number], line=run[0].line, end_line=run[-1].end_line)
        for (number, _), run in zip(spots, runs, strict=True)
    ]
    return Duplicate(
        places=sorted(places),
        statements=length,
        lines=max(place.end_line - place.line + 1 for place in places),
        exact=len({tuple(one.exact for one in run) for run in runs}) == 1,
    )


def _largest(found: list[Duplicate]) -> list[Duplicate]:
    """Without those that lie within others."""
    kept: list[Duplicate] = []
    for one in sorted(found, key=lambda one: (-one.lines * (len(one.places) - 1), one.places)):
        if not any(_lies_in(one, other) for other in kept):
            kept.append(one)
    return kept[:_MOST_GROUPS]


def _lies_in(inner: Duplicate, outer: Duplicate) -> bool:
    return all(
        any(
            place.file == around.file
            and around.line <= place.line
            and place.end_line <= around.end_line
            for around in outer.places
        )
        for place in inner.places
    )
