"""Every function of the code that a task names, measured in a worker process."""

import msgspec

from sutazai.analysis.complexity import Measured, measured
from sutazai.analysis.parsing import parse
from sutazai.analysis.protocol import Unparsed
from sutazai.analysis.reading import take
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import SourceError


class Measurement(msgspec.Struct, kw_only=True):
    """The functions, those hardest to follow first, and what could not be parsed."""

    functions: list[Measured]
    unparsed: list[Unparsed]


def measure(what: Reviewable) -> Measurement:
    """Measure every function of every Python file. Raises InputError."""
    found = Measurement(functions=[], unparsed=[])
    for source in take(what).sources:
        if not source.is_python:
            continue
        try:
            found.functions += measured(parse(source))
        except SourceError as error:
            found.unparsed.append(Unparsed(file=source.file, line=error.line, reason=error.reason))
    found.functions.sort(key=lambda one: (-one.cognitive, -one.cyclomatic, one.file, one.line))
    return found
