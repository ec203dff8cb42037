"""Merging, noise, suppression, and fingerprints that survive moved lines."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sutazai.analysis.catalogue import BY_CODE, RULES, bandit_codes, ruff_codes
from tests.unit.analysis.support import found, only, review, rules

DEFECTS = """\
import pickle


def load(data, cursor, name):
    cursor.execute("SELECT * FROM users WHERE name = '%s'" % name)
    return pickle.loads(data)
"""


def test_what_several_engines_see_at_one_place_is_one_finding_with_all_their_evidence() -> None:
    finding = only(DEFECTS, "sql-injection")
    assert {evidence.engine for evidence in finding.evidence} == {"sutazai", "ruff", "bandit"}
    assert finding.line == 5
    assert finding.cwe == 89


def test_several_places_in_one_statement_stay_several_findings() -> None:
    code = """
        SETTINGS = {
            "password": "t9-vellum-41x",
            "host": "localhost",
            "api_key": "9f8a7b6c5d4e3f2a1b0c",
        }
    """
    assert found(code) == [("hardcoded-secret", 2), ("hardcoded-secret", 4)]


def test_importing_a_risky_module_is_no_finding() -> None:
    assert found("import pickle, subprocess, telnetlib\nfrom xml.etree import ElementTree\n") == []


def test_a_star_import_is_one_finding_and_none_where_a_package_gathers_its_names() -> None:
    code = (
        "from os.path import *\n\n__all__ = ['join', 'split']\nprint(join('a', split('b/c')[0]))\n"
    )
    assert found(code) == [("star-import", 1)]
    assert found(code, "/shop/__init__.py") == []


def test_a_file_closed_only_when_all_goes_well_is_left_open() -> None:
    code = "def load(path):\n    file = open(path)\n    print(file.read())\n    file.close()\n"
    assert ("file-left-open", 2) in found(code)


def test_an_unknown_function_told_to_use_a_shell_is_a_finding() -> None:
    assert ("command-injection", 2) in found("def show(run, name):\n    run(name, shell=True)\n")


def test_asserts_in_tests_and_asserts_for_the_type_checker_are_no_findings() -> None:
    code = "def f(amount):\n    assert amount > 0\n"
    assert rules(code) == {"assert-used"}
    assert rules(code, "/tests/test_f.py") == set()
    assert rules("def f(x):\n    assert isinstance(x, int)\n    assert x is not None\n") == set()


def test_findings_in_tests_weigh_less_and_come_last() -> None:
    code = "import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n"
    usual = only(code, "unsafe-deserialization")
    in_test = only(code, "unsafe-deserialization", "/tests/test_load.py")
    assert in_test.in_test
    assert in_test.severity.rank == usual.severity.rank + 1
    assert in_test.sort_key > usual.sort_key


def test_inline_comments_accept_findings_and_are_counted() -> None:
    for comment in ("# noqa", "# noqa: S301", "# nosec", "# nosec B301", "# sutazai: ignore"):
        code = f"import pickle\n\n\ndef load(data):\n    return pickle.loads(data)  {comment}\n"
        result = review(code)
        assert (len(result.findings), result.suppressed) == (0, 1), comment


def test_a_comment_about_something_else_accepts_nothing() -> None:
    for comment in ("# noqa: E501", "# nosec B608", "# sutazai: ignore[sql-injection]", "# fine"):
        code = f"import pickle\n\n\ndef load(data):\n    return pickle.loads(data)  {comment}\n"
        result = review(code)
        assert (len(result.findings), result.suppressed) == (1, 0), comment


def test_a_comment_for_the_whole_file_accepts_nothing() -> None:
    code = "# ruff: noqa\n# flake8: noqa\nimport pickle\n\npickle.loads(open('a').read())\n"
    assert "unsafe-deserialization" in rules(code)


def test_a_constant_shell_command_weighs_less_than_a_computed_one() -> None:
    constant = only(
        "import subprocess\nsubprocess.run('ls | wc', shell=True)\n", "command-injection"
    )
    computed = only(
        "import subprocess\n\n\ndef f(x):\n    subprocess.run('ls ' + x, shell=True)\n",
        "command-injection",
    )
    assert (constant.severity, computed.severity) == ("low", "high")


def test_a_very_long_line_is_quoted_around_the_place() -> None:
    code = f"import pickle\nx = [{'0, ' * 3000}pickle.loads(b'x')]\n"
    finding = only(code, "unsafe-deserialization")
    assert len(finding.code) <= 400
    assert "pickle.loads" in finding.code


@settings(max_examples=15)  # each one runs the engines
@given(st.lists(st.sampled_from(["", "# a comment", "x = 1", "import os"]), max_size=30))
def test_a_fingerprint_survives_lines_inserted_above(inserted: list[str]) -> None:
    before = {finding.rule: finding.fingerprint for finding in review(DEFECTS).findings}
    moved = "\n".join([*inserted, DEFECTS])
    after = {finding.rule: finding.fingerprint for finding in review(moved.encode()).findings}
    assert before.items() <= after.items()


def test_equal_lines_have_fingerprints_of_their_own() -> None:
    code = """
        import pickle

        def load(data):
            pickle.loads(data)
            pickle.loads(data)
    """
    prints = [finding.fingerprint for finding in review(code).findings]
    assert len(prints) == len(set(prints)) == 2


def test_each_engine_code_belongs_to_one_class() -> None:
    codes = [code for rule in RULES.values() for code in rule.codes]
    assert len(codes) == len(set(codes)) == len(BY_CODE)
    assert set(ruff_codes()) | set(bandit_codes()) == set(codes)


def test_every_class_says_what_to_do() -> None:
    for rule in RULES.values():
        assert rule.description.endswith("."), rule.name
        assert rule.suggestion.endswith("."), rule.name
