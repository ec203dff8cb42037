"""Values as expressions that a person can read, and that are equal to the value."""

import datetime
import decimal
import enum
import fractions
import math
import pathlib
import types
import uuid
from typing import Any

from sutazai.analysis.generation.inside.values import MODULE

LONGEST = 160
MOST_ITEMS = 12
_DEPTH = 5
_QUALIFIED = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)


class Literals:
    """Writes values over the names of one module."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def of(self, value: Any) -> str | None:
        """An expression equal to `value`; None where none is short, certain and readable."""
        text = self._text(value, _DEPTH)
        return text if text is not None and len(text) <= LONGEST else None

    def name_of(self, thing: Any) -> str | None:
        """`MUT__.a.b` for what the module has under its own name."""
        name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
        if not isinstance(name, str) or "<" in name:
            return None
        found: Any = self._module
        for part in name.split("."):
            found = getattr(found, part, None)
        return f"{MODULE}.{name}" if found is thing else None

    def _text(self, value: Any, depth: int) -> str | None:
        kind = type(value)
        if value is None or kind in (bool, int):
            return repr(value)
        if kind is float:
            return _float(value)
        if kind in (str, bytes, complex):
            return repr(value) if len(value if kind is not complex else "") <= LONGEST else None
        if value is Ellipsis or value is NotImplemented:
            return repr(value)
        if isinstance(value, enum.Enum):
            return self._member(value)
        if depth == 0:
            return None
        if kind in (list, tuple, set, frozenset, dict):
            return self._container(value, depth)
        if kind in _QUALIFIED:
            return repr(value) if _plain_zone(value) else None
        if kind is decimal.Decimal:
            return f"decimal.{value!r}" if value.is_finite() else None
        if kind is fractions.Fraction:
            return f"fractions.{value!r}"
        if kind is uuid.UUID:
            return f"uuid.UUID({str(value)!r})"
        if isinstance(value, pathlib.PurePath):
            return None if value.is_absolute() else f"pathlib.{kind.__name__}({str(value)!r})"
        if kind is range:
            return repr(value)
        if isinstance(value, type | types.FunctionType):
            return self._named(value)
        return self._object(value, depth)

    def _container(self, value: Any, depth: int) -> str | None:
        if len(value) > MOST_ITEMS:
            return None
        if type(value) is dict:
            pairs = [
                (self._text(key, depth - 1), self._text(item, depth - 1))
                for key, item in value.items()
            ]
            if any(key is None or item is None for key, item in pairs):
                return None
            return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
        items = [self._text(item, depth - 1) for item in value]
        if None in items:
            return None
        texts = [item for item in items if item is not None]
        if isinstance(value, list):
            return f"[{', '.join(texts)}]"
        if isinstance(value, tuple):
            return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"
        inner = "{" + ", ".join(sorted(texts)) + "}" if texts else ""
        if isinstance(value, frozenset):
            return f"frozenset({inner})"
        return inner or "set()"

    def _member(self, value: enum.Enum) -> str | None:
        owner = self.name_of(type(value))
        if owner is None or value.name is None or not value.name.isidentifier():
            return None
        return f"{owner}.{value.name}"

    def _named(self, value: Any) -> str | None:
        if name := self.name_of(value):
            return name
        builtin = getattr(value, "__module__", "") == "builtins"
        return value.__name__ if builtin and value.__name__.isidentifier() else None

    def _object(self, value: Any, depth: int) -> str | None:
        """By its own `repr`, where that is an expression that gives an equal object."""
        kind = type(value)
        owner = self.name_of(kind)
        if owner is None or getattr(kind, "__eq__", None) is getattr(object, "__eq__", None):
            return None
        try:
            text = repr(value)
        except Exception:  # it is not our code
            return None
        if not text.startswith(f"{kind.__qualname__}(") or len(text) > LONGEST:
            return None
        arguments = text[len(kind.__qualname__) :]
        try:
            names = {**vars(self._module), "datetime": datetime, "pathlib": pathlib}
            twin = eval(f"{kind.__qualname__}{arguments}", names)  # noqa: S307  # in the sandbox
            same = type(twin) is kind and bool(twin == value) and repr(twin) == text
        except Exception:  # a repr need not be an expression
            return None
        return self._over_module(text) if same else None

    def _over_module(self, text: str) -> str | None:
        """`Point(x=1)` as `MUT__.Point(x=1)`, for every name that is the module's."""
        import ast

        class Qualify(ast.NodeTransformer):
            def visit_Name(inner, node: ast.Name) -> ast.AST:  # noqa: N805  # ast's way
                if hasattr(self._module, node.id) and not isinstance(
                    getattr(self._module, node.id), types.ModuleType
                ):
                    return ast.Attribute(ast.Name(MODULE, ast.Load()), node.id, ast.Load())
                return node

        try:
            return ast.unparse(Qualify().visit(ast.parse(text, mode="eval")))
        except SyntaxError:
            return None


def _float(value: float) -> str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "math.inf" if value > 0 else "-math.inf"
    return repr(value)


def _plain_zone(value: Any) -> bool:
    zone = getattr(value, "tzinfo", None)
    return zone is None or zone is datetime.UTC
