"""The graph alone: what may begin, what an outcome makes of the rest, and that all of it ends."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sutazai.workflows.graph import STATUSES, Graph, problems, with_statuses
from sutazai.workflows.model import Compensate, Definition, ExecutionStatus, Step, StepStatus


def definition(*steps: dict[str, Any]) -> Definition:
    made = [{"type": "ping", **step} for step in steps]
    return msgspec.convert({"name": "a workflow", "steps": made}, Definition)


def fields(*steps: dict[str, Any]) -> dict[str, str]:
    return {detail.field: detail.message for detail in problems(definition(*steps))}


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any valid graph: every step needs some of those before it, in an order of its own."""
    size = draw(st.integers(1, 12))
    apart = draw(st.sets(st.integers(0, size - 1), max_size=size // 3))
    rest = [one for one in range(size) if one not in apart]
    names = draw(st.permutations(range(size)))
    free = sorted(apart)
    steps = []
    for number in range(size):
        earlier = [one for one in rest if one < number]
        needs = draw(st.sets(st.sampled_from(earlier))) if earlier and number in rest else set()
        on_failure: Any = draw(st.sampled_from(["fail", "continue", "compensate"]))
        if on_failure == "compensate":
            usable = number in rest and bool(free)
            on_failure = Compensate(compensate=f"s{names[free.pop()]}") if usable else "fail"
        steps.append(
            Step(
                step_id=f"s{names[number]}",
                type="ping",
                depends_on=tuple(f"s{names[one]}" for one in sorted(needs)),
                on_failure=on_failure,
            )
        )
    made = Definition(name="any", steps=tuple(draw(st.permutations(steps))))
    assert problems(made) == []
    return Graph(made)


OUTCOMES = [StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED]


def play(graph: Graph, data: st.DataObject) -> tuple[str, ExecutionStatus, list[int]]:
    """Execute with drawn outcomes, one step ending at a time; the order in which steps began.

    At some point, perhaps, what it is a step of fails. What waits for an agent or a person, if it
    does not compensate, ends when something has failed.
    """
    state = graph.initial_state
    begun: list[int] = []
    waits: set[int] = set()
    changed: list[int] | None = None
    stops_after = data.draw(st.integers(0, 3 * len(graph.steps)))
    for number in range(4 * len(graph.steps) + 4):
        stops = number >= stops_after
        ready = graph.ready(state, changed, stops=stops)
        # What the ended steps let go is everything there is: nothing else was waiting.
        assert ready == graph.ready(state, stops=stops)
        for position in ready:
            assert position not in begun
            assert not stops or position in graph.compensations
            for one in graph.needs[position]:
                assert state[one] in "cs" or graph.steps[one].on_failure == "continue"
        begun += ready
        state = with_statuses(state, dict.fromkeys(ready, StepStatus.RUNNING))
        waits |= {position for position in ready if data.draw(st.booleans())}
        if stops or graph.is_failing(state):
            gone = [position for position in graph.to_stop(state) if position in waits]
            assert not graph.compensations & set(gone)
            state = with_statuses(state, dict.fromkeys(gone, StepStatus.CANCELLED))
        running = [position for position, letter in enumerate(state) if letter == "r"]
        if not running:
            state, ended = graph.closed(state, stops=stops)
            if ended is not None:
                return state, ended, begun
            changed = None
            continue
        assert graph.closed(state, stops=stops) == (state, None)
        one = data.draw(st.sampled_from(running))
        state = with_statuses(state, {one: data.draw(st.sampled_from(OUTCOMES))})
        changed = [one]
    raise AssertionError("it does not end")


@given(graphs(), st.data())
def test_no_step_begins_before_what_it_needs_and_every_execution_ends(
    graph: Graph, data: st.DataObject
) -> None:
    state, ended, begun = play(graph, data)
    assert {STATUSES[letter] for letter in state} <= {
        StepStatus.COMPLETED,
        StepStatus.FAILED,
        StepStatus.SKIPPED,
        StepStatus.CANCELLED,
    }
    assert len(begun) == len(set(begun))
    needed = [p for p, one in enumerate(graph.steps) if one.on_failure != "continue"]
    failed = any(state[position] == "f" for position in needed)
    assert (ended is ExecutionStatus.FAILED) == failed
    assert (ended is ExecutionStatus.COMPLETED) == (not failed and "x" not in state)
    if ended is ExecutionStatus.COMPLETED:
        assert set(begun) == set(range(len(graph.steps))) - graph.compensations


@given(graphs(), st.data())
def test_a_compensation_runs_if_and_only_if_its_step_failed(
    graph: Graph, data: st.DataObject
) -> None:
    state, _, begun = play(graph, data)
    for position, step in enumerate(graph.steps):
        if isinstance(step.on_failure, Compensate):
            after = graph.positions[step.on_failure.compensate]
            assert (after in begun) == (state[position] == "f")


@given(graphs(), st.data())
def test_a_retry_in_which_all_goes_well_completes_and_repeats_nothing_finished(
    graph: Graph, data: st.DataObject
) -> None:
    state, ended, _ = play(graph, data)
    if ended is ExecutionStatus.COMPLETED:
        return
    again = graph.to_retry(state)
    kept = set(range(len(graph.steps))) - set(again)
    state = with_statuses(state, dict.fromkeys(again, StepStatus.PENDING))
    begun: list[int] = []
    while ready := graph.ready(state):
        begun += ready
        state = with_statuses(state, dict.fromkeys(ready, StepStatus.COMPLETED))
    assert graph.closed(state)[1] is ExecutionStatus.COMPLETED
    assert not kept & set(begun)


@given(graphs())
def test_the_stages_hold_every_ordinary_step_once_after_what_it_needs(graph: Graph) -> None:
    place = {one: number for number, stage in enumerate(graph.stages()) for one in stage}
    assert set(place) == set(range(len(graph.steps))) - graph.compensations
    assert sum(map(len, graph.stages())) == len(place)
    for position, number in place.items():
        assert all(place[one] < number for one in graph.needs[position])


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8))
def test_any_cycle_is_found_and_nothing_else_is_called_one(needs: list[set[int]]) -> None:
    size = len(needs)
    edges = [{one for one in needed if one < size} - {n} for n, needed in enumerate(needs)]
    steps = [
        {"step_id": str(n), "depends_on": [str(one) for one in sorted(needed)]}
        for n, needed in enumerate(edges)
    ]

    def reaches_itself(start: int) -> bool:
        seen: set[int] = set()
        todo = list(edges[start])
        while todo:
            one = todo.pop()
            if one == start:
                return True
            if one not in seen:
                seen.add(one)
                todo += edges[one]
        return False

    on_cycles = {f"steps.{n}.depends_on" for n in range(size) if reaches_itself(n)}
    told = set(fields(*steps))
    assert told <= on_cycles
    assert bool(told) == bool(on_cycles)


def test_each_mistake_names_the_step_and_the_field() -> None:
    assert fields({"step_id": "a"}, {"step_id": "a"}).keys() == {"steps.1.step_id"}
    assert fields({"step_id": "a", "depends_on": ["b"]}) == {
        "steps.0.depends_on": "There is no step 'b'"
    }
    cycle = fields({"step_id": "a", "depends_on": ["b"]}, {"step_id": "b", "depends_on": ["a"]})
    assert cycle.keys() == {"steps.0.depends_on", "steps.1.depends_on"}
    assert "a → b → a" in cycle["steps.0.depends_on"]
    assert fields({"step_id": "a", "depends_on": ["a"]}).keys() == {"steps.0.depends_on"}
    assert fields({"step_id": "a", "on_failure": {"compensate": "b"}}).keys() == {
        "steps.0.on_failure.compensate"
    }
    assert fields({"step_id": "a", "type": "workflow"}).keys() == {"steps.0.workflow_id"}
    approval = {"step_id": "a", "type": "approval", "agent": "x", "config": {"y": 1}}
    assert fields(approval).keys() == {"steps.0.agent", "steps.0.config"}
    sub = {"step_id": "a", "type": "workflow", "workflow_id": "wf-1", "agent": "x"}
    assert fields({**sub, "retry": {"max_attempts": 2}, "timeout_seconds": 1.0}).keys() == {
        "steps.0.agent",
        "steps.0.retry",
        "steps.0.timeout_seconds",
    }
    each = {**sub, "agent": None, "for_each": {"items": "input.all"}, "config": {"y": 1}}
    assert fields({**each, "input": {"n": "item"}}) == {}
    many = {**each, "for_each": {"items": "input.all", "concurrency": 101}}
    assert fields(many).keys() == {"steps.0.for_each.concurrency"}


def test_expressions_are_read_when_the_workflow_is_made() -> None:
    first = {"step_id": "a"}
    for text, word in {
        "steps.a.output": "does not depend on",
        "steps.z.output": "no step 'z'",
        "nothing.b": "no 'nothing'",
        "item": "no 'item'",
        "steps.a.": "JMESPath",
        "steps": "Name one step",
        "@": "instead of @",
        "foo(input)": "There is no function foo(); there are abs,",
        "input.a[?bar(b)] || `1`": "There is no function bar()",
        "length(input, input)": "length() takes 1 argument, and not 2",
        "length()": "length() takes 1 argument, and not 0",
        "input | {n: [contains(a)]}": "contains() takes 2 arguments, and not 1",
        "merge()": "merge() takes at least 1 argument, and not 0",
        "sort_by(input.a, input.b)": "sort_by() takes as its argument 2 an expression",
        "length(&input.a)": "length() takes as its argument 1 a value",
        "not_null(input.a, &b)": "not_null() takes as its argument 2 a value",
        "&input.a": "& goes only before",
        "[&input.a]": "& goes only before",
    }.items():
        found = fields(first, {"step_id": "b", "when": text})
        assert word in found["steps.1.when"], text
    for text in ("merge(input.a, input.b, `{}`)", "sort_by(input.a, &b)", "not_null(input.a)"):
        assert fields({"step_id": "b", "input": {"x": text}}) == {}
    good = {"step_id": "b", "depends_on": ["a"], "input": {"x": "steps.a.output.y || `1`"}}
    assert fields(first, good) == {}
    assert (
        fields(first, {"step_id": "c", "depends_on": ["b"], "when": "steps.a.status"}, good) == {}
    )


def test_a_compensation_stands_apart() -> None:
    found = fields(
        {"step_id": "a", "on_failure": {"compensate": "c"}},
        {"step_id": "b", "on_failure": {"compensate": "c"}},
        {"step_id": "c"},
    )
    assert found.keys() == {"steps.1.on_failure.compensate"}
    found = fields(
        {"step_id": "a", "on_failure": {"compensate": "c"}},
        {"step_id": "c"},
        {"step_id": "d", "depends_on": ["c"]},
    )
    assert found.keys() == {"steps.0.on_failure.compensate"}
    # It may read of the step it compensates for.
    assert not fields(
        {"step_id": "a", "on_failure": {"compensate": "c"}},
        {"step_id": "c", "input": {"was": "steps.a.status"}},
    )
