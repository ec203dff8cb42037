"""Which URLs and branches are never handed to git."""

import shutil
from pathlib import Path

import pytest

from sutazai.adapters.git import GitRepositories
from sutazai.adapters.git_sources import Sources
from sutazai.analysis.globs import InputError
from sutazai.analysis.repositories import RepositoryUnavailable
from sutazai.callbacks.guard import AddressGuard
from tests.features.repositories.conftest import Origin, no_address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ext::sh -c touch% /tmp/x", "https URL"),
        ("ext::sh", "other protocols"),
        ("--upload-pack=touch /tmp/x", "https URL"),
        ("-oProxyCommand=x", "https URL"),
        ("http://github.com/user/repo", "other protocols"),
        ("ssh://git@github.com/user/repo", "user name or password"),
        ("git@github.com:user/repo", "https URL"),
        ("git://github.com/user/repo", "other protocols"),
        ("https://user:secret@github.com/user/repo", "user name or password"),
        ("https://github.com@evil.example/user/repo", "user name or password"),
        ("https://github.com/user/repo?x=y", "query"),
        ("https://github.com/user/repo#x", "query"),
        ("https://github.com/user/re\npo", "ASCII"),
        ("https://github.com\\@evil.example/", "ASCII"),
        ("https://evil.example/user/repo", "not fetched by this server"),
        ("https://github.com.evil.example/user/repo", "not fetched by this server"),
        ("https://127.0.0.1/user/repo", "not fetched by this server"),
        ("https://[::1]/user/repo", "https URL"),
        ("https://github.com:notaport/user/repo", "https URL"),
        ("https:///user/repo", "https URL"),
        ("file:///etc", "does not fetch that"),
        ("file://host/etc", "names no host"),
        ("file:///etc%00/x", "does not fetch that"),
        ("/etc", "https URL"),
        ("", "https URL"),
        ("https://github.com/" + "x" * 3000, "at most"),
    ],
)
async def test_a_url_of_any_other_kind_is_refused(
    repositories: GitRepositories, url: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        async with repositories.checkout(url, None):
            pass


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1"]
)
async def test_a_name_that_leads_into_the_own_network_is_refused(address: str) -> None:
    async def resolve(host: str) -> list[str]:
        return ["93.184.215.14", address]

    sources = Sources(guard=AddressGuard(resolve=resolve), hosts=["*"])
    with pytest.raises(InputError, match="not, or not only, on the public internet"):
        await sources.admitted("https://example.com/user/repo")


async def test_git_connects_to_the_addresses_that_were_checked() -> None:
    async def resolve(host: str) -> list[str]:
        return ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]

    sources = Sources(guard=AddressGuard(resolve=resolve), hosts=["Example.com"])
    source = await sources.admitted("https://example.com/user/repo")
    told = dict(source.settings)["http.curloptResolve"]
    assert told == "example.com:443:93.184.215.14,[2606:2800:21f:cb07:6820:80da:af6b:8b2c]"


async def test_a_name_that_cannot_be_resolved_may_be_later() -> None:
    sources = Sources(guard=AddressGuard(resolve=no_address), hosts=["*"])
    with pytest.raises(RepositoryUnavailable, match="could not be resolved"):
        await sources.admitted("https://example.com/user/repo")


@pytest.mark.parametrize(
    "branch",
    [
        "--upload-pack=x",
        "-x",
        "a..b",
        "a b",
        "a\nb",
        "a:b",
        "^a",
        "a~1",
        "@{-1}",
        "a@{1}",
        "",
        "/a",
        "x" * 300,
    ],
)
async def test_a_branch_that_is_no_name_is_refused(
    repositories: GitRepositories, origin: Origin, branch: str
) -> None:
    origin.commit(a_py="1")
    with pytest.raises(InputError, match="`branch` must be"):
        async with repositories.checkout(origin.url, branch):
            pass


async def test_nothing_outside_the_roots_is_fetched(
    repositories: GitRepositories, origin: Origin, roots: Path, tmp_path: Path
) -> None:
    origin.commit(a_py="1")
    outside = tmp_path / "outside"
    origin.path.rename(outside)
    (roots / "link").symlink_to(outside)
    for path in (outside, roots / "link", f"{roots}/../outside", f"{roots}/%2e%2e/outside"):
        with pytest.raises(InputError, match="does not fetch that"):
            async with repositories.checkout(f"file://{path}", None):
                pass


async def test_a_linked_worktree_is_refused(
    repositories: GitRepositories, roots: Path, tmp_path: Path
) -> None:
    (roots / "worktree").mkdir()
    (roots / "worktree/.git").write_text(f"gitdir: {tmp_path}/elsewhere\n")
    with pytest.raises(InputError, match="linked worktree"):
        async with repositories.checkout(f"file://{roots}/worktree", None):
            pass


@pytest.mark.parametrize("quote", ["", '"'])
async def test_a_repository_that_borrows_from_outside_the_roots_is_refused(
    repositories: GitRepositories, origin: Origin, roots: Path, tmp_path: Path, quote: str
) -> None:
    origin.commit(a_py="1")
    outside = tmp_path / "outside"
    origin.path.rename(outside)
    git = outside / ".git" if (outside / ".git").exists() else outside
    (roots / "linked").mkdir()
    (roots / "linked/.git").symlink_to(git)
    shutil.copytree(git, roots / "parts.git")
    shutil.rmtree(roots / "parts.git/objects")
    (roots / "parts.git/objects").symlink_to(git / "objects")
    shutil.copytree(git, roots / "alternates.git")
    shutil.rmtree(roots / "alternates.git/objects")
    (roots / "alternates.git/objects/info").mkdir(parents=True)
    (roots / "alternates.git/objects/info/alternates").write_text(f"{quote}{git}/objects{quote}\n")
    for name in ("linked", "parts.git", "alternates.git"):
        with pytest.raises(InputError, match="borrows from elsewhere"):
            async with repositories.checkout(f"file://{roots}/{name}", None):
                pass
    (roots / "parts.git/commondir").write_text(f"{git}\n")
    with pytest.raises(InputError, match="linked worktree"):
        async with repositories.checkout(f"file://{roots}/parts.git", None):
            pass
