"""The loaded module: what of it can be called, and with what."""

import ast
import dataclasses
import enum
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sutazai.analysis.generation.inside.cases import Slot, Target
from sutazai.analysis.generation.inside.guesses import Guess, Guesser
from sutazai.analysis.generation.inside.literals import Literals
from sutazai.analysis.generation.inside.matching import matching
from sutazai.analysis.generation.inside.pins import PinFinder
from sutazai.analysis.generation.inside.reading import Reading, Routine, Words
from sutazai.analysis.generation.inside.templates import (
    CONSTRUCTING,
    UNCALLABLE,
    takes_its_own,
    template_of,
)
from sutazai.analysis.generation.inside.values import (
    GENERIC,
    MODULE,
    Instances,
    files,
    keywords,
    numbers,
    streams,
    strings,
    values_for,
)

_KINDS: dict[str, Any] = {
    "str": str, "int": int, "float": float, "bool": bool, "bytes": bytes, "list": list[int],
    "dict": dict[str, int], "set": set[int], "tuple": tuple, "callable": typing.Callable,
    "complex": complex, "integral": int, "number": float,
    "mapping": dict[str, int], "iterable": list[int], "sequence": list[int], "object": object,
}  # fmt: skip
_CHANGING = {"append", "extend", "insert", "sort", "reverse", "pop", "remove", "clear", "update",
             "add", "discard", "setdefault", "popitem", "appendleft"}  # fmt: skip


@dataclass
class Unreachable:
    """A routine that nothing here can call, with the reason."""

    qualname: str
    reason: str


class Subject:
    """Finds targets; `instances` learns while cases are observed which objects can be made."""

    def __init__(self, reading: Reading, module: types.ModuleType) -> None:
        self.reading = reading
        self.module = module
        self.literals = Literals(module)
        self.made: dict[str, list[str]] = {}
        self.unreachable: list[Unreachable] = []
        self._making: set[type] = set()
        self._words: dict[str, Words] = {}
        self.pins = PinFinder(reading)
        self._instances = Instances(of=self.instances_of, name_of=self._name_of)
        holders = [module, *(one for one in map(self.resolve, reading.classes) if one)]
        self._patterns = {
            name: value
            for holder in holders
            for name, value in vars(holder).items()
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str)
        }
        self._constants = {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, str | int | float | tuple | list | dict | set | frozenset)
        }
        self._guesser = Guesser(reading, self._constants)

    def targets(self) -> list[Target]:
        """Everything that can be called, public things first."""
        self.unreachable.clear()
        found: list[Target] = []
        for routine in self.reading.routines.values():
            make = self._function if routine.owner is None else self._method
            target = make(routine)
            if target is not None:
                found.append(target)
        for name in self.reading.classes:
            if f"{name}.__init__" not in self.reading.routines:
                found += self._implicit(name)
        found.sort(key=lambda target: target.is_private)
        return found

    def instances_of(self, kind: type) -> list[str]:
        """Expressions that make objects of a class of the project."""
        name = self._name_of(kind)
        if name is None or kind in self._making or inspect.isabstract(kind):
            return []
        if issubclass(kind, enum.Enum):
            return [f"{name}.{member}" for member in kind.__members__]
        if known := self.made.get(name):
            return list(known)
        self._making.add(kind)
        try:
            slots = self._constructor_slots(kind)
        except (ValueError, TypeError):
            return []
        finally:
            self._making.discard(kind)
        required = [slot for slot in slots if slot.required]
        if any(not slot.pool for slot in required):
            return []
        most = min(4, max([len(slot.pool) for slot in required], default=1))
        return [
            f"{name}({', '.join(_argument(slot, at) for slot in required)})" for at in range(most)
        ]

    def receivers(self, owner: str) -> list[str]:
        """Expressions for objects of a class named as in the module; its subclasses stand in."""
        kind = self.resolve(owner)
        if not inspect.isclass(kind):
            return []
        found = list(self.instances_of(kind))
        if not found or inspect.isabstract(kind):
            for below in kind.__subclasses__():
                found += self.instances_of(below)
        return found

    def resolve(self, qualname: str) -> Any:
        """The object under a dotted name; None where the module has none."""
        found: Any = self.module
        for part in qualname.split("."):
            found = getattr(found, part, None)
        return found

    def _name_of(self, thing: Any) -> str | None:
        if isinstance(thing, enum.Enum):
            return self.literals.of(thing)
        if isinstance(thing, typing.NewType):
            made = str(thing.__name__)
            return f"{MODULE}.{made}" if getattr(self.module, made, None) is thing else None
        if name := self.literals.name_of(thing):
            return name
        if inspect.isclass(thing):
            for known, value in vars(self.module).items():
                if value is thing:
                    return f"{MODULE}.{known}"
            home = sys.modules.get(thing.__module__)
            own = str(thing.__name__)
            if home is not None and getattr(home, own, None) is thing:
                return own if thing.__module__ == "builtins" else f"{thing.__module__}.{own}"
        return None

    def _function(self, routine: Routine) -> Target | None:
        thing = self.resolve(routine.qualname)
        if not callable(thing):
            reason = "the module does not have it when it is imported"
            self.unreachable.append(Unreachable(routine.qualname, reason))
            return None
        form = "with" if _is_manager(routine) else "value"
        return self._target(routine, thing, f"{MODULE}.{routine.qualname}({{args}})", form=form)

    def _method(self, routine: Routine) -> Target | None:
        owner = routine.owner or ""
        kind = self.resolve(owner)
        name = routine.name
        if not inspect.isclass(kind):
            self.unreachable.append(Unreachable(routine.qualname, "its class cannot be reached"))
            return None
        if issubclass(kind, enum.Enum) and name in ("__new__", "__init__", "_missing_"):
            return None
        if name in CONSTRUCTING:
            return self._constructor(routine, kind)
        static = inspect.getattr_static(kind, name, None)
        if isinstance(static, property | cached_property) or _is_property(routine):
            return self._property(routine)
        if isinstance(static, staticmethod | classmethod):
            bound = getattr(kind, name)
            return self._target(routine, bound, f"{MODULE}.{owner}.{name}({{args}})")
        if name in UNCALLABLE or not callable(static):
            reason = "nothing calls it by itself: it takes part in how classes are made"
            self.unreachable.append(Unreachable(routine.qualname, reason))
            return None
        template, form = f"{{self}}.{name}({{args}})", "value"
        if name.startswith("__") and name.endswith("__"):
            template, form = template_of(name)
            template = template or f"{{self}}.{name}({{args}})"
        elif _is_manager(routine):
            form = "with"
        target = self._target(routine, static, template, skip_first=True, form=form or "value")
        if target is not None and takes_its_own(name):
            for slot in target.slots:
                own = self.receivers(owner)
                bases = [one for one in GENERIC if type(_literal(one)) in kind.__mro__]
                slot.pool = list(dict.fromkeys([*own, *bases, "1", "'abc'", *slot.pool[:4]]))
            if name == "__hash__":
                target.slots = [Slot("other", self.receivers(owner))]
        if target is not None and form == "with":
            target.slots = []
        return target

    def _property(self, routine: Routine) -> Target | None:
        template = f"{{self}}.{routine.name}"
        is_setter = any(
            isinstance(one, ast.Attribute) and one.attr == "setter"
            for one in routine.node.decorator_list
        )
        if not is_setter:
            return self._target(routine, None, template)
        names = [one.arg for one in routine.node.args.args[1:]]
        guess = self._guesser.of(routine)
        words = self.words_for(routine)
        slots = [Slot(name, self._guessed(guess[name], words, None)) for name in names]
        return Target(
            qualname=routine.qualname,
            template=f"{template} = {{0}}",
            slots=slots,
            owner=routine.owner,
            form="statement",
            is_private=not routine.is_public,
        )

    def _constructor(self, routine: Routine, kind: type) -> Target | None:
        if inspect.isabstract(kind):
            return None
        name = self._name_of(kind)
        if name is None:
            return None
        slots = self._constructor_slots(kind, routine)
        pins = self.pins.of(routine.qualname)
        return Target(
            qualname=routine.qualname,
            template=f"{name}({{args}})",
            slots=[*slots, *pins.slots],
            owner=routine.owner,
            pins=pins.statements,
            is_private=not routine.is_public,
        )

    def _implicit(self, name: str) -> Iterator[Target]:
        """The constructor of a class that writes none, such as a dataclass."""
        kind = self.resolve(name)
        if not inspect.isclass(kind) or inspect.isabstract(kind) or issubclass(kind, enum.Enum):
            return
        if getattr(kind, "_is_protocol", False) or typing.is_typeddict(kind):
            return
        try:
            slots = self._constructor_slots(kind)
        except (ValueError, TypeError):
            return
        is_private = any(part.startswith("_") for part in name.split("."))
        template = f"{MODULE}.{name}({{args}})"
        yield Target(name, template, slots, owner=name, is_private=is_private)

    def _constructor_slots(self, kind: type, routine: Routine | None = None) -> list[Slot]:
        if routine is None:
            for base in kind.__mro__:
                if base.__module__ == self.module.__name__:
                    routine = self.reading.routines.get(f"{base.__qualname__}.__init__")
                    routine = routine or self.reading.routines.get(f"{base.__qualname__}.__new__")
                    if routine is not None:
                        break
        if routine is not None and routine.name == "__post_init__":
            routine = None
        hints = _hints(kind) if dataclasses.is_dataclass(kind) or routine is None else {}
        if routine is not None:
            hints |= _hints(getattr(kind, routine.name))
        signature = inspect.signature(kind)
        return self._slots(signature, hints, routine)

    def _target(
        self,
        routine: Routine,
        thing: Any,
        template: str,
        *,
        skip_first: bool = False,
        form: str = "value",
    ) -> Target | None:
        slots: list[Slot] = []
        if thing is not None:
            try:
                signature = inspect.signature(thing)
            except (ValueError, TypeError):
                reason = "its signature cannot be read"
                self.unreachable.append(Unreachable(routine.qualname, reason))
                return None
            parameters = list(signature.parameters.values())[1 if skip_first else 0 :]
            signature = signature.replace(parameters=parameters)
            slots = self._slots(signature, _hints(inspect.unwrap(thing)), routine)
        pins = self.pins.of(routine.qualname)
        state = self.reading.touched_state(routine.qualname)
        resets = [
            f"monkeypatch.setattr({MODULE}, {name!r}, {text})"
            for name in state
            if (text := self.reading.state[name]) and _is_closed(text)
        ]
        return Target(
            qualname=routine.qualname,
            template=template,
            slots=[*slots, *pins.slots],
            owner=routine.owner,
            form=form,
            pins=(*pins.statements, *resets),
            state=tuple(name for name in state if _is_closed(self.reading.state[name])),
            is_private=not routine.is_public,
        )

    def _slots(
        self, signature: inspect.Signature, hints: dict[str, Any], routine: Routine | None
    ) -> list[Slot]:
        guessed = self._guesser.of(routine) if routine else {}
        words = self.words_for(routine) if routine else self.reading.words
        changed = _changed_parameters(routine) if routine else set()
        slots: list[Slot] = []
        for parameter in signature.parameters.values():
            hint = hints.get(parameter.name, parameter.annotation)
            if hint is inspect.Parameter.empty or isinstance(hint, str):
                hint = None
            guess = guessed.get(parameter.name, Guess())
            if parameter.kind is parameter.VAR_KEYWORD:
                values = values_for(hint, words, self._instances) if hint else ["1", "'abc'"]
                pool = keywords(words, values, set(signature.parameters))
                slots.append(
                    Slot(parameter.name, pool, required=False, positional=False, variadic=True)
                )
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                pool = values_for(hint, words, self._instances) if hint else list(GENERIC)
                many = [", ".join(pool[:count]) for count in (1, 2, 3)]
                slots.append(Slot(parameter.name, many, required=False, variadic=True))
                continue
            default = parameter.default
            required = default is parameter.empty
            if parameter.name.startswith("_") and not required:
                continue  # for the module's own use
            pool = self._pool(hint, guess, words, None if required else default)
            slots.append(
                Slot(
                    name=parameter.name,
                    pool=list(dict.fromkeys(pool)),
                    required=required,
                    positional=parameter.kind is not parameter.KEYWORD_ONLY,
                    only_positional=parameter.kind is parameter.POSITIONAL_ONLY,
                    is_changed=parameter.name in changed,
                )
            )
        return slots

    def _pool(self, hint: Any, guess: Guess, words: Words, default: Any) -> list[str]:
        if hint is None or hint is typing.Any or (hint is object and guess.kinds):
            return self._guessed(guess, words, default)
        pool = values_for(hint, words, self._instances)
        kept = [one for one in guess.compared if _fits(one, hint)]
        return [*pool[:2], *kept, *pool[2:]]

    def _guessed(self, guess: Guess, words: Words, default: Any) -> list[str]:
        if default is not None and not isinstance(default, type):
            guess.add(type(default).__name__, 5)
        pool: list[list[str]] = []
        for kind in guess.best[:3]:
            if kind == "path":
                pool.append(files(words))
            elif kind == "stream":
                pool.append(streams(words))
            elif kind == "reader":
                pool.append([f"{one}.readline" for one in streams(words)])
            elif kind == "str":
                pool.append(strings(words))
            elif kind == "int":
                pool.append(numbers(words, whole=True))
            elif kind in _KINDS:
                pool.append(values_for(_KINDS[kind], words, self._instances))
            else:
                named = (name for name in self.reading.classes if name.lower() == kind)
                pool += [self.instances_of(one) for one in map(self.resolve, named) if one]
        found = [column[at] for at in range(24) for column in pool if at < len(column)]
        generic = [one for one in GENERIC if _is_like(one, default)]
        return [*found[:2], *guess.compared[:16], *found[2:], *generic]

    def words_for(self, routine: Routine) -> Words:
        """Its own words first, with texts that its patterns match, then those of its callees."""
        if routine.qualname not in self._words:
            self._words[routine.qualname] = self._collected_words(routine)
        return self._words[routine.qualname]

    def _collected_words(self, routine: Routine) -> Words:
        words = Words(
            list(routine.words.strings), list(routine.words.numbers), [], list(routine.words.blobs)
        )
        samples: list[str] = []
        for reached in sorted(self.reading.reaches(routine.qualname)):
            called = self.reading.routines[reached]
            for pattern in called.words.patterns:
                samples += filter(None, (matching(pattern, seed) for seed in range(3)))
            for name in sorted(called.calls & set(self._patterns)):
                compiled = self._patterns[name]
                verbose = bool(compiled.flags & re.VERBOSE)
                many = (matching(compiled.pattern, seed, verbose=verbose) for seed in range(8))
                samples += filter(None, many)
            for name in sorted(called.calls & set(self._constants)):
                value = self._constants[name]
                if isinstance(value, str) and len(value) < 40:
                    words.strings.append(value)
                elif isinstance(value, dict | tuple | list | set | frozenset):
                    words.strings += [one for one in list(value)[:8] if isinstance(one, str)]
                    words.strings += self.reading.words_in(name).strings[:12]
                    words.numbers += self.reading.words_in(name).numbers[:6]
            if reached != routine.qualname:
                words.blobs += [one for one in called.words.blobs[:12] if one not in words.blobs]
                words.strings += called.words.strings[:12]
                words.numbers += called.words.numbers[:6]
        words.strings = list(dict.fromkeys([*samples[:24], *words.strings]))
        return words


def _argument(slot: Slot, at: int) -> str:
    value = slot.pool[at % len(slot.pool)]
    return value if slot.positional else f"{slot.name}={value}"


def _hints(thing: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(thing, include_extras=False)
    except Exception:  # hints are code, and may fail as such
        return {}


def _is_manager(routine: Routine) -> bool:
    return any(
        ast.unparse(decorator).rpartition(".")[2] == "contextmanager"
        for decorator in routine.node.decorator_list
    )


def _is_property(routine: Routine) -> bool:
    names = [ast.unparse(decorator) for decorator in routine.node.decorator_list]
    return any(
        name == "property" or name.endswith((".setter", ".getter", "cached_property"))
        for name in names
    )


def _is_closed(text: str) -> bool:
    """Whether the text of a first value needs nothing but itself."""
    try:
        ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text in ("set()", "dict()", "list()", "[]", "{}")
    return True


def _is_like(expression: str, default: Any) -> bool:
    """Whether somebody might give this where the default says what kind of thing it is."""
    if not isinstance(default, bool | int | float | str | bytes):
        return True
    return type(_literal(expression)) in (type(default), type(None))


def _literal(expression: str) -> Any:
    """What a literal stands for; an object of its own for any other expression."""
    try:
        return ast.literal_eval(expression)
    except ValueError:
        return object()


def _fits(expression: str, hint: Any) -> bool:
    try:
        value = ast.literal_eval(expression)
    except (ValueError, SyntaxError):
        return True
    allowed = typing.get_args(hint) or (hint,)
    kinds = {float: (int, float), str: (str,), int: (int,), bytes: (bytes,)}
    return any(isinstance(value, kinds.get(one, (object,))) for one in allowed)


def _changed_parameters(routine: Routine) -> set[str]:
    names = {one.arg for one in ast.walk(routine.node.args) if isinstance(one, ast.arg)}
    changed: set[str] = set()
    for node in ast.walk(routine.node):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            if isinstance(node.value, ast.Name):
                changed.add(node.value.id)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _CHANGING
            and isinstance(node.func.value, ast.Name)
        ):
            changed.add(node.func.value.id)
    return changed & names
