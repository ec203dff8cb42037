"""Only what is new since a commit that nobody has reviewed."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from sutazai.analysis.changes.history import Snapshot, write_snapshot
from sutazai.analysis.protocol import Place
from tests.api.server import ended, serving, settings_for, submit

OLD = "def old(x):\n    return eval(x)\n"
NEW = "\n\ndef new(x):\n    return exec(x)\n"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def committed(folder: Path, **files: str) -> str:
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change")
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("task_type", ["code_review", "security_analysis"])
async def test_a_commit_of_a_repository_is_reviewed_and_compared_with(
    data_dir: Path, tmp_path: Path, task_type: str
) -> None:
    origin = tmp_path / "origins" / "one"
    origin.mkdir(parents=True)
    git(origin, "init", "-q", "-b", "main")
    base = committed(origin, app=OLD)
    head = committed(origin, app=OLD + NEW, added=NEW)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    settings = settings_for(data_dir, None, workspace, repository_roots=(tmp_path / "origins",))
    async with serving(settings, roles=["user"]) as server:

        async def reviewed(**metadata: Any) -> dict[str, Any]:
            given = {"repository": f"file://{origin}", "rules": ["security"], **metadata}
            task = await submit(server.user, task_type, metadata=given)
            answer = await ended(server.user, task["task_id"])
            if answer["status"] != "completed":
                return answer
            got = await server.user.get(f"/tasks/{task['task_id']}/result")
            result: dict[str, Any] = got.json()["result"]
            return result

        result = await reviewed(since=base)
        assert {(one["file"], one["code"].strip()) for one in result["issues"]} == {
            ("/app.py", "return exec(x)"),
            ("/added.py", "return exec(x)"),
        }
        assert result["repository"]["commit"] == head
        assert result["baseline"]["commit"] == base
        assert [one["code"].strip() for one in result["baseline"]["unchanged"]] == [
            "return eval(x)"
        ]
        assert "since_base" not in result
        # What was not there yet is new.
        named = await reviewed(since=base, files=["added.py"])
        assert len(named["issues"]) == 1
        # And what cannot be fetched is told.
        nowhere = await reviewed(since="0" * 40)
        assert nowhere["status"] == "failed"
        assert nowhere["error"]["message"].startswith("`since`:"), nowhere


@pytest.mark.parametrize("task_type", ["code_review", "security_analysis"])
async def test_a_commit_of_the_workspaces_own_repository_is_compared_with(
    data_dir: Path, tmp_path: Path, task_type: str
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    git(workspace, "init", "-q", "-b", "main")
    (workspace / "link.py").symlink_to("/etc/passwd")
    base = committed(workspace, app=OLD)
    committed(workspace, app=OLD + "\n# one more\n")
    (workspace / "app.py").write_text("\n\n" + OLD + NEW)  # and what nobody has committed yet
    (workspace / "added.py").write_text(NEW)
    async with serving(settings_for(data_dir, None, workspace), roles=["user"]) as server:

        async def reviewed(**metadata: Any) -> dict[str, Any]:
            given = {"rules": ["security"], **metadata}
            task = await submit(server.user, task_type, metadata=given)
            answer = await ended(server.user, task["task_id"])
            if answer["status"] != "completed":
                return answer
            got = await server.user.get(f"/tasks/{task['task_id']}/result")
            result: dict[str, Any] = got.json()["result"]
            return result

        for since in (base, base[:8]):
            result = await reviewed(since=since)
            assert {(one["file"], one["code"].strip()) for one in result["issues"]} == {
                ("/app.py", "return exec(x)"),
                ("/added.py", "return exec(x)"),
            }
            assert result["baseline"]["commit"] == since
            assert [one["file"] for one in result["baseline"]["unchanged"]] == ["/app.py"]
        assert len((await reviewed(since=base, files=["added.py"]))["issues"]) == 1
        nowhere = await reviewed(since="0" * 40)
        assert nowhere["status"] == "failed"
        assert "no commit" in nowhere["error"]["message"]


def test_no_tree_leads_out_of_the_folder_that_it_is_written_into(tmp_path: Path) -> None:
    workspace, folder = tmp_path / "workspace", tmp_path / "deep" / "folder"
    workspace.mkdir()
    folder.mkdir(parents=True)
    git(workspace, "init", "-q")
    committed(workspace, app=OLD)
    blob = bytes.fromhex(git(workspace, "rev-parse", "HEAD:app.py"))
    names = (f"{tmp_path}/absolute.py", "../climbed.py", "app.py")
    raw = b"".join(f"100644 {name}\0".encode() + blob for name in names)
    (tmp_path / "tree").write_bytes(raw)
    made = ("hash-object", "-t", "tree", "-w", "--literally", str(tmp_path / "tree"))
    commit = git(workspace, "commit-tree", "-m", "odd", git(workspace, *made))
    wanted = Snapshot(place=Place(root=str(workspace)), commit=commit, folder=str(folder))
    assert write_snapshot(wanted).problem is None
    assert [path.name for path in tmp_path.rglob("*.py") if workspace not in path.parents] == [
        "app.py"
    ]
    assert (folder / "app.py").read_text() == OLD
