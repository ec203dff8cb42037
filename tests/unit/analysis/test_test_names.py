"""Names of generated tests."""

import pytest

from sutazai.analysis.generation.inside.cases import Case
from sutazai.analysis.generation.inside.checks import Check
from sutazai.analysis.generation.inside.naming import Names
from sutazai.analysis.generation.inside.selecting import Group


def group(told: list[str], *steps: str) -> Group:
    case = Case("Version.key", arguments=(("x", "'1.0+a'"),), steps=steps)
    return Group("Version.key", told[0], [Check(1, case, ["assert True"], told, frozenset())])


@pytest.mark.parametrize(
    "step", ["{self}.pre = True", "{self}['a'] = 1", "{self} += 1", "{self}.add(1)"]
)
def test_every_name_is_an_identifier_and_none_is_taken_twice(step: str) -> None:
    names = Names()
    given = [names.name_of(group(["returns", "none"], step)) for _ in range(8)]
    assert all(name.isidentifier() for name in given)
    assert len(set(given)) == len(given)
    assert given[0] == "test_version_key_returns_none"
