"""Which repositories may be fetched, and how: a user's URL becomes what git is given."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.repositories import RepositoryUnavailable
from sutazai.callbacks.guard import AddressGuard, ForbiddenAddress
from sutazai.errors import SutazaiError

_LONGEST = 2048
_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without spaces and backslashes
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_BRANCH = re.compile(r"[A-Za-z0-9_](?:[\w./+#@=-]{0,200}[\w+#=-])?", re.ASCII)
_STEPS = re.compile(r"(?:[~^][0-9]{0,3}){0,10}")
_MOST_STEPS = 100
_WRONG = "`repository` must be an https URL such as https://github.com/user/repo"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A repository that may be fetched. `settings` are git's for this one."""

    url: str
    settings: tuple[tuple[str, str], ...]


class Sources:
    """Lets through https to the named hosts, and `file://` below the named folders.

    `hosts` are names, `*` for every public one. Addresses are checked by the guard, and git is
    made to connect to just those, so that a name cannot lead elsewhere a moment later.
    """

    def __init__(
        self, *, guard: AddressGuard, hosts: Sequence[str], roots: Sequence[str] = ()
    ) -> None:
        self._guard = guard
        self._hosts = frozenset(host.lower() for host in hosts)
        self._roots = [os.path.realpath(root) for root in roots]

    async def admitted(self, url: str) -> Source:
        """What to fetch for a user's URL. Raises InputError with the reason for any other."""
        if len(url) > _LONGEST or not _PRINTABLE.fullmatch(url):
            raise InputError(f"{_WRONG}, in at most {_LONGEST} ASCII characters without spaces.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InputError(f"{_WRONG}.") from None
        if "@" in parts.netloc:
            raise InputError("`repository` must not hold a user name or password.")
        if parts.query or parts.fragment or "?" in url or "#" in url:
            raise InputError("`repository` must not have a query or a fragment.")
        if parts.scheme == "file":
            return self._local(parts.netloc, unquote(parts.path))
        if parts.scheme != "https":
            raise InputError(f"{_WRONG}; other protocols are not fetched.")
        return await self._remote(parts.hostname or "", port or 443, parts.netloc, parts.path)

    async def _remote(self, host: str, port: int, netloc: str, path: str) -> Source:
        if not _HOST.fullmatch(host) or netloc.lower() not in (host, f"{host}:{port}"):
            raise InputError(f"{_WRONG}.")
        if host not in self._hosts and "*" not in self._hosts:
            known = ", ".join(sorted(self._hosts)) or "none"
            raise InputError(
                f"Repositories on {host} are not fetched by this server; it fetches from: {known}. "
                "SUTAZAI_REPOSITORY_HOSTS lists these."
            )
        try:
            addresses = await self._guard.addresses(host)
        except (ForbiddenAddress, SutazaiError):
            raise InputError(
                f"{host} is not, or not only, on the public internet. SUTAZAI_REPOSITORY_ALLOW "
                "lists the networks that repositories may be fetched from beside it."
            ) from None
        except OSError:
            raise RepositoryUnavailable(f"The name {host} could not be resolved.") from None
        told = ",".join(f"[{one}]" if ":" in one else one for one in addresses)
        at = f"{host}:{port}" if port != 443 else host
        return Source(
            url=f"https://{at}{path}",
            settings=(
                ("protocol.https.allow", "always"),
                ("http.curloptResolve", f"{host}:{port}:{told}"),
            ),
        )

    def _local(self, host: str, path: str) -> Source:
        if host not in ("", "localhost"):
            raise InputError("A file:// URL names no host: file:///path/to/repository.")
        # Both sides are resolved, so that neither `..` nor a link leads elsewhere.
        real = "" if "\0" in path else os.path.realpath(path)
        if not self._is_below(real):
            raise InputError(
                "This server does not fetch that file:// URL. SUTAZAI_REPOSITORY_ROOTS lists the "
                "folders below which it does."
            )
        if not Path(real).is_dir():
            raise InputError("There is no repository at that file:// URL.")
        git = Path(real, ".git") if Path(real, ".git").exists() else Path(real)
        if git.is_file() or (git / "commondir").exists():
            raise InputError("A linked worktree is not fetched; name its main repository.")
        if not all(map(self._is_below, _parts(git))):
            raise InputError(
                "That repository borrows from elsewhere. Every part of it must lie below the "
                "folders that SUTAZAI_REPOSITORY_ROOTS lists."
            )
        return Source(url=f"file://{quote(real)}", settings=(("protocol.file.allow", "always"),))

    def _is_below(self, real: str) -> bool:
        return any(real == root or real.startswith(root + "/") for root in self._roots)


def _parts(git: Path) -> Iterator[str]:
    """The real places that a repository reads from; its alternates' alternates are not followed."""
    for name in ("", "HEAD", "config", "objects", "objects/pack", "packed-refs", "refs"):
        yield os.path.realpath(git / name)
    try:
        borrowed = (git / "objects/info/alternates").read_bytes()
    except OSError:
        return
    for line in filter(None, borrowed.splitlines()):
        # Git takes off quotes; whoever writes them wants the line to be read in another way.
        place = "/" if line.startswith(b'"') else os.fsdecode(line)
        yield os.path.realpath(git / "objects" / place)


def checked_branch(branch: str | None) -> str | None:
    """A branch, tag or commit that git cannot take for anything else. Raises InputError."""
    if branch is None:
        return None
    if not _BRANCH.fullmatch(branch) or ".." in branch or "//" in branch or "@{" in branch:
        raise InputError("`branch` must be the name of a branch or tag, or a commit's id.")
    return branch


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A commit by a name, None for the default branch, and the steps back from there.

    `depth` is how many commits deep the history must be for these steps to be in it.
    """

    branch: str | None
    steps: str
    depth: int


def checked_revision(field: str, revision: str) -> Revision:
    """What a user calls a commit in a repository that is fetched. Raises InputError."""
    at = min((revision.find(sign) for sign in "~^" if sign in revision), default=len(revision))
    name, steps = revision[:at], revision[at:]
    if not _STEPS.fullmatch(steps):
        raise InputError(
            f"`{field}` must be a branch, a tag or a commit, with `~` and `^` after it."
        )
    counts = [int(number or 1) for number in re.findall(r"~([0-9]*)", steps)]
    depth = 1 + sum(counts) + steps.count("^")
    if depth > _MOST_STEPS:
        raise InputError(f"`{field}` goes more than {_MOST_STEPS} commits back; name it by its id.")
    try:
        branch = None if name == "HEAD" else checked_branch(name)
    except InputError:
        raise InputError(
            f"`{field}` must be the name of a branch or tag, or a commit's id, which may have `~` "
            "and `^` after it."
        ) from None
    return Revision(branch=branch, steps=steps, depth=depth)
