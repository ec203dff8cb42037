"""Expressions: JMESPath that says what is missing, and stops before it takes long."""

from typing import Any

import pytest

from sutazai.workflows.expressions import (
    Budget,
    Expression,
    ExpressionError,
    compiled,
    is_true,
)

SCOPE: dict[str, Any] = {
    "input": {"files": ["a.py", "b.py"], "none": None, "deep": {"list": [1, 2, {"x": 3}]}},
    "steps": {
        "1": {
            "status": "completed",
            "output": {"issues": [{"severity": "high", "line": 1}, {"line": 2}]},
        }
    },
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.files[1]", "b.py"),
        ("input.deep.list[2].x", 3),
        ('length(steps."1".output.issues)', 2),
        ('steps."1".output.issues[?severity == `"high"`].line', [1]),
        ('steps."1".output.issues[].severity', ["high"]),
        ("input.missing || `7`", 7),
        ("not_null(input.missing, input.files[0])", "a.py"),
        ("input.none", None),
        ("{all: input.files, n: length(input.files)}", {"all": ["a.py", "b.py"], "n": 2}),
        ("input.files | [0]", "a.py"),
        ("steps.\"1\".status == 'completed'", True),
    ],
)
def test_an_expression_yields_what_jmespath_says(text: str, value: Any) -> None:
    assert Expression(text).evaluate(SCOPE) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input.fils", "'input.fils'; there is deep, files, none"),
        ("input.none.x", "what should hold it is a null"),
        ("input.files[2]", "no item [2] in a list of 2"),
        ('steps."1".output.isues[0]', "output.isues"),
        ("length(input.none)", "length"),
        ("nonsense(input)", "nonsense"),
    ],
)
def test_what_is_missing_is_named(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        Expression(text).evaluate(SCOPE)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "input | " + " | ".join(["[@,@]"] * 60) + " | to_string(@)",
        "input | " + " | ".join(["[@,@]"] * 60),
        "input.files | " + " | ".join(["[@,@][]"] * 60),
        "input.many[*].[@,@,@,@,@,@,@,@]",
        "join(input.long, input.many)",
        " && ".join(["input.many == input.many"] * 8),
    ],
)
def test_an_expression_that_runs_long_is_cut(text: str) -> None:
    scope = {
        "input": {"files": ["a"], "many": [str(n) for n in range(20_000)], "long": "x" * 100_000}
    }
    with pytest.raises(ExpressionError, match="too long"):
        Expression(text).evaluate(scope)


@pytest.mark.parametrize("text", ["(" * 400, "[" * 999, "!" * 999 + "input", "x" * 1_001, "", " "])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression(text).evaluate(SCOPE)


@pytest.mark.parametrize(
    "text",
    ["steps.a.otput", "steps.a.output_.x || `1`", "[input.x, steps.a.result.y]"],
)
def test_what_no_step_has_is_refused_before_anything_runs(text: str) -> None:
    with pytest.raises(ExpressionError, match="A step has output, status, error, and no"):
        Expression(text)


@pytest.mark.parametrize(
    "text", ["sum(input)", "{x: [sum(input)]}", "`1e999`", "sum(input) > `1`", "avg(input)"]
)
def test_a_number_that_json_cannot_hold_is_an_error_and_not_null(text: str) -> None:
    with pytest.raises(ExpressionError, match="too large for JSON"):
        Expression(text).evaluate({"input": [1e308, 1e308]})


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1e999", "one"])
def test_what_is_no_number_in_json_is_made_null_by_to_number(text: str) -> None:
    assert Expression(f"to_number('{text}') || `7`").evaluate({}) == 7


def test_the_steps_that_an_expression_reads_are_known() -> None:
    found = compiled('steps.a.output.x[?y == steps.b].z | {q: steps."c d".status}')
    assert found.steps == {"a"}
    assert compiled("[steps.a.status, steps.b.output][0]").steps == {"a", "b"}


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_nothing_is_not_true(value: Any) -> None:
    assert not is_true(value)
    assert is_true(0)


def test_a_whole_list_can_be_handed_on_without_being_taken_for_work() -> None:
    reviews = [{"file": f"{n}.py", "found": {"high": n, "low": 0}} for n in range(10_000)]
    scope = {"steps": {"each": {"status": "completed", "output": reviews}}}
    assert Expression("steps.each.output").evaluate(scope) == reviews
    assert Expression("length(steps.each.output)").evaluate(scope) == 10_000
    total = Expression("steps.each.output[].found.high | sum(@)").evaluate(scope)
    assert total == sum(range(10_000))


def test_expressions_that_are_evaluated_together_are_cut_together() -> None:
    scope = {"input": {"many": list(range(4_000))}}
    one, budget = Expression("input.many[*].[@][]"), Budget()
    one.evaluate(scope, budget=budget)
    spent = Budget().left - budget.left
    budget.left = 1.5 * spent
    one.evaluate(scope, budget=budget)
    with pytest.raises(ExpressionError, match="begins together takes too long"):
        one.evaluate(scope, budget=budget)
    with pytest.raises(ExpressionError, match="begins together"):
        Expression("input.many[0]").evaluate(scope, budget=budget)
