"""Laws that hold for many inputs: round trips, idempotence, order."""

import re
from collections.abc import Iterator

from sutazai.analysis.generation.inside.cases import Case
from sutazai.analysis.generation.inside.checks import Check
from sutazai.analysis.generation.inside.exploring import Explorer
from sutazai.analysis.generation.inside.subject import Subject
from sutazai.analysis.generation.inside.values import MODULE

_PAIRS = (
    ("encode", "decode"), ("dumps", "loads"), ("quote", "unquote"), ("escape", "unescape"),
    ("pack", "unpack"), ("serialize", "deserialize"), ("compress", "decompress"),
    ("encrypt", "decrypt"), ("format", "parse"), ("to", "from"), ("join", "split"),
    ("marshal", "unmarshal"), ("dump", "load"), ("render", "parse"), ("int_to", "to_int"),
    ("hexlify", "unhexlify"), ("b2a", "a2b"), ("indent", "dedent"), ("as", "from"),
)  # fmt: skip
_SETTLING = re.compile(
    r"(normali[sz]e|canonical|clean|strip|sort|dedent|unique|dedupe|collapse|simplify|clamp|trim|"
    r"slugify|lower|upper|title|sanitize|flatten|round|capwords|standardi[sz]e)"
)
_LEAST = 3
_TOLD = 3


def checks_of(
    subject: Subject, explorer: Explorer, checks: list[Check], until: float
) -> list[Check]:
    """Checks of the laws that hold for every value that was seen, found before `until`."""
    values = _single_arguments(checks)
    found: list[Check] = []
    for name, law in [*_round_trips(subject, values), *_idempotent(values)]:
        arguments = values[name]
        lines = [law.replace("{}", value) for value in arguments]
        tried = [
            explorer.new_check(Case(name, whole=line), [line], law_words(law)) for line in lines
        ]
        passed = explorer.verify(tried, until)
        # A law that fails for most inputs is none; one that fails for bad input may still be one.
        if len(passed) >= _LEAST and len(passed) >= 0.7 * len(tried):
            passed.sort(key=lambda check: -len(check.arcs))
            found += passed[:_TOLD]
    return found


def law_words(law: str) -> list[str]:
    """Words for the test's name."""
    return ["round", "trips"] if law.count(MODULE) == 2 and "== {}" in law else ["is", "idempotent"]


def _single_arguments(checks: list[Check]) -> dict[str, list[str]]:
    """For each function that takes one thing, the things that it took without raising."""
    found: dict[str, list[str]] = {}
    for check in checks:
        case = check.case
        if case.whole or len(case.arguments) != 1 or check.told[0] == "raises" or case.receiver:
            continue
        value = case.arguments[0][1]
        known = found.setdefault(check.target, [])
        if value not in known and len(known) < 12 and "tmp_path" not in value:
            known.append(value)
    return found


def _round_trips(subject: Subject, values: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    names = [name for name in subject.reading.routines if "." not in name]
    for name in values:
        for one, other in _PAIRS:
            for there, back in ((one, other), (other, one)):
                partner = name.replace(there, back, 1)
                if name in names and partner in names and partner != name:
                    yield name, f"assert {MODULE}.{partner}({MODULE}.{name}({{}})) == {{}}"
        # `rgb_to_hsv` and `hsv_to_rgb`
        if turned := re.fullmatch(r"(\w+?)_?(to|2)_?(\w+)", name):
            partner = name.replace(turned[0], f"{turned[3]}_{turned[2]}_{turned[1]}")
            if partner in names and partner != name:
                yield name, f"assert {MODULE}.{partner}({MODULE}.{name}({{}})) == {{}}"


def _idempotent(values: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for name in values:
        if "." not in name and _SETTLING.search(name):
            call = f"{MODULE}.{name}"
            yield name, f"assert {call}({call}({{}})) == {call}({{}})"
