"""Strawberry's decorators, with types, and with the docstring as what the schema says."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast, dataclass_transform

import strawberry

T = TypeVar("T")
Resolver = TypeVar("Resolver", bound=Callable[..., Any])


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def node(cls: type[T]) -> type[T]:
    """A type of the graph."""
    made: type[T] = strawberry.type(cls, description=_said(cls))
    return made


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def given(cls: type[T]) -> type[T]:
    """A type of arguments."""
    made: type[T] = strawberry.input(cls, description=_said(cls))
    return made


def field(resolver: Resolver) -> Resolver:
    """A field that is computed, or a mutation."""
    return cast(Resolver, strawberry.field(resolver, description=_said(resolver)))


def subscription(resolver: Resolver) -> Resolver:
    """A field whose resolver yields."""
    return cast(Resolver, strawberry.subscription(resolver, description=_said(resolver)))


def _said(what: object) -> str:
    # One line: a paragraph's breaks are the source's, not the reader's.
    return " ".join((inspect.getdoc(what) or "").split())
