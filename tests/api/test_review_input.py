"""Paths and files that a review task may name, through the API: clear errors, nothing leaks."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.api.server import JSON, Server, ended, serving, settings_for, submit

DEFECT = "import subprocess\nsubprocess.call(input(), shell=True)\n"


async def review(server: Server, **metadata: Any) -> JSON:
    """The outcome of a review of this input."""
    task = await submit(server.user, "code_review", metadata=metadata, max_attempts=1)
    await ended(server.user, task["task_id"])
    answer = await server.user.get(f"/tasks/{task['task_id']}/result")
    assert answer.status_code == 200, answer.text
    outcome: JSON = answer.json()
    return outcome


def failure(outcome: JSON) -> str:
    assert outcome["status"] == "failed"
    assert outcome["error"]["code"] == "VALIDATION_ERROR"
    message: str = outcome["error"]["message"]
    return message


@pytest.fixture
def secret(server: Server) -> Path:
    """A file beside the workspace that no task may read."""
    path = server.workspace.parent / "outside-secret.py"
    path.write_text("password = 'hunter2-of-the-neighbour'\n")
    return path


async def test_a_review_quotes_the_line_it_names(server: Server) -> None:
    (server.workspace / "src").mkdir(exist_ok=True)
    (server.workspace / "src" / "shop.py").write_text(DEFECT)
    for path in ("/src/shop.py", "src/shop.py", "src/*.py"):
        result = (await review(server, file_path=path))["result"]
        lines = DEFECT.splitlines()
        security = [one for one in result["issues"] if one["type"] == "security"]
        assert security
        for issue in security:
            assert issue["file"].lstrip("/") == "src/shop.py"
            assert lines[issue["line"] - 1].strip() in issue["code"]
            assert {"severity", "description", "suggestion"} <= issue.keys()
        assert result["metrics"]["lines_analyzed"] == 2
        assert result["metrics"]["issues_found"] == len(result["issues"])


async def test_code_may_be_given_inline(server: Server) -> None:
    result = (await review(server, code=DEFECT, rules=["security"]))["result"]
    assert {issue["type"] for issue in result["issues"]} == {"security"}


@pytest.mark.parametrize(
    "path",
    [
        "../outside-secret.py",
        "src/../../outside-secret.py",
        "/../outside-secret.py",
        "..\\outside-secret.py",
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "~/.ssh/id_rsa",
        "**/../../*",
        "link.py",
        "folder/outside-secret.py",
        "nul\0.py",
        "x" * 5000,
        "a/" * 2000,
        ".",
        "*",
    ],
)
async def test_nothing_outside_of_the_workspace_is_reached(
    server: Server, secret: Path, path: str
) -> None:
    for name, target in [("link.py", secret), ("folder", secret.parent)]:
        link = server.workspace / name
        if not link.is_symlink():
            link.symlink_to(target)
    outcome = await review(server, file_path=path)
    assert "hunter2" not in str(outcome)
    assert "root:" not in str(outcome)
    assert str(server.workspace.parent) not in str(outcome)
    if outcome["status"] == "failed":
        assert failure(outcome)


async def test_the_data_directory_inside_of_the_workspace_is_never_readable(
    database_url: str | None, data_dir: Path
) -> None:
    workspace = data_dir.parent
    (workspace / "app.py").write_text(DEFECT)
    (workspace / "link").symlink_to(data_dir)
    (workspace / "key.py").symlink_to(data_dir / "jwt_secret")
    settings = settings_for(data_dir, database_url, workspace)
    async with serving(settings, roles=["user"]) as server:
        secret = (data_dir / "jwt_secret").read_text()
        for path in (
            "data/jwt_secret",
            "/data/*",
            "data/**",
            "data/../data/jwt_secret",
            "./data//jwt_secret",
            "**/jwt_secret",
            "d?ta/jwt_secret",
            "link/jwt_secret",
            "link/**",
            "key.py",
        ):
            outcome = await review(server, files=[path])
            assert failure(outcome), path
            assert secret not in str(outcome)
        whole = await review(server)
        assert {issue["file"] for issue in whole["result"]["issues"]} == {"/app.py"}
        assert whole["result"]["metrics"]["lines_analyzed"] == 2
        assert secret not in str(whole)


async def test_a_secret_that_is_found_is_not_repeated_by_the_api(server: Server) -> None:
    secret = "t9-vellum-41x-of-the-api"
    outcome = await review(server, code=f'password = "{secret}"\n')
    [issue] = outcome["result"]["issues"]
    assert issue["rule"] == "hardcoded-secret"
    assert issue["code"].startswith('password = "')
    assert secret not in str(outcome)


async def test_a_binary_file_is_not_reviewed_and_says_so(server: Server) -> None:
    (server.workspace / "picture.png").write_bytes(bytes(range(256)) * 100)
    message = failure(await review(server, file_path="picture.png"))
    assert "picture.png" in message


async def test_a_binary_file_named_as_python_is_reported_as_unparsed(server: Server) -> None:
    (server.workspace / "picture.py").write_bytes(bytes(range(256)) * 100)
    outcome = await review(server, file_path="picture.py")
    assert [file["file"] for file in outcome["result"]["unparsed"]] == ["/picture.py"]


async def test_a_file_of_50_mb_is_not_reviewed_and_says_so(server: Server) -> None:
    with (server.workspace / "large.py").open("wb") as file:
        file.truncate(50_000_000)
    message = failure(await review(server, file_path="large.py"))
    assert "large.py" in message
    (server.workspace / "large.py").unlink()


async def test_a_function_of_10_000_lines_is_reviewed(server: Server) -> None:
    body = "".join(f"    x{n} = {n}\n" for n in range(10_000))
    outcome = await review(server, code="def long():\n" + body)
    assert outcome["status"] == "completed"
    assert outcome["result"]["metrics"]["lines_analyzed"] == 10_001


@pytest.mark.parametrize(
    "code",
    [
        "def broken(:\n",
        "(" * 5000 + ")" * 5000,
        "x = " + "-" * 20_000 + "1",
        "a\0b",
        "\ufeffx = 1\n",
    ],
    ids=["syntax", "parentheses", "minus", "nul", "bom"],
)
async def test_code_that_cannot_be_parsed_is_reported_not_skipped(
    server: Server, code: str
) -> None:
    outcome = await review(server, code=code)
    if outcome["status"] == "failed":
        assert failure(outcome)
    elif not code.startswith("\ufeff"):
        [unparsed] = outcome["result"]["unparsed"]
        assert unparsed["reason"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"code": 5},
        {"code": ""},
        {"file_path": 5},
        {"files": [1, 2]},
        {"files": [""]},
        {"rules": ["nonsense"]},
        {"rules": 5},
        {"language": []},
        {"repository": "https://example.com/x.git"},
        {"file_path": "not/there.py"},
    ],
    ids=str,
)
async def test_wrong_metadata_fails_the_task_with_the_reason(
    server: Server, metadata: dict[str, Any]
) -> None:
    message = failure(await review(server, **metadata))
    assert len(message) > 10
    assert "Traceback" not in message


async def test_an_empty_workspace_fails_a_task_that_names_nothing(fresh_server: Server) -> None:
    assert "empty" in failure(await review(fresh_server))


async def test_a_repository_is_reviewed_at_the_commit_that_is_named(
    tmp_path: Path, data_dir: Path, database_url: str | None
) -> None:
    project, workspace = tmp_path / "roots/project", tmp_path / "workspace"
    workspace.mkdir()
    project.mkdir(parents=True)
    commit = committed(project, {"src/shop.py": DEFECT, "other.py": DEFECT})
    settings = settings_for(data_dir, database_url, workspace, repository_roots=[project.parent])
    async with serving(settings, roles=["user"]) as server:
        named = {"repository": f"file://{project}", "branch": "main", "files": ["src/*.py"]}
        result = (await review(server, **named))["result"]
        assert {issue["file"] for issue in result["issues"]} == {"/src/shop.py"}
        assert result["repository"]["commit"] == commit
        message = failure(await review(server, repository="ext::sh -c id"))
        assert "`repository` must be an https URL" in message
        message = failure(await review(server, repository=f"file://{workspace}"))
        assert "SUTAZAI_REPOSITORY_ROOTS" in message


def committed(project: Path, files: dict[str, str]) -> str:
    """Make a repository of these; its commit."""
    for name, text in files.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    who = ("-c", "user.name=author", "-c", "user.email=author@example.com")
    for arguments in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        (*who, "commit", "-q", "-m", "new"),
    ):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    said = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True
    )
    return said.stdout.decode().strip()
