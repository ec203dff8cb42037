"""What is known of a project's public names: plain data, made from syntax trees."""

import ast
from enum import StrEnum

import msgspec

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef
Documentable = ast.Module | ast.ClassDef | AnyFunction


class Kind(StrEnum):
    """What a symbol is."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    METHOD = "method"
    PROPERTY = "property"
    ATTRIBUTE = "attribute"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter; `shown` has the stars of a variadic one. `use` is what the body does."""

    name: str
    shown: str
    annotation: str | None
    default: str | None
    use: str
    variadic: bool = False


class Raise(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that leaves a function, and when. `via` names a callee that it comes from."""

    name: str
    when: str
    line: int
    via: str = ""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What comes out: the type, where it is written or evident, and a sentence about the value."""

    type: str | None
    what: str


class Symbol(msgspec.Struct, kw_only=True):
    """A module, class, function or attribute. `node` is where a docstring belongs."""

    kind: Kind
    name: str
    path: str
    file: str
    line: int
    public: bool
    node: Documentable | None = None
    signature: str = ""
    docstring: str | None = None
    doc_line: int = 0
    parameters: list[Parameter] = []
    returns: Output | None = None
    yields: Output | None = None
    raises: list[Raise] = []
    value: str | None = None
    annotation: str | None = None
    bases: list[str] = []
    labels: list[str] = []
    members: list["Symbol"] = []
    exports: dict[str, str] = {}
    """Of a module: public names that it takes from elsewhere, with where from."""

    @property
    def counts(self) -> bool:
        """Whether a docstring is expected of it."""
        return self.node is not None and self.public

    def walk(self) -> list["Symbol"]:
        """This one and all below it, in the order of the source."""
        found = [self]
        for member in self.members:
            found += member.walk()
        return found


class Undocumented(msgspec.Struct, frozen=True, kw_only=True):
    """A public function without a docstring, with the exceptions that leave it."""

    path: str
    file: str
    line: int
    raises: list[str]
    has_output: bool


class Stale(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of the documentation that the code contradicts; `quote` is line `line`."""

    kind: str
    file: str
    line: int
    symbol: str
    quote: str
    message: str
    suggestion: str
