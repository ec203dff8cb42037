"""Paths and globs as users write them, matched in linear time one path component at a time."""

import fnmatch
import re

_LONGEST_PATTERN = 1_000


class InputError(Exception):
    """What the task names as its input cannot be used; the message is for the user."""


def split_pattern(pattern: str) -> tuple[str, ...]:
    """The components of a path or glob below the root; `/a`, `a` and `./a` are the same.

    Raises InputError for `..`, NUL characters, lone surrogates and monstrous lengths.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise InputError(f"A path is longer than {_LONGEST_PATTERN} characters.")
    if "\x00" in pattern:
        raise InputError(f"The path {pattern!r} contains a NUL character.")
    try:
        pattern.encode()
    except UnicodeEncodeError:
        raise InputError(f"The path {pattern!r} is not valid Unicode.") from None
    parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
    if ".." in parts:
        raise InputError(
            f"The path {pattern!r} climbs with `..`; name paths from the workspace's root."
        )
    return parts


class Glob:
    """A pattern split at its first wildcard: `fixed` names a place, the rest matches below it.

    Matching keeps the set of positions reached so far, so `**` costs nothing extra. A pattern
    without wildcards that names a folder means everything below it.
    """

    def __init__(self, parts: tuple[str, ...], *, literal: bool = False) -> None:
        wild = next((i for i, part in enumerate(parts) if _is_wild(part)), len(parts))
        if literal:
            wild = len(parts)
        self.fixed = parts[:wild]
        self.wild = wild < len(parts)
        self._rest = parts[wild:] if self.wild else ("**",)
        self._tests = [
            None if part == "**" else re.compile(fnmatch.translate(part)) for part in self._rest
        ]
        self.start = self._closure({0})

    def step(self, states: frozenset[int], name: str) -> frozenset[int]:
        """The positions after going into an entry called `name`; empty when nothing can match."""
        after = set()
        for state in states:
            if state >= len(self._tests):
                continue
            test = self._tests[state]
            if test is None:
                after.add(state)
            elif test.match(name):
                after.add(state + 1)
        return self._closure(after)

    def accepts(self, states: frozenset[int]) -> bool:
        """Whether the whole pattern has been matched."""
        return len(self._tests) in states

    def _closure(self, states: set[int]) -> frozenset[int]:
        pending = list(states)
        while pending:
            state = pending.pop()
            # `**` may stand for no component at all.
            is_span = state < len(self._tests) and self._tests[state] is None
            if is_span and state + 1 not in states:
                states.add(state + 1)
                pending.append(state + 1)
        return frozenset(states)


def _is_wild(part: str) -> bool:
    return any(character in part for character in "*?[")
