"""What a function's body says: the exceptions that leave it, what it returns, how it uses names."""

import ast
import builtins
from collections.abc import Iterator

from sutazai.analysis.documentation.model import AnyFunction, Raise
from sutazai.analysis.parsing import Module, parent

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)
_DEEPEST = 20
_LONGEST = 80
# Passing these on says nothing of what is raised.
_ANYTHING = ("Exception", "BaseException")
_INVERSE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.In: ast.NotIn,
}
_INVERSE |= {there: back for back, there in list(_INVERSE.items())}


def code(node: ast.AST) -> str:
    """The source of an expression on one line, in backticks; cut where it is long."""
    text = " ".join(ast.unparse(node).split())
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def own_nodes(function: AnyFunction) -> Iterator[ast.AST]:
    """The nodes of a body in source order, without those of functions and classes inside it."""
    stack: list[ast.AST] = list(reversed(function.body))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, _SCOPES):
            stack += reversed(list(ast.iter_child_nodes(node)))


class Bodies:
    """The functions of one module, and who of them calls whom."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._functions: dict[tuple[str, str], AnyFunction] = {}
        self._bases: dict[str, list[str]] = {}
        for definition in module.of(ast.ClassDef):
            bases = [module.qualified(base) for base in definition.bases]
            self._bases[definition.name] = [base for base in bases if base]
        functions: list[AnyFunction] = [*module.of(ast.FunctionDef)]
        functions += module.of(ast.AsyncFunctionDef)
        for function in functions:
            above = parent(function)
            owner = above.name if isinstance(above, ast.ClassDef) else ""
            if isinstance(above, ast.Module | ast.ClassDef):
                self._functions[owner, function.name] = function
        self._raised: dict[AnyFunction, list[Raise]] = {}
        self._running: list[AnyFunction] = []
        self._incomplete: set[AnyFunction] = set()

    def raises(self, function: AnyFunction) -> list[Raise]:
        """The exceptions that evidently leave it, its own first, each name and reason once."""
        if function in self._raised:
            return self._raised[function]
        if function in self._running or len(self._running) > _DEEPEST:
            self._incomplete.update(self._running)
            return []
        self._running.append(function)
        own: dict[tuple[str, str], Raise] = {}
        passed: dict[tuple[str, str], Raise] = {}
        for node in own_nodes(function):
            if isinstance(node, ast.Raise):
                for name in self._names(node, function):
                    if not self._is_caught(node, name, function):
                        when = _when(node, function)
                        own.setdefault((name, when), Raise(name=name, when=when, line=node.lineno))
            elif isinstance(node, ast.Call):
                for one in self._passed_on(node, function):
                    passed.setdefault((one.name, one.via), one)
        self._running.pop()
        named = {one.name for one in own.values()}
        found = [*own.values(), *(one for one in passed.values() if one.name not in named)]
        self._raised[function] = found
        return found

    def is_complete(self, function: AnyFunction) -> bool:
        """Whether `raises` has followed all calls within the module, recursion included."""
        self.raises(function)
        return function not in self._incomplete

    def _passed_on(self, call: ast.Call, function: AnyFunction) -> Iterator[Raise]:
        callee = self.callee(call, function)
        if callee is None or callee is function:
            return
        for one in self.raises(callee):
            if not self._is_caught(call, one.name, function):
                yield Raise(
                    name=one.name,
                    when=f"Passed on from `{callee.name}`.",
                    line=call.lineno,
                    via=callee.name,
                )
        if callee in self._incomplete:
            self._incomplete.add(function)

    def callee(self, call: ast.Call, function: AnyFunction) -> AnyFunction | None:
        """The function of this module that a call means, where that is evident."""
        match call.func:
            case ast.Name(id=name):
                return self._functions.get(("", name))
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                owner = parent(function)
                if isinstance(owner, ast.ClassDef):
                    return self._functions.get((owner.name, name))
        return None

    def defines(self, exception: str) -> bool:
        """Whether this module has a class of that name."""
        return exception in self._bases

    def _names(self, node: ast.Raise, function: AnyFunction) -> list[str]:
        raised = node.exc
        if raised is None:
            handler = next((a for a in self._module.parents(node) if _is_handler(a)), None)
            names = self._caught_names(handler) if isinstance(handler, ast.ExceptHandler) else []
            return [name for name in names if name not in _ANYTHING]
        if isinstance(raised, ast.Call):
            raised = raised.func
        if isinstance(raised, ast.Name):
            for above in self._module.parents(node):
                if isinstance(above, ast.ExceptHandler) and above.name == raised.id:
                    return [name for name in self._caught_names(above) if name not in _ANYTHING]
                if above is function:
                    break
            if not _is_exception_name(raised.id):
                return []
        name = self._module.qualified(raised)
        last = name.rpartition(".")[2]
        # A factory such as `raise self._failure()` names no class.
        return [last] if _is_exception_name(last) else []

    def _caught_names(self, handler: ast.ExceptHandler) -> list[str]:
        kinds = handler.type
        several = kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]
        names = [self._module.qualified(kind) for kind in several if kind is not None]
        return [name.rpartition(".")[2] for name in names if name]

    def _is_caught(self, node: ast.AST, name: str, function: AnyFunction) -> bool:
        below = node
        for above in self._module.parents(node):
            if isinstance(above, ast.Try) and below in above.body:
                for handler in above.handlers:
                    if handler.type is None or self._covers(self._caught_names(handler), name):
                        return True
            if isinstance(above, ast.With) and below in above.body:
                for item in above.items:
                    if self._suppresses(item.context_expr, name):
                        return True
            if above is function:
                return False
            below = above
        return False

    def _suppresses(self, expression: ast.expr, name: str) -> bool:
        if not isinstance(expression, ast.Call):
            return False
        if self._module.qualified(expression.func) not in ("contextlib.suppress", "suppress"):
            return False
        kinds = [self._module.qualified(kind).rpartition(".")[2] for kind in expression.args]
        return self._covers(kinds, name)

    def _covers(self, kinds: list[str], name: str) -> bool:
        return any(kind in self.ancestors(name) for kind in kinds)

    def ancestors(self, name: str) -> set[str]:
        """What catches an exception of this name, itself included, as far as is known here."""
        found, pending = set[str](), [name]
        while pending:
            one = pending.pop()
            if one in found:
                continue
            found.add(one)
            pending += [base.rpartition(".")[2] for base in self._bases.get(one, ())]
            known = getattr(builtins, one, None)
            if isinstance(known, type) and issubclass(known, BaseException):
                found |= {above.__name__ for above in known.__mro__}
        return found | {"Exception", "BaseException"}


def _is_handler(node: ast.AST) -> bool:
    return isinstance(node, ast.ExceptHandler)


def _is_exception_name(name: str) -> bool:
    return name[:1].isupper() or isinstance(getattr(builtins, name, None), type)


def _when(node: ast.Raise, function: AnyFunction) -> str:
    """The condition of a raise, in words and code."""
    conditions: list[str] = []
    below: ast.AST = node
    above = parent(node)
    caught = ""
    while above is not None and above is not function:
        match above:
            case ast.If(test=test, body=body):
                conditions.append(code(test if below in body else inverse(test)))
            case ast.ExceptHandler(type=kind) if not caught:
                caught = f"When {code(kind)} is caught" if kind else "When anything is caught"
        below, above = above, parent(above)
    conditions.reverse()
    if caught:
        return caught + (f" and {' and '.join(conditions)}" if conditions else "") + "."
    if conditions:
        return f"If {' and '.join(conditions)}."
    message = _message(node)
    if message:
        return f"With the message {code(message)}."
    if below in function.body and below is node:
        returns = any(isinstance(one, ast.Return) for one in own_nodes(function))
        return "If nothing is returned before." if returns else "Always."
    return "Raised in the body."


def _message(node: ast.Raise) -> ast.expr | None:
    match node.exc:
        case ast.Call(args=[ast.Constant(value=str()) as message, *_]):
            return message
        case _:
            return None


def inverse(test: ast.expr) -> ast.expr:
    """The opposite of a condition, as one would write it."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return operand
        case ast.Compare(left=left, ops=[operator], comparators=comparators) if (
            type(operator) in _INVERSE
        ):
            return ast.Compare(left=left, ops=[_INVERSE[type(operator)]()], comparators=comparators)
        case _:
            return ast.UnaryOp(op=ast.Not(), operand=test)
