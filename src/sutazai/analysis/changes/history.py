"""Commits of the workspace's repository, read by git with none of that repository's settings.

Git runs in an empty repository of its own and is lent the workspace's objects: hooks, filters,
aliases, drivers and remotes that the workspace configures are never even read.
"""

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sutazai.analysis.changes.diffs import read_diff
from sutazai.analysis.changes.model import Change, Commit, FileKind
from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import Place
from sutazai.analysis.workspace import NotReadable, Workspace

_SECONDS = 60
_MOST_COMMITS = 200
_MOST_TEXT = 64 * 1024 * 1024
_LARGEST_BLOB = 2 * 1024 * 1024
_REVISION = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._/+@-]{0,199})((?:[~^][0-9]{0,4}){0,10})")
_HEX = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_GIT = (b".git",)


def read_range(workspace: Workspace, root: str, base: str, head: str) -> Change:
    """The change from `base` to `head`. Raises InputError where git or the commits are missing."""
    git = shutil.which("git")
    if git is None:
        raise InputError("Commit ranges need git, which is not installed here; give a `diff`.")
    _check_objects(workspace)
    ends = _shallow_ends(workspace)
    with _lent(git, root, _object_format(workspace), ends) as run:
        start, end = _commit(workspace, run, base), _commit(workspace, run, head)
        listed = run(
            "log", f"--max-count={_MOST_COMMITS}", "--format=%H%x00%h%x00%s", f"{start}..{end}"
        )
        lines = [line.split("\x00") for line in listed.decode("utf-8", "replace").splitlines()]
        commits = [Commit(commit=short, subject=subject[:200]) for _, short, subject in lines]
        tree = ("diff-tree", "-r", "-M", "--no-color", "--no-ext-diff", "--no-textconv")
        diff = run(*tree, "-p", "--full-index", start, end)
        if not diff:
            raise InputError(f"Nothing changes between {base!r} and {head!r}.")
        change = read_diff(diff.decode("utf-8", "replace"))
        change.commits, change.base, change.head = commits, start, end
        if ends.intersection(whole for whole, _, _ in lines):
            change.left_out.append(
                "The list of commits may not be whole: history is only there up to a point."
            )
        _add_sides(run, change, start, end)
    return change


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What to write where: the files at a commit of the workspace's repository, into a folder."""

    place: Place
    commit: str
    folder: str


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it was; `problem` says why not."""

    problem: str | None = None


def write_snapshot(request: Snapshot) -> Written:
    """Write the regular files that a review would read; links and submodules are left out."""
    try:
        _write(request)
    except (InputError, OSError) as error:
        return Written(problem=str(error))
    return Written()


def _write(request: Snapshot) -> None:
    place, folder = request.place, Path(request.folder)
    workspace = Workspace(place.root, place.excluded, place.limits)
    git = shutil.which("git")
    if git is None:
        raise InputError("git is not installed here")
    _check_objects(workspace)
    with _lent(git, place.root, _object_format(workspace), frozenset()) as run:
        commit = _commit(workspace, run, request.commit)
        fitting: dict[str, tuple[str, int]] = {}
        for entry in run("ls-tree", "-r", "-z", "--long", commit).split(b"\0")[:-1]:
            about, _, name = entry.partition(b"\t")
            mode, _, blob, size = about.decode().split()
            # Objects can be made that git itself would never make: these lead out of the folder.
            leads_out = not {"", ".", ".."}.isdisjoint(os.fsdecode(name).split("/"))
            if mode.startswith("100") and int(size) <= _LARGEST_BLOB and not leads_out:
                fitting[os.fsdecode(name)] = blob, int(size)
        if sum(size for _, size in fitting.values()) > _MOST_TEXT:
            raise InputError(f"it has more than {_MOST_TEXT} bytes")
        blobs = "".join(f"{blob}\n" for blob, _ in fitting.values())
        content = run("cat-file", "--batch=", given=blobs.encode())
    at = 1
    for path, (_, length) in fitting.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content[at : at + length])
        at += length + 2


class _Git:
    """Runs git commands that only read."""

    def __init__(self, git: str, folder: Path, objects: str) -> None:
        self._git = git
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "GIT_DIR": str(folder / "repository"),
            # Quoted, for a colon would separate two of them.
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(objects),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_OPTIONAL_LOCKS": "0",
            "LC_ALL": "C.UTF-8",
        }

    def __call__(self, *arguments: str, given: bytes = b"") -> bytes:
        try:
            done = subprocess.run(
                [self._git, "-c", "core.quotePath=false", *arguments],
                env=self._environment,
                cwd=self._environment["HOME"],
                capture_output=True,
                timeout=_SECONDS,
                check=True,
                input=given,
            )
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode("utf-8", "replace").strip()[:300]
            raise InputError(f"git cannot read that: {said}") from None
        except subprocess.TimeoutExpired:
            raise InputError(f"git took longer than {_SECONDS} s; name a smaller range.") from None
        if len(done.stdout) > 2 * _MOST_TEXT:
            raise InputError("The range is too large; name a smaller one.")
        return done.stdout


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@contextmanager
def _lent(git: str, root: str, object_format: str, ends: frozenset[str]) -> Iterator[_Git]:
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        run = _Git(git, Path(folder), str(Path(root, ".git", "objects")))
        run("init", "--quiet", "--bare", f"--object-format={object_format}", "--template=")
        if ends:
            Path(folder, "repository", "shallow").write_text("\n".join(sorted(ends)) + "\n")
        yield run


def _check_objects(workspace: Workspace) -> None:
    """InputError unless the objects are the workspace's own: real folders and files inside it."""
    if workspace.kind(_GIT) != stat.S_IFDIR:
        raise InputError(
            "The workspace is no git repository of its own (it has no .git folder); give a `diff`."
        )
    objects = (*_GIT, b"objects")
    try:
        entries = workspace.entries(objects)
        packs = workspace.entries((*objects, b"pack")) if (b"pack", stat.S_IFDIR) in entries else []
        more = workspace.entries((*objects, b"info")) if (b"info", stat.S_IFDIR) in entries else []
    except NotReadable as error:
        raise InputError(f"The workspace's repository cannot be read: {error}.") from None
    if any(kind not in (stat.S_IFDIR, stat.S_IFREG) for _, kind in (*entries, *packs, *more)):
        raise InputError("The workspace's repository has symbolic links among its objects.")
    if any(name.endswith(b"alternates") for name, _ in more):
        raise InputError("The workspace's repository borrows objects from another; give a `diff`.")


def _shallow_ends(workspace: Workspace) -> frozenset[str]:
    """The commits whose parents are not there, because not all of history was fetched."""
    return frozenset(line for line in _text(workspace, "shallow").split() if _HEX.fullmatch(line))


def _object_format(workspace: Workspace) -> str:
    try:
        text = workspace.read((*_GIT, b"config")).lower()
    except NotReadable:
        return "sha1"
    return (
        "sha256" if re.search(rb"^\s*objectformat\s*=\s*sha256\s*$", text, re.MULTILINE) else "sha1"
    )


def _commit(workspace: Workspace, run: _Git, revision: str) -> str:
    """The id of a commit, from a branch, a tag, HEAD or an id, and `~` or `^` after it."""
    found = _REVISION.fullmatch(revision)
    if found is None or ".." in revision or "@{" in revision:
        raise InputError(f"{revision[:100]!r} names no commit that can be looked up.")
    name, steps = found[1], found[2]
    start = _reference(workspace, name)
    if start is None and re.fullmatch(r"[0-9a-f]{4,64}", name):
        start = name
    if start is None:
        raise InputError(f"The workspace's repository has no branch, tag or commit {name!r}.")
    commit = f"{start}{steps}^{{commit}}"
    try:
        return run("rev-parse", "--verify", "--quiet", commit).decode().strip()
    except InputError:
        raise InputError(f"The workspace's repository has no commit {revision!r}.") from None


def _reference(workspace: Workspace, name: str) -> str | None:
    packed = _text(workspace, "packed-refs").splitlines()
    by_name = {line.partition(" ")[2]: line.partition(" ")[0] for line in packed}
    for full in (
        name,
        f"refs/{name}",
        f"refs/tags/{name}",
        f"refs/heads/{name}",
        f"refs/remotes/{name}",
    ):
        followed = full
        for _ in range(5):
            text = _text(workspace, followed).strip()
            if text.startswith("ref: "):
                followed = text.removeprefix("ref: ")
                continue
            text = text or by_name.get(followed, "")
            if _HEX.fullmatch(text):
                return text
            break
    return None


def _text(workspace: Workspace, path: str) -> str:
    parts = tuple(part.encode() for part in path.split("/") if part not in ("", ".", ".."))
    if not parts or len(path) > 500:
        return ""
    try:
        return workspace.read((*_GIT, *parts)).decode("utf-8", "replace")
    except NotReadable:
        return ""


def _add_sides(run: _Git, change: Change, base: str, head: str) -> None:
    """Read both sides of all files, in one run of git for the sizes and one for the texts."""
    wanted: dict[str, str | None] = {}
    for file in change.files:
        if file.kind is not FileKind.BINARY and "\n" not in file.path + file.old_path:
            wanted |= {f"{base}:{file.old_path}": None, f"{head}:{file.path}": None}
    names = list(wanted)
    sizes = run("cat-file", "--batch-check=%(objecttype) %(objectsize)", given=_lines(names))
    fitting: list[str] = []
    total = 0
    for name, said in zip(names, sizes.decode("utf-8", "replace").splitlines(), strict=False):
        kind, _, size = said.rpartition(" ")
        if kind != "blob":
            wanted[name] = ""  # not there on this side
        elif size.isdigit() and int(size) <= _LARGEST_BLOB and total + int(size) <= _MOST_TEXT:
            total += int(size)
            fitting.append(name)
    content = run("cat-file", "--batch=%(objectsize)", given=_lines(fitting)) if fitting else b""
    at = 0
    for name in fitting:
        end = content.index(b"\n", at)
        length = int(content[at:end])
        wanted[name] = _decoded(content[end + 1 : end + 1 + length])
        at = end + length + 2
    for file in change.files:
        file.before = wanted.get(f"{base}:{file.old_path}")
        file.after = wanted.get(f"{head}:{file.path}")


def _lines(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")


def _decoded(content: bytes) -> str | None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text.replace("\r\n", "\n")
