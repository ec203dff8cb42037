"""How large a query may be; measured before anything else looks at it.

Each fragment is measured once, because a library that expands them one by one can be kept busy for
ever by a short query: `fragment A { ...B ...B } fragment B { ...C ...C }` and so on.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    parse,
)

from sutazai.errors import ErrorCode, SutazaiError

LONGEST = 100_000
"""Characters of a query; what is larger goes into its variables."""
MOST_TOKENS = 1_500
DEEPEST = 10
MOST_FIELDS = 300
"""Fields of a query, fragments counted as often as they are used."""
MOST_ALIASES = 20
MOST_PAIRS = 1_000
"""Of fields of one name in one place, which validation compares each with each."""
MOST_LISTED = 200
"""Tasks, workflows and executions that one request may list, over all its lists."""
MOST_STEPS = 2_000
"""Steps of workflows and of executions, and items of these, that one request may show."""

# Selection sets and fragments within each other; far beyond what DEEPEST lets pass.
_MOST_LEVELS = 40
# Where the schema's description of itself branches: one below another, it has no end.
_BRANCHES = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})


class _Size(NamedTuple):
    depth: int
    fields: int
    aliases: int
    branches: int


_NOTHING = _Size(0, 0, 0, 0)


def parsed(query: str, operation_name: str | None) -> DocumentNode:
    """The query's document; GraphQLError where it is wrong.

    BAD_REQUEST where it is too large, or has several operations and none was named.
    """
    if len(query) > LONGEST:
        raise _too("long", len(query), "characters", LONGEST)
    document = parse(query, max_lexical_tokens=MOST_TOKENS, max_comments=MOST_TOKENS)
    fragments = {
        one.name.value: one
        for one in document.definitions
        if isinstance(one, FragmentDefinitionNode)
    }
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if len(operations) > 1 and operation_name is None:
        message = "The query has several operations. Name the one to run with operationName."
        raise SutazaiError(ErrorCode.BAD_REQUEST, message)
    measure = _Measure(fragments)
    for one in fragments.values():
        # Used or not, validation looks at it.
        _check(measure.of_set(one.selection_set, 0)._replace(depth=0))
    for operation in operations:
        _check(measure.of_set(operation.selection_set, 0))
    for definition in (*fragments.values(), *operations):
        if (pairs := measure.pairs([definition.selection_set])) > MOST_PAIRS:
            raise _too("repetitive", pairs, "pairs of fields of one name in one place", MOST_PAIRS)
    return document


def _check(size: _Size) -> None:
    if size.depth > DEEPEST:
        raise _too("deep", size.depth, "levels", DEEPEST)
    if size.fields > MOST_FIELDS:
        raise _too("large", size.fields, "fields", MOST_FIELDS)
    if size.aliases > MOST_ALIASES:
        raise _too("large", size.aliases, "aliases", MOST_ALIASES)
    if size.branches > 1:
        raise _too("deep", size.branches, "lists of the schema in each other", 1)


def _too(how: str, found: int, what: str, most: int) -> SutazaiError:
    shown = str(found) if found < 10 * most else f"over {10 * most}"
    message = f"The query is too {how}: {shown} {what}, at most {most}. Ask in several requests."
    return SutazaiError(ErrorCode.BAD_REQUEST, message)


class _Measure:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, _Size] = {}

    def of_set(self, selections: SelectionSetNode | None, level: int) -> _Size:
        if selections is None:
            return _NOTHING
        if level > _MOST_LEVELS:
            message = (
                f"The query nests over {_MOST_LEVELS} levels deep, or its fragments run in a "
                "circle. Ask in several requests."
            )
            raise SutazaiError(ErrorCode.BAD_REQUEST, message)
        sizes = [self._of(one, level + 1) for one in selections.selections]
        return _Size(
            max((one.depth for one in sizes), default=0),
            sum(one.fields for one in sizes),
            sum(one.aliases for one in sizes),
            max((one.branches for one in sizes), default=0),
        )

    def pairs(self, sets: Sequence[SelectionSetNode]) -> int:
        """How many fields are to be merged with how many others; for what `of_set` has bounded."""
        places: dict[str, list[FieldNode]] = {}
        for field in self._fields(sets):
            place = field.name if field.alias is None else field.alias
            places.setdefault(place.value, []).append(field)
        found = 0
        for same in places.values():
            found += len(same) * (len(same) - 1) // 2
            found += self.pairs([one.selection_set for one in same if one.selection_set])
        return found

    def _fields(self, sets: Sequence[SelectionSetNode]) -> Iterator[FieldNode]:
        for selection in itertools.chain.from_iterable(one.selections for one in sets):
            if isinstance(selection, FieldNode):
                yield selection
            elif isinstance(selection, InlineFragmentNode):
                yield from self._fields([selection.selection_set])
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                # One without fields could spread others without end.
                if name in self._fragments and self._known[name].fields:
                    yield from self._fields([self._fragments[name].selection_set])

    def _of(self, selection: SelectionNode, level: int) -> _Size:
        if isinstance(selection, FieldNode):
            below = self.of_set(selection.selection_set, level)
            name = selection.name.value
            # `__schema` and `__type` are bounded by their branches, not by their depth.
            return _Size(
                0 if name.startswith("__") else below.depth + 1,
                below.fields + 1,
                below.aliases + (selection.alias is not None),
                below.branches + (name in _BRANCHES),
            )
        if isinstance(selection, InlineFragmentNode):
            return self.of_set(selection.selection_set, level)
        assert isinstance(selection, FragmentSpreadNode)
        name = selection.name.value
        fragment = self._fragments.get(name)
        if fragment is None:
            return _NOTHING  # which validation will tell
        if name not in self._known:
            self._known[name] = self.of_set(fragment.selection_set, level)
        return self._known[name]
