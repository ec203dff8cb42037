"""Fetching repositories from a folder, and what of them stays outside."""

import asyncio
from pathlib import Path

import pytest

from sutazai.adapters.git import GitRepositories
from sutazai.analysis.globs import InputError
from tests.features.repositories.conftest import MEGABYTE, Origin, make


def files(root: str) -> dict[str, bytes]:
    """Every file below a folder, and nothing else."""
    found = {}
    for path in Path(root).rglob("*"):
        assert not path.is_symlink()
        if path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


async def test_the_default_branch_is_read_where_none_is_named(
    repositories: GitRepositories, origin: Origin
) -> None:
    origin.commit(a_py="old")
    commit = origin.commit(a_py="new", src__b_py="b")
    async with repositories.checkout(origin.url, None) as checkout:
        assert files(checkout.root) == {"a.py": b"new", "src/b.py": b"b"}
        assert (checkout.commit, checkout.branch) == (commit, None)
        assert checkout.repository == origin.url


async def test_a_branch_a_tag_or_a_commit_can_be_named(
    repositories: GitRepositories, origin: Origin
) -> None:
    first = origin.commit(a_py="1")
    origin.git("tag", "-a", "-m", "one", "v1.0")
    origin.git("switch", "-q", "-c", "feature/two")
    second = origin.commit(a_py="2")
    for branch, commit, content in (
        ("main", first, b"1"),
        ("feature/two", second, b"2"),
        ("v1.0", first, b"1"),
        (first, first, b"1"),
    ):
        async with repositories.checkout(origin.url, branch) as checkout:
            assert (checkout.commit, files(checkout.root)) == (commit, {"a.py": content})


async def test_a_branch_that_moved_is_read_anew(
    repositories: GitRepositories, origin: Origin
) -> None:
    for text in ("1", "2"):
        origin.commit(a_py=text)
        async with repositories.checkout(origin.url, "main") as checkout:
            assert files(checkout.root) == {"a.py": text.encode()}


async def test_a_commit_is_fetched_once(
    repositories: GitRepositories, origin: Origin, tmp_path: Path
) -> None:
    commit = origin.commit(a_py="1")

    async def read() -> str:
        async with repositories.checkout(origin.url, "main") as checkout:
            return checkout.root

    assert len(set(await asyncio.gather(*(read() for _ in range(4))))) == 1
    assert len(cached(tmp_path)) == 1
    # What is there needs no origin any more, once its commit is named.
    origin.path.rename(origin.path.with_name("moved"))
    origin.path.mkdir()
    async with repositories.checkout(origin.url, commit) as checkout:
        assert files(checkout.root) == {"a.py": b"1"}


async def test_what_leads_out_of_a_repository_is_left_out(
    repositories: GitRepositories, origin: Origin
) -> None:
    origin.commit(a_py="1")
    origin.stage("120000", b"/etc/passwd", "absolute")
    origin.stage("120000", b"../../outside", "relative")
    origin.stage("120000", b"a.py", "inside")
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    origin.record()
    async with repositories.checkout(origin.url, None) as checkout:
        assert files(checkout.root) == {"a.py": b"1"}
        told = {one.file: one.reason for one in checkout.skipped}
    assert told == {
        "/absolute": "a symbolic link",
        "/relative": "a symbolic link",
        "/inside": "a symbolic link",
        "/module": "a submodule",
    }


@pytest.mark.parametrize("name", ["..", ".git", ".GIT"])
async def test_names_that_lead_elsewhere_are_left_out(
    repositories: GitRepositories, origin: Origin, tmp_path: Path, name: str
) -> None:
    origin.commit(a_py="1")
    blob = origin.git("hash-object", "-w", "--stdin", given=b"evil")
    inner = origin.git("mktree", given=f"100644 blob {blob}\tconfig\n".encode())
    # Written past git's own checks, as an attacker would.
    digest = bytes.fromhex(inner)
    tree = origin.git(
        *("hash-object", "-t", "tree", "-w", "--literally", "--stdin"),
        given=b"40000 " + name.encode() + b"\0" + digest,
    )
    commit = origin.git("commit-tree", "-m", "evil", tree)
    origin.git("update-ref", "refs/heads/main", commit)
    async with repositories.checkout(origin.url, "main") as checkout:
        assert files(checkout.root) == {}
        assert [one.file for one in checkout.skipped] == [f"/{name}/config"]
    assert not (tmp_path / "cache/config").exists()


async def test_hooks_filters_and_configuration_of_a_repository_do_nothing(
    repositories: GitRepositories, origin: Origin, tmp_path: Path
) -> None:
    traces = tmp_path / "traces"
    script = f'#!/bin/sh\necho "$0" >> {traces}\ncat\n'
    for name in ("post-checkout", "post-merge", "pre-auto-gc", "reference-transaction"):
        hook = origin.path / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(script)
        hook.chmod(0o755)
    filtering = tmp_path / "filter"
    filtering.write_text(script)
    filtering.chmod(0o755)
    attributes = "*.py filter=evil\n*.bin filter=lfs\n"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    origin.commit(**{".gitattributes": attributes, "a.py": "1"}, **{"large.bin": pointer})
    traces.unlink(missing_ok=True)  # a commit has hooks of its own
    for name in ("filter.evil.smudge", "filter.evil.process", "core.fsmonitor"):
        origin.git("config", name, str(filtering))
    origin.git("config", "uploadpack.packObjectsHook", str(filtering))
    async with repositories.checkout(origin.url, None) as checkout:
        assert files(checkout.root)["a.py"] == b"1"
        assert [one.file for one in checkout.skipped] == ["/large.bin"]
    assert not traces.exists()


async def test_a_repository_that_is_too_large_is_refused(
    origin: Origin, tmp_path: Path, roots: Path
) -> None:
    import random

    origin.commit(large=random.Random(0).randbytes(3 * MEGABYTE))
    repositories = make(tmp_path, roots, most=MEGABYTE)
    with pytest.raises(InputError, match=r"larger than this server takes|holds more than 1 MB"):
        async with repositories.checkout(origin.url, None):
            pass
    assert cached(tmp_path) == []


async def test_a_repository_that_unpacks_to_too_much_is_refused(
    origin: Origin, tmp_path: Path, roots: Path
) -> None:
    origin.commit(**{f"zeros{n}": bytes(MEGABYTE) + str(n).encode() for n in range(3)})
    repositories = make(tmp_path, roots, most=2 * MEGABYTE)
    with pytest.raises(InputError, match="holds more than 2 MB"):
        async with repositories.checkout(origin.url, None):
            pass
    assert cached(tmp_path) == []


async def test_what_was_not_used_for_longest_makes_room(
    origin: Origin, tmp_path: Path, roots: Path
) -> None:
    repositories = make(tmp_path, roots, keep=MEGABYTE // 2)
    origin.commit(a=bytes(MEGABYTE // 3))
    async with repositories.checkout(origin.url, None) as held:
        origin.commit(a=bytes(MEGABYTE // 3 + 1))
        async with repositories.checkout(origin.url, None):
            pass
        origin.commit(a=bytes(MEGABYTE // 3 + 2))
        async with repositories.checkout(origin.url, None):
            # What is held stays, and the other one went.
            assert files(held.root)
            assert len(cached(tmp_path)) == 2


async def test_what_is_not_there_says_so(repositories: GitRepositories, origin: Origin) -> None:
    for branch, words in ((None, "is empty"), ("nowhere", "no branch, tag or commit 'nowhere'")):
        with pytest.raises(InputError, match=words):
            async with repositories.checkout(origin.url, branch):
                pass
    origin.commit(a_py="1")
    with pytest.raises(InputError, match="no such"):
        async with repositories.checkout(origin.url, "1" * 40):
            pass
    with pytest.raises(InputError, match="there is no repository"):
        async with repositories.checkout(f"file://{origin.path.parent}", None):
            pass
