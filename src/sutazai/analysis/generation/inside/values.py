"""Expressions for parameters by type: the ones a person would try first, first."""

import collections.abc
import datetime
import decimal
import enum
import fractions
import inspect
import io
import keyword
import os
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sutazai.analysis.generation.inside.reading import Words

MODULE = "MUT__"
"""The module under test in expressions; the renderer writes names as people import them."""

_DEPTH = 3
_MOST = 24

STRINGS = (
    "", "a", "abc", "hello world", "Hello, World!", "  padded  ", "one\ntwo\n\nthree", "42",
    "3.14", "a,b,c", "key=value", "a-b_c.d/e", "caf\u00e9", "UPPER", "x" * 30, "-1", "a b  c\td",
)  # fmt: skip
INTEGERS = (1, 0, 2, -1, 3, 5, 10, 100, -7, 255, 1000)
FLOATS = ("0.5", "1.0", "0.0", "2.25", "-1.5", "0.1", "0.75", "100.0")

_SIMPLE: dict[Any, tuple[str, ...]] = {
    int: tuple(map(repr, INTEGERS)),
    float: FLOATS,
    complex: ("1 + 2j", "0j"),
    bool: ("True", "False"),
    str: tuple(map(repr, STRINGS)),
    bytes: ("b'abc'", "b''", "b'\\x00\\xff'", "b'hello world'", "b'a=b&c'"),
    bytearray: ("bytearray(b'abc')", "bytearray()"),
    memoryview: ("memoryview(b'abc')",),
    type(None): ("None",),
    object: ("'abc'", "1", "None", "[1, 2]", "object()"),
    datetime.datetime: (
        "datetime.datetime(2024, 1, 31, 12, 30, 15)",
        "datetime.datetime(2023, 12, 31, 23, 59, 59)",
        "datetime.datetime(2024, 2, 29, 0, 0, tzinfo=datetime.timezone.utc)",
    ),
    datetime.date: ("datetime.date(2024, 1, 31)", "datetime.date(2024, 2, 29)",
                    "datetime.date(2023, 12, 25)"),
    datetime.time: ("datetime.time(12, 30)", "datetime.time(0, 0)"),
    datetime.timedelta: ("datetime.timedelta(days=1)", "datetime.timedelta(0)",
                         "datetime.timedelta(seconds=90)", "datetime.timedelta(days=-2)"),
    datetime.tzinfo: ("datetime.timezone.utc",),
    datetime.timezone: ("datetime.timezone.utc",),
    decimal.Decimal: ("decimal.Decimal('1.50')", "decimal.Decimal('0')", "decimal.Decimal('-2.5')",
                      "decimal.Decimal('100')"),
    fractions.Fraction: ("fractions.Fraction(1, 2)", "fractions.Fraction(-3, 4)"),
    uuid.UUID: ("uuid.UUID(int=1)", "uuid.UUID('12345678-1234-5678-1234-567812345678')"),
    pathlib.Path: ("tmp_path", 'written(tmp_path / "input.txt", "one\\ntwo\\n\\nthree\\n")',
                   "tmp_path / 'missing.txt'", "pathlib.Path('folder/file.txt')"),
    pathlib.PurePath: ("pathlib.PurePosixPath('folder/file.txt')",
                       "pathlib.PurePosixPath('/a/b/c.tar.gz')"),
    pathlib.PurePosixPath: ("pathlib.PurePosixPath('folder/file.txt')",
                            "pathlib.PurePosixPath('/a/b/c.tar.gz')"),
    os.PathLike: ("tmp_path", "tmp_path / 'missing.txt'"),
    re.Pattern: ("re.compile('a+')", "re.compile(r'(\\w+)=(\\w*)')"),
    range: ("range(3)", "range(0)"),
    slice: ("slice(1, 3)", "slice(None)"),
    types.SimpleNamespace: ("types.SimpleNamespace(name='abc', value=1)",),
    typing.Any: ("'abc'", "1", "None", "[1, 2, 3]", "{'a': 1}", "0", "''", "2.5", "[]"),
}  # fmt: skip
_OF_TEXT = (io.StringIO, io.TextIOBase, io.TextIOWrapper, typing.TextIO)
_OF_BYTES = (io.BytesIO, io.RawIOBase, io.BufferedIOBase, io.BufferedReader, io.BufferedWriter,
             typing.BinaryIO)  # fmt: skip
_OF_EITHER = (io.IOBase, typing.IO)
_LISTS = (list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable,
          collections.abc.Collection, collections.abc.Reversible)  # fmt: skip
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping, collections.defaultdict,
          collections.OrderedDict)  # fmt: skip
_SETS = (set, collections.abc.Set, collections.abc.MutableSet)

GENERIC = ("'abc'", "1", "[1, 2, 3]", "None", "''", "0", "[]", "{'a': 1}", "2.5", "True", "b'abc'",
           "['b', 'a']", "-1", "('a', 1)", "lambda *args: args", "{}", "[3, 1, 2]")  # fmt: skip


@dataclass
class Instances:
    """How objects of classes are made: asked when a type is a class of the project.

    `of(class)` answers expressions, best first; none where no way is known.
    """

    of: Callable[[type], list[str]]
    name_of: Callable[[Any], str | None]


def values_for(hint: Any, words: Words, instances: Instances, depth: int = 0) -> list[str]:
    """Expressions of values that a hint allows, without repetition."""
    found = _values(hint, words, instances, depth)
    return list(dict.fromkeys(found))[:_MOST]


def _values(hint: Any, words: Words, instances: Instances, depth: int) -> list[str]:
    def below(inner: Any) -> list[str]:
        return values_for(inner, words, instances, depth + 1) or ["None"]

    if hint is None:
        hint = type(None)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.TypeVar):
        if hint.__constraints__:
            return _interleaved([below(one) for one in hint.__constraints__])
        return below(hint.__bound__) if hint.__bound__ is not None else list(_SIMPLE[int][:6])
    if isinstance(hint, typing.NewType):
        name = instances.name_of(hint)
        inner = below(hint.__supertype__)
        return [f"{name}({one})" for one in inner] if name else inner
    if origin in (typing.Union, types.UnionType):
        return _interleaved([below(one) for one in arguments])
    if origin is typing.Literal:
        return [instances.name_of(one) or repr(one) for one in arguments]
    if origin in (typing.Annotated, typing.Final, typing.ClassVar, typing.Required):
        return below(arguments[0])
    if depth >= _DEPTH:
        return list(_SIMPLE.get(hint, ("None",))[:2])
    if origin is type or hint is type:
        return _classes(arguments, instances)
    if origin is collections.abc.Callable or hint in (collections.abc.Callable, typing.Callable):
        return _callables(arguments, below)
    plain = origin or hint
    container = _container(plain, arguments, below)
    if container is not None:
        return container
    if hint is str:
        return strings(words)
    if hint is int:
        return [*numbers(words, whole=True)]
    if hint is float:
        return [*FLOATS[:4], *numbers(words, whole=False), *FLOATS[4:], "3"]
    if hint is bytes:
        return [*map(repr, words.blobs[:12]), *_SIMPLE[bytes]]
    if plain in (*_OF_TEXT, *_OF_BYTES, *_OF_EITHER):
        is_text = plain in _OF_TEXT or str in arguments
        is_binary = plain in _OF_BYTES or bytes in arguments
        return streams(words, text=not is_binary, binary=not is_text)
    if plain in _SIMPLE:
        return list(_SIMPLE[plain])
    if inspect.isclass(plain):
        return _of_class(plain, words, instances, depth)
    return []


def strings(words: Words) -> list[str]:
    """Strings worth trying: some of everyday life, and those that the code knows."""
    known = [text for text in words.strings if text not in STRINGS]
    joined = [f"{text}abc" for text in known[:6] if len(text) < 5]
    return [repr(text) for text in _interleaved([list(STRINGS[:12]), known[:40], joined])]


def streams(words: Words, *, text: bool = True, binary: bool = True) -> list[str]:
    """Streams in memory, empty and with what the code knows; of bytes first where it knows some."""
    texts = ["io.StringIO('one\\ntwo\\n')", "io.StringIO()"]
    texts += [f"io.StringIO({one + chr(10)!r})" for one in words.strings[:8]]
    blobs = ["io.BytesIO(b'one\\ntwo\\n')", "io.BytesIO()"]
    known = words.blobs[:8] or [one.encode() for one in words.strings[:4]]
    blobs += [f"io.BytesIO({b'a' + one + b'b' + bytes([10])!r})" for one in known]
    columns = [blobs, texts] if words.blobs else [texts, blobs]
    if not (text and binary):
        columns = [texts] if text else [blobs]
    return _interleaved(columns)


def files(words: Words) -> list[str]:
    """Paths: of files with something in them, of a folder, and of nothing."""
    found = ['written(tmp_path / "input.txt", "one\\ntwo\\n")', "tmp_path"]
    found += [f'stored(tmp_path / "input.bin", {one!r})' for one in words.blobs[:4]]
    found += [f'written(tmp_path / "input.txt", {one!r})' for one in words.strings[:4]]
    return [*found, "tmp_path / 'missing.txt'"]


def keywords(words: Words, values: list[str], taken: set[str]) -> list[str]:
    """Arguments by names that the code looks for, and by names of no meaning."""
    known = [word for word in words.strings if word.isidentifier() and not keyword.iskeyword(word)]
    names = [name for name in ("a", "b", *known[:4]) if name not in taken]
    single = [f"{name}={values[at % len(values)]}" for at, name in enumerate(names)]
    return [*single[:1], ", ".join(single[:2]), *single[1:]]


def numbers(words: Words, *, whole: bool) -> list[str]:
    """Numbers worth trying: those that the code compares with, and their neighbours."""
    found: dict[str, None] = dict.fromkeys(map(repr, INTEGERS[:5])) if whole else {}
    for number in words.numbers[:20]:
        if not whole:
            found[repr(float(number))] = None
        elif isinstance(number, int) and abs(number) < 10**12:
            found |= dict.fromkeys(map(repr, (number, number - 1, number + 1)))
    if whole:
        found |= dict.fromkeys(map(repr, INTEGERS[5:]))
    return list(found)


def _container(plain: Any, arguments: tuple[Any, ...], below: Any) -> list[str] | None:
    if plain in _LISTS:
        return _lists(below(arguments[0]) if arguments else ["1", "2", "3"])
    if plain in _SETS:
        return ["set()", *_wrapped("{", "}", below(arguments[0]) if arguments else ["1", "2"])]
    if plain is frozenset:
        inner = below(arguments[0]) if arguments else ["1", "2"]
        return ["frozenset()", *_wrapped("frozenset({", "})", inner)]
    if plain in _DICTS:
        keys, items = map(below, arguments) if len(arguments) == 2 else (["'a'", "'b'"], ["1", "2"])
        return _dicts(keys, items)
    if plain is tuple:
        return _tuples(arguments, below)
    if plain in (collections.abc.Iterator, collections.abc.Generator):
        return [f"iter({one})" for one in _lists(below(arguments[0]) if arguments else ["1", "2"])]
    if plain is collections.deque:
        inner = _lists(below(arguments[0]) if arguments else ["1", "2"])
        return [f"collections.deque({one})" for one in inner]
    if plain is collections.Counter:
        return ["collections.Counter('abca')", "collections.Counter()"]
    return None


def _lists(items: Sequence[str]) -> list[str]:
    found = [f"[{', '.join(items[:3])}]", "[]", f"[{items[0]}]"]
    found.append(f"[{', '.join(reversed(items[:4]))}]")
    found += [f"[{', '.join(items[start : start + 2])}]" for start in range(1, len(items) - 1, 2)]
    found.append(f"[{items[0]}, {items[0]}]")
    return found


def _wrapped(opening: str, closing: str, items: Sequence[str]) -> list[str]:
    return [f"{opening}{', '.join(items[:count])}{closing}" for count in (2, 1, 3)]


def _dicts(keys: Sequence[str], items: Sequence[str]) -> list[str]:
    found = ["{}"]
    for start in range(0, max(len(keys), len(items)), 2):
        pairs = [
            (keys[(start + at) % len(keys)], items[(start + at) % len(items)]) for at in (0, 1)
        ]
        found.append("{" + ", ".join(f"{key}: {item}" for key, item in dict(pairs).items()) + "}")
    found.append(f"{{{keys[0]}: {items[-1]}}}")
    return [found[1], *found[:1], *found[2:]]


def _tuples(arguments: tuple[Any, ...], below: Any) -> list[str]:
    if not arguments:
        return ["(1, 2)", "()", "('a', 1)"]
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        items = below(arguments[0])
        return [f"({items[0]},)", "()", f"({', '.join(items[:3])},)", f"({', '.join(items[1:3])},)"]
    if arguments == ((),):
        return ["()"]
    columns = [below(one) for one in arguments]
    return [
        "(" + ", ".join(column[at % len(column)] for column in columns) + ",)"
        for at in range(max(map(len, columns)))
    ]


def _callables(arguments: tuple[Any, ...], below: Any) -> list[str]:
    if not arguments or arguments[0] is Ellipsis:
        returned = below(arguments[1])[0] if len(arguments) == 2 else "None"
        return [f"lambda *args, **kwargs: {returned}", "lambda *args: args", "len", "str"]
    names = "abcdefgh"[: len(arguments[0])]
    head = f"lambda {', '.join(names)}:" if names else "lambda:"
    results = below(arguments[1])
    found = [f"{head} {result}" for result in results[:3]]
    if names and (arguments[0][0] is arguments[1] or arguments[1] in (typing.Any, object)):
        found.insert(0, f"{head} {names[0]}")
    if names and arguments[1] is bool:
        found.insert(0, f"{head} bool({names[0]})")
    if names and isinstance(arguments[0][0], typing.TypeVar):
        found[:0] = [f"{head} {names[0]}", "str"] if len(names) == 1 else [f"{head} {names[-1]}"]
    return found


def _classes(arguments: tuple[Any, ...], instances: Instances) -> list[str]:
    if arguments and inspect.isclass(arguments[0]):
        named = [instances.name_of(one) for one in (*_subclasses(arguments[0]), arguments[0])]
        return [name for name in named if name] or ["int"]
    return ["int", "str"]


def _of_class(plain: type, words: Words, instances: Instances, depth: int) -> list[str]:
    if issubclass(plain, enum.Enum):
        name = instances.name_of(plain)
        return [f"{name}.{member}" for member in plain.__members__] if name else []
    if typing.is_typeddict(plain):
        return _typed_dicts(plain, words, instances, depth)
    if getattr(plain, "_is_protocol", False):
        return _protocol(plain, words, instances, depth)
    found = instances.of(plain)
    for below in _subclasses(plain)[:4]:
        found += instances.of(below)[:3]
    return found


def _subclasses(plain: type) -> list[type]:
    try:
        direct: list[type] = plain.__subclasses__()
    except TypeError:
        return []
    return [one for below in direct for one in (below, *_subclasses(below))]


def _typed_dicts(plain: Any, words: Words, instances: Instances, depth: int) -> list[str]:
    hints = typing.get_type_hints(plain)
    columns = {
        key: values_for(hint, words, instances, depth + 1) or ["None"]
        for key, hint in hints.items()
    }
    most = max(map(len, columns.values()), default=1)
    return [
        "{" + ", ".join(f"{key!r}: {column[at % len(column)]}" for key, column in columns.items())
        + "}"
        for at in range(min(most, 6))
    ]  # fmt: skip


def _protocol(plain: type, words: Words, instances: Instances, depth: int) -> list[str]:
    """A namespace with what the protocol asks for; dunder methods cannot be given that way."""
    members: dict[str, list[str]] = {}
    for name, hint in inspect.get_annotations(plain).items():
        members[name] = values_for(_resolved(hint, plain), words, instances, depth + 1) or ["None"]
    for name, member in vars(plain).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            try:
                returned = typing.get_type_hints(member).get("return", typing.Any)
            except Exception:  # hints are code, and may fail as such
                returned = typing.Any
            results = values_for(returned, words, instances, depth + 1) or ["None"]
            members[name] = [f"lambda *args, **kwargs: {result}" for result in results]
    if not members:
        return []
    most = max(map(len, members.values()))
    return [
        "types.SimpleNamespace("
        + ", ".join(f"{name}={column[at % len(column)]}" for name, column in members.items())
        + ")"
        for at in range(min(most, 6))
    ]


def _resolved(hint: Any, plain: type) -> Any:
    if isinstance(hint, str):
        try:
            return typing.get_type_hints(plain).get(hint, typing.Any)
        except Exception:  # hints are code, and may fail as such
            return typing.Any
    return hint


def _interleaved(columns: list[list[str]]) -> list[str]:
    most = max(map(len, columns), default=0)
    return [column[at] for at in range(most) for column in columns if at < len(column)]
