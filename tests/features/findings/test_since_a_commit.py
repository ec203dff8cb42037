"""Only what is new since a commit that nobody has reviewed."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

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
