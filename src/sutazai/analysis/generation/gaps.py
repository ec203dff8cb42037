"""What a language model is shown of a function that tests do not reach; runs in a worker."""

import ast
from collections.abc import Iterator, Sequence

import msgspec

from sutazai.analysis.excerpts import Excerpt, Place, Wanted, cut
from sutazai.analysis.generation.generator import Gap
from sutazai.analysis.generation.inside.reading import Reading, Routine, read
from sutazai.analysis.reading import take
from sutazai.analysis.reviewer import Reviewable

_HEAD = 12
_AROUND = 12
_WHOLE = 60
_SHORT = 20
_MOST_FAULTS = 8
_MOST_PLACES = 8
_MOST_LETTERS = 6_000


class ShowGaps(msgspec.Struct, frozen=True, kw_only=True):
    """The gaps of one file, `module` is what it is imported as."""

    what: Reviewable
    file: str
    module: str
    gaps: tuple[Gap, ...]


class ShownGap(msgspec.Struct, frozen=True, kw_only=True):
    """A function with what is missing and its closest surroundings, secrets masked."""

    function: str
    text: str


class ShownGaps(msgspec.Struct, kw_only=True):
    """As far as they could be shown, in their order."""

    gaps: list[ShownGap]


def show_gaps(request: ShowGaps) -> ShownGaps:
    """The gaps that can be shown. Raises InputError where the file cannot be read any more."""
    patterns = (request.file,) if request.what.place is not None else ()
    inline = tuple(one for one in request.what.inline if one.name == request.file)
    named = Reviewable(place=request.what.place, patterns=patterns, inline=inline)
    sources = [one for one in take(named).sources if one.file == request.file]
    if not sources:
        return ShownGaps(gaps=[])
    reading = read(sources[0].text)
    shown: list[ShownGap] = []
    for gap in request.gaps:
        routine = reading.routines.get(gap.function)
        if routine is None:
            continue
        spans = list(dict.fromkeys(_spans(reading, routine, gap)))[:_MOST_PLACES]
        places = tuple(Place(file=request.file, line=first, last=last) for first, last in spans)
        excerpts = cut(Wanted(what=named, places=places)).places
        text = _text(request.module, gap, [one for one in excerpts if one is not None])
        shown.append(ShownGap(function=gap.function, text=text))
    return ShownGaps(gaps=shown)


def _text(module: str, gap: Gap, excerpts: Sequence[Excerpt]) -> str:
    told = [f"module {module}, function {gap.function}"]
    if gap.lines:
        told.append(f"no test reaches: {', '.join(map(str, gap.lines))}")
    # What a fault is was said where foreign code ran.
    told += [
        f"no test notices, in line {line}: {what[:40]}" for line, what in gap.faults[:_MOST_FAULTS]
    ]
    return "\n".join([*told, *(one.numbered for one in excerpts)])[:_MOST_LETTERS]


Span = tuple[int, int]


def _spans(reading: Reading, routine: Routine, gap: Gap) -> Iterator[Span]:
    """The function; of its surroundings the constructor, what it names and who calls it."""
    first, last = _lines(routine.node)
    if last - first < _WHOLE:
        yield first, last
    else:
        yield first, first + _HEAD
        for line in gap.lines[:1] or [line for line, _ in gap.faults[:1]]:
            yield max(first, line - _AROUND), min(last, line + _AROUND)
    if routine.owner is not None:
        maker = reading.routines.get(f"{routine.owner}.__init__")
        yield _short(maker.node if maker else reading.classes[routine.owner])
    named = [
        node
        for node in reading.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and _gives(node) & routine.calls
    ]
    yield from (_short(node) for node in named[:3])
    others = [one for one in reading.routines.values() if one is not routine]
    if not routine.is_public:
        yield from (
            _short(one.node) for one in [one for one in others if routine.name in one.calls][:2]
        )
    called = [
        one for one in others if one.name in routine.calls and one.owner in (None, routine.owner)
    ]
    yield from (_short(one.node) for one in called[:3])


def _gives(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _short(node: ast.stmt) -> Span:
    first, last = _lines(node)
    return first, min(last, first + _SHORT - 1)


def _lines(node: ast.stmt) -> Span:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)]), node.end_lineno or node.lineno
