"""Fetching over https, from a host whose name nothing but the checked look-up knows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sutazai.adapters.git import GitRepositories
from sutazai.adapters.git_sources import Sources
from sutazai.analysis.globs import InputError
from sutazai.callbacks.guard import AddressGuard
from tests.features.repositories.conftest import MEGABYTE, Origin
from tests.features.repositories.https import NAME, Host, hosting


@pytest.fixture
def host(roots: Path, origin: Origin, tmp_path: Path) -> Iterator[Host]:
    with hosting(roots, tmp_path) as found:
        yield found


def fetching(tmp_path: Path, host: Host, *, trusted: bool = True) -> GitRepositories:
    async def resolve(name: str) -> list[str]:
        assert name == NAME
        return ["127.0.0.1"]

    guard = AddressGuard(resolve=resolve, allow=["127.0.0.0/8"])
    return GitRepositories(
        folder=str(tmp_path / "cache"),
        sources=Sources(guard=guard, hosts=[NAME]),
        most_bytes=10 * MEGABYTE,
        keep_bytes=100 * MEGABYTE,
        seconds=60,
        certificates=str(host.certificate) if trusted else None,
    )


async def test_a_branch_is_fetched_from_the_address_that_was_checked(
    tmp_path: Path, host: Host, origin: Origin
) -> None:
    origin.commit(a_py="1")
    commit = origin.commit(a_py="2")
    repositories = fetching(tmp_path, host)
    for branch in (None, "main", commit):
        async with repositories.checkout(f"{host.url}/project", branch) as checkout:
            assert checkout.commit == commit
            assert (tmp_path / checkout.root / "a.py").read_text() == "2"


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, host: Host, origin: Origin
) -> None:
    origin.commit(a_py="1")
    with pytest.raises(InputError, match="certificate is not valid"):
        async with fetching(tmp_path, host, trusted=False).checkout(f"{host.url}/project", None):
            pass


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("moved/project", "redirects"),
        ("private/project", "not public"),
        ("absent", "not exist"),
    ],
)
async def test_what_is_not_public_or_elsewhere_says_so(
    tmp_path: Path, host: Host, origin: Origin, path: str, words: str
) -> None:
    origin.commit(a_py="1")
    with pytest.raises(InputError, match=words):
        async with fetching(tmp_path, host).checkout(f"{host.url}/{path}", None):
            pass
