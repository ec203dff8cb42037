"""JMESPath, strict and bounded: a path that leads nowhere is an error, and so is too much work."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

LONGEST = 1_000
MOST_WORK = 50_000
"""Visited nodes, and values that are walked over, ten for one; tens of milliseconds."""
MOST_WORK_TOGETHER = 500_000
"""The same, of all that begins in one transaction, which others wait for; see `Budget`."""
MOST_TEXT = 4 * 1024 * 1024
"""Characters that one function may make of others."""

OF_A_STEP = ("output", "status", "error")
"""What an expression can read of a step; see `steps` in docs/guides/workflow.md."""

Node = Any


class ExpressionError(Exception):
    """An expression that cannot be read, or has no answer; says what to change."""


class Budget:
    """The work that is left to what begins together: an execution, and all above and below it.

    Expressions spend it as they are evaluated, and so does what they begin.
    """

    def __init__(self, left: float = MOST_WORK_TOGETHER) -> None:
        """`left` is in visited nodes of an expression, as `MOST_WORK`."""
        self.left = left

    def spend(self, work: float) -> None:
        """Take some; ExpressionError where there is less left."""
        self.left -= work
        if self.left < 0:
            message = (
                f"What begins together takes too long: more than {MOST_WORK_TOGETHER} steps of "
                "work. Narrow what its expressions work on, or lower for_each.concurrency."
            )
            raise ExpressionError(message)


class Expression:
    """A compiled expression."""

    def __init__(self, text: str) -> None:
        """ExpressionError where it is no JMESPath, or names steps in a way that cannot be checked.

        So is a function that there is not, or that takes other arguments. Steps are named one by
        one, with what there is of a step: `steps.build.output`, or `steps."1".output`.
        """
        self.text = text
        if len(text) > LONGEST:
            raise ExpressionError(f"It has {len(text)} characters; {LONGEST} are the most.")
        try:
            self._tree: Any = jmespath.compile(text).parsed
        except RecursionError:
            raise ExpressionError("It is nested too deeply.") from None
        except (JMESPathError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ExpressionError(f"It is not JMESPath: {reason}") from None
        self.names: frozenset[str] = frozenset()
        self.steps: frozenset[str] = frozenset()
        self._find_names(self._tree)
        _check_functions(self._tree)

    def _find_names(self, tree: Node) -> None:
        """Note the top-level names it uses, and the steps among them."""
        names: set[str] = set()
        steps: set[str] = set()
        # Each with whether it is read against the scope, and not against something found in it.
        todo: list[tuple[Node, bool]] = [(tree, True)]
        while todo:
            node, at_top = todo.pop()
            children = [child for child in node["children"] if isinstance(child, dict)]
            match node["type"]:
                case "field":
                    if at_top:
                        names.add(node["value"])
                        if node["value"] == "steps":
                            raise ExpressionError("Name one step: steps.<step_id>.output")
                    continue
                case "current" | "identity":
                    if at_top:
                        raise ExpressionError("Name what it needs instead of @.")
                    continue
                case "subexpression":
                    first, second = children[0], children[1]
                    if at_top and first["type"] == "field" and first["value"] == "steps":
                        if second["type"] != "field":
                            raise ExpressionError("Name one step: steps.<step_id>.output")
                        names.add("steps")
                        steps.add(second["value"])
                        children = children[2:]
                        _check_part(children)
                        todo += [(child, False) for child in children]
                        continue
                    todo.append((first, at_top))
                    todo += [(child, False) for child in children[1:]]
                case (
                    "pipe"
                    | "index_expression"
                    | "projection"
                    | "filter_projection"
                    | ("value_projection")
                ):
                    todo.append((children[0], at_top))
                    todo += [(child, False) for child in children[1:]]
                case "expref":
                    todo += [(child, False) for child in children]
                case _:
                    todo += [(child, at_top) for child in children]
        self.names, self.steps = frozenset(names), frozenset(steps)

    def evaluate(
        self,
        scope: Mapping[str, Any],
        *,
        most_items: int | None = None,
        budget: Budget | None = None,
    ) -> Any:
        """Its value; ExpressionError for a path that leads nowhere, and for too much work.

        A missing path is allowed left of `||`, within filters and projections, and as an argument
        of `not_null`: there the language has a meaning for it. A list of more than `most_items` is
        an error as well, and so is more work than the `budget` has left.
        """
        interpreter = _Strict(Budget() if budget is None else budget)
        try:
            value = interpreter.visit(self._tree, dict(scope))
            if most_items is not None and isinstance(value, list) and len(value) > most_items:
                message = (
                    f"It yields {len(value)} items; {most_items} are the most. Split the list."
                )
                raise ExpressionError(message)
            interpreter.charge(value)
        except RecursionError:
            raise ExpressionError("It is nested too deeply.") from None
        except (JMESPathError, ValueError, TypeError, ArithmeticError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ExpressionError(f"{self.text!r} cannot be evaluated: {reason}") from None
        return value


def _check_part(after: list[Node]) -> None:
    """ExpressionError where what follows a step's name is a word that no step has."""
    if after and after[0]["type"] == "field" and after[0]["value"] not in OF_A_STEP:
        there = ", ".join(OF_A_STEP)
        raise ExpressionError(f"A step has {there}, and no {after[0]['value']!r}.")


def _check_functions(tree: Node) -> None:
    """ExpressionError for a call that would fail whatever the values are."""
    todo: list[Node] = [{"type": "root", "children": [tree]}]
    while todo:
        node = todo.pop()
        children = [child for child in node["children"] if isinstance(child, dict)]
        todo += children
        if node["type"] == "function_expression":
            _check_call(node["value"], children)
        elif any(child["type"] == "expref" for child in children):
            raise ExpressionError("& goes only before an argument of a function such as sort_by().")


def _check_call(name: str, arguments: list[Node]) -> None:
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        there = ", ".join(sorted(Functions.FUNCTION_TABLE))
        raise ExpressionError(f"There is no function {name}(); there are {there}.")
    wanted = known["signature"]
    if wanted[-1].get("variadic"):
        fits, least = len(arguments) >= len(wanted), "at least "
    else:
        fits, least = len(arguments) == len(wanted), ""
    if not fits:
        some = "argument" if len(wanted) == 1 else "arguments"
        raise ExpressionError(
            f"{name}() takes {least}{len(wanted)} {some}, and not {len(arguments)}."
        )
    for number, argument in enumerate(arguments, 1):
        wants_expression = wanted[min(number, len(wanted)) - 1]["types"] == ["expref"]
        if wants_expression != (argument["type"] == "expref"):
            what = "an expression, as &name" if wants_expression else "a value, without &"
            raise ExpressionError(f"{name}() takes as its argument {number} {what}.")


@lru_cache(maxsize=1024)
def compiled(text: str) -> Expression:
    """The expression, kept for the next time."""
    return Expression(text)


def is_true(value: Any) -> bool:
    """What JMESPath takes for true: all but null, false, and what is empty."""
    return value is not None and value is not False and value not in ("", [], {})


_LENIENT_RIGHT = ("projection", "value_projection", "filter_projection")


_Base: Any = TreeInterpreter


class _Strict(_Base):  # type: ignore[misc]  # its stubs are narrower than what it takes
    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget
        self._work: float = 0
        self._lenient = 0
        self._path: list[str] = []

    def visit(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        self._spend(1)
        if node["type"] in _LENIENT_RIGHT:
            return self._project(node, *args)
        return super().visit(node, *args, **kwargs)

    def _spend(self, work: float) -> None:
        self._work += work
        self._budget.spend(work)
        if self._work > MOST_WORK:
            message = f"It takes too long: more than {MOST_WORK} steps. Narrow what it works on."
            raise ExpressionError(message)

    def charge(self, value: Any) -> None:
        """Spend what it costs to walk over a value; ExpressionError where JSON cannot hold it."""
        todo = [value]
        while todo:
            one = todo.pop()
            if isinstance(one, dict):
                self._spend((1 + len(one)) / 10)
                todo += one.values()
            elif isinstance(one, list):
                self._spend((1 + len(one)) / 10)
                todo += one
            elif isinstance(one, str):
                self._spend(0.1 + len(one) / 1_000)
            elif isinstance(one, float) and not math.isfinite(one):
                # It would be recorded as null, as though nothing had been there.
                raise ExpressionError("It comes to a number that is too large for JSON.")

    def _project(self, node: Node, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        self._lenient += 1
        try:
            # The base is visited once, strictly; what follows sees the value it had.
            literal = {"type": "literal", "value": base, "children": []}
            projected = {**node, "children": [literal, *node["children"][1:]]}
            return getattr(super(), f"visit_{node['type']}")(projected, value)
        finally:
            self._lenient -= 1

    def visit_subexpression(self, node: Node, value: Any) -> Any:
        above = self._path
        for number, child in enumerate(node["children"]):
            fields = [one["value"] for one in node["children"][:number] if one["type"] == "field"]
            self._path = [*above, *fields] if len(fields) == number else []
            value = self.visit(child, value)
        self._path = above
        return value

    def visit_field(self, node: Node, value: Any) -> Any:
        name = node["value"]
        if isinstance(value, dict) and name in value:
            return value[name]
        if self._lenient:
            return None
        path = ".".join([*self._path, name])
        if isinstance(value, dict):
            there = ", ".join(sorted(map(str, value))[:20]) or "nothing"
            raise ExpressionError(f"There is no {path!r}; there is {there}.")
        kind = "null" if value is None else type(value).__name__
        raise ExpressionError(f"There is no {path!r}: what should hold it is a {kind}.")

    def visit_index(self, node: Node, value: Any) -> Any:
        found = super().visit_index(node, value)
        if found is None and not self._lenient:
            position = node["value"]
            size = len(value) if isinstance(value, list) else None
            if size is None or not -size <= position < size:
                what = "what is not a list" if size is None else f"a list of {size}"
                raise ExpressionError(f"There is no item [{position}] in {what}.")
        return found

    def visit_or_expression(self, node: Node, value: Any) -> Any:
        self._lenient += 1
        try:
            left = self.visit(node["children"][0], value)
        finally:
            self._lenient -= 1
        return left if is_true(left) else self.visit(node["children"][1], value)

    def visit_comparator(self, node: Node, value: Any) -> Any:
        sides = [self.visit(child, value) for child in node["children"]]
        for side in sides:
            self.charge(side)
        literals = [{"type": "literal", "value": side, "children": []} for side in sides]
        return super().visit_comparator({**node, "children": literals}, value)

    def visit_flatten(self, node: Node, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if isinstance(base, list):
            self._spend(sum(len(one) if isinstance(one, list) else 1 for one in base))
        literal = {"type": "literal", "value": base, "children": []}
        return super().visit_flatten({**node, "children": [literal]}, value)

    def visit_slice(self, node: Node, value: Any) -> Any:
        if isinstance(value, list):
            self._spend(len(value))
        return super().visit_slice(node, value)

    def visit_function_expression(self, node: Node, value: Any) -> Any:
        lenient = node["value"] == "not_null"
        self._lenient += lenient
        try:
            arguments = [self.visit(child, value) for child in node["children"]]
        finally:
            self._lenient -= lenient
        for one in arguments:
            self.charge(one)
        if node["value"] == "join" and len(arguments) == 2:
            glue, parts = arguments
            if isinstance(glue, str) and isinstance(parts, list):
                made = len(glue) * len(parts) + sum(len(p) for p in parts if isinstance(p, str))
                if made > MOST_TEXT:
                    raise ExpressionError("join would make a text that is too long.")
        made = self._functions.call_function(node["value"], arguments)
        if isinstance(made, float) and not math.isfinite(made):
            if node["value"] == "to_number":  # of 'nan' or '1e999', which are no numbers in JSON
                return None
            raise ExpressionError(
                f"{node['value']}() comes to a number that is too large for JSON."
            )
        return made
