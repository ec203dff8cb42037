"""Ranges of commits in repositories that are fetched."""

from pathlib import Path
from typing import Any

import pytest

from sutazai.adapters.git import GitRepositories
from sutazai.agents.contract import AgentError
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.change_summarizer import ChangeSummarizer
from sutazai.builtin_agents.code_input import CodeInput
from tests.features.repositories.conftest import Origin, make
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio


async def summarised(
    repositories: GitRepositories, origin: Origin, **metadata: str
) -> dict[str, Any]:
    pool = AnalysisPool(processes=1)
    await pool.start()
    try:
        code = CodeInput(workspace=None, repositories=repositories)
        task = assigned("change_summary", {"repository": origin.url, **metadata})
        return await ChangeSummarizer(pool=pool, code=code).handle(task, Context())
    finally:
        await pool.close()


def grown(origin: Origin, commits: int) -> list[str]:
    return [origin.commit(a_py=f"NUMBER = {number}\n") for number in range(commits)]


@pytest.mark.parametrize("number", [1, 30])
async def test_a_range_is_summarised_with_all_of_its_commits(
    repositories: GitRepositories, origin: Origin, number: int
) -> None:
    ids = grown(origin, number + 3)
    result = await summarised(repositories, origin, base=ids[1], head=ids[1 + number])
    assert (result["base"], result["head"]) == (ids[1], ids[1 + number])
    assert [one["commit"] for one in result["commits"]] == [
        origin.git("rev-parse", "--short", one) for one in reversed(ids[2 : 2 + number])
    ]
    assert [file["file"] for file in result["files"]] == ["a.py"]
    assert result["left_out"] == []
    assert result["repository"]["commit"] == ids[1 + number]


async def test_commits_are_named_as_git_names_them(
    repositories: GitRepositories, origin: Origin
) -> None:
    ids = grown(origin, 4)
    origin.git("tag", "-a", "-m", "one", "v1", ids[0])
    origin.git("branch", "topic", ids[2])
    for base, head, start, end in (
        ("v1", None, 0, 3),
        ("HEAD~2", "HEAD", 1, 3),
        ("topic^", "topic", 1, 2),
        ("v1", "main~1", 0, 2),
    ):
        async with repositories.commits(origin.url, base, head) as found:
            assert (found.base, found.head) == (ids[start], ids[end])
    result = await summarised(repositories, origin, base="v1", branch="topic")
    assert result["head"] == ids[2]


async def test_a_range_leaves_nothing_behind(
    repositories: GitRepositories, origin: Origin, tmp_path: Path
) -> None:
    first, last = grown(origin, 2)
    async with repositories.commits(origin.url, first, last) as found:
        held = [place.name for place in (tmp_path / "cache").glob("*/tree/.git")]
        assert (held, found.head) == ([".git"], last)
    assert list((tmp_path / "cache").iterdir()) == []


async def test_a_commits_filters_hooks_and_links_do_nothing_in_a_range(
    repositories: GitRepositories, origin: Origin, tmp_path: Path
) -> None:
    first = origin.commit(a_py="1\n")
    trap = tmp_path / "sprung"
    hook = origin.path / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
    hook.chmod(0o755)
    origin.git("config", "diff.trap.textconv", f"touch {trap};")
    origin.git("config", "diff.trap.command", f"touch {trap};")
    (origin.path / ".gitattributes").write_text("* diff=trap\n")
    (origin.path / "link").symlink_to("/etc/passwd")
    last = origin.commit(a_py="2\n")
    result = await summarised(repositories, origin, base=first, head=last)
    assert not trap.exists()
    assert {"a.py", "link", ".gitattributes"} == {file["file"] for file in result["files"]}
    assert "root:" not in str(result)


async def test_a_range_of_a_shallow_workspace_says_that_commits_may_be_missing(
    origin: Origin, tmp_path: Path
) -> None:
    ids = grown(origin, 6)
    copy = Origin(tmp_path / "copy")
    copy.path.mkdir()
    copy.git("clone", "-q", "--depth=2", origin.url, ".")
    copy.git("fetch", "-q", "--depth=1", "origin", ids[0])
    pool = AnalysisPool(processes=1)
    await pool.start()
    try:
        agent = ChangeSummarizer(pool=pool, code=CodeInput(workspace=str(copy.path)))
        task = assigned("change_summary", {"base": ids[0], "head": ids[5]})
        result = await agent.handle(task, Context())
    finally:
        await pool.close()
    assert len(result["commits"]) == 2
    assert any("may not be whole" in one for one in result["left_out"])


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("nowhere", "no branch, tag or commit 'nowhere'"),
        ("0123abc", "'0123abc'; a commit is named by its whole id"),
        ("main~9", "no commit 'main~9'"),
        ("main~101", "more than 100 commits back"),
        ("--upload-pack=x", "`base` must be the name"),
        ("main~~x", "`base` must be"),
        ("a..b", "`base` must be"),
        ("f" * 40, "no such commit"),
    ],
)
async def test_what_is_no_commit_there_is_refused(
    repositories: GitRepositories, origin: Origin, base: str, words: str
) -> None:
    grown(origin, 2)
    with pytest.raises(AgentError, match=words):
        await summarised(repositories, origin, base=base)


async def test_a_range_that_holds_too_much_is_refused(
    tmp_path: Path, roots: Path, origin: Origin
) -> None:
    first = origin.commit(a_py="1\n")
    last = origin.commit(big=bytes(range(256)) * 4096 * 3)
    with pytest.raises(InputError, match=r"(holds more|is larger) than"):
        async with make(tmp_path, roots, most=2048).commits(origin.url, first, last):
            pass
