"""The workspace's door: what is read, what is left out and why, and that nothing leads outside."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sutazai.analysis.globs import Glob, InputError, split_pattern
from sutazai.analysis.workspace import Limits, NotReadable, Workspace, shown


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    for name in ("src/app.py", "src/auth/login.py", "src/auth/deep/er.py", "README.md"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    (tmp_path / "secret.txt").write_text("outside")
    return root


def names(root: Path, *patterns: str, excluded: tuple[str, ...] = ()) -> list[str]:
    selection = Workspace(str(root), excluded).select(patterns)
    return [shown(parts) for parts in selection.files]


def skipped(root: Path, *patterns: str) -> dict[str, str]:
    return {s.file: s.reason for s in Workspace(str(root)).select(patterns).skipped}


def test_a_leading_slash_means_the_workspaces_root(root: Path) -> None:
    assert names(root, "/src/app.py") == names(root, "src/app.py") == ["/src/app.py"]


def test_globs_match_one_level_and_double_stars_all_levels(root: Path) -> None:
    assert names(root, "src/*.py") == ["/src/app.py"]
    assert names(root, "src/auth/*.py") == ["/src/auth/login.py"]
    assert names(root, "src/**/*.py") == [
        "/src/app.py",
        "/src/auth/deep/er.py",
        "/src/auth/login.py",
    ]
    assert names(root, "**/login.*") == ["/src/auth/login.py"]
    assert names(root, "/s?c/[a-b]*.py") == ["/src/app.py"]


def test_a_folder_means_everything_in_it_and_nothing_means_everything(root: Path) -> None:
    assert names(root, "src/auth") == ["/src/auth/deep/er.py", "/src/auth/login.py"]
    assert len(names(root)) == 4


def test_a_file_whose_name_looks_like_a_glob_is_found(root: Path) -> None:
    (root / "a[1].py").write_text("x = 1\n")
    assert names(root, "a[1].py") == ["/a[1].py"]


@pytest.mark.parametrize(
    "pattern",
    ["../secret.txt", "src/../../secret.txt", "/..", "..", "a\x00b", "\ud800", "x" * 1001],
)
def test_a_malformed_or_climbing_path_is_refused(root: Path, pattern: str) -> None:
    with pytest.raises(InputError):
        names(root, pattern)


def test_what_is_not_there_is_named_in_the_error(root: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.py"):
        names(root, "missing.py")
    with pytest.raises(InputError, match=r"\*\.rs"):
        names(root, "*.rs")


def test_an_absolute_path_of_the_machine_stays_inside(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no"):
        names(root, str(tmp_path / "secret.txt"))


def test_links_out_of_the_workspace_are_refused_and_not_walked(root: Path, tmp_path: Path) -> None:
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "outside").symlink_to(tmp_path)
    for pattern in ("out.txt", "outside", "outside/secret.txt"):
        with pytest.raises(InputError, match="out of the workspace"):
            names(root, pattern)
    assert "/outside/secret.txt" not in names(root)
    assert skipped(root)["/out.txt"] == "a symbolic link"


def test_a_named_link_inside_the_workspace_means_its_target(root: Path) -> None:
    (root / "link.py").symlink_to(root / "src" / "app.py")
    assert names(root, "link.py") == ["/src/app.py"]


def test_a_file_swapped_for_a_link_after_it_was_found_is_not_followed(
    root: Path, tmp_path: Path
) -> None:
    workspace = Workspace(str(root))
    [parts] = workspace.select(["src/app.py"]).files
    (root / "src" / "app.py").unlink()
    (root / "src" / "app.py").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(NotReadable):
        workspace.read(parts)
    (root / "src").rename(root / "gone")
    (root / "src").symlink_to(tmp_path)
    with pytest.raises(NotReadable):
        workspace.read((b"src", b"secret.txt"))


def test_fifos_and_devices_are_never_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.py")
    assert skipped(root)["/pipe.py"] == "not a regular file"
    with pytest.raises(NotReadable, match="regular"):
        Workspace(str(root)).read((b"pipe.py",))


def test_a_file_over_the_limit_is_refused_with_its_size(root: Path) -> None:
    with (root / "big.py").open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(NotReadable, match="50,000,000"):
        Workspace(str(root)).read((b"big.py",))


def test_too_many_files_are_refused_with_the_limit(root: Path) -> None:
    with pytest.raises(InputError, match="at most 3"):
        Workspace(str(root), limits=Limits(files=3)).select([])


def test_the_excluded_folder_is_never_readable(root: Path) -> None:
    (root / "data").mkdir()
    (root / "data" / "key").write_text("secret")
    (root / "to-data").symlink_to(root / "data")
    excluded = (str(root / "data"),)
    assert "/data/key" not in names(root, excluded=excluded)
    for pattern in ("data", "data/key", "data/*", "to-data/key"):
        with pytest.raises(InputError):
            names(root, pattern, excluded=excluded)


def test_folders_of_tools_are_left_out_with_a_reason_unless_named(root: Path) -> None:
    for name in (".git/config", "node_modules/a/index.js", ".venv/lib/x.py", "env/pyvenv.cfg"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    assert len(names(root)) == 4
    assert {"/.git", "/node_modules", "/.venv", "/env"} <= set(skipped(root))
    assert names(root, "node_modules/a/index.js") == ["/node_modules/a/index.js"]


def test_names_that_are_not_valid_unicode_are_shown_escaped(root: Path) -> None:
    (root / os.fsdecode(b"odd\xff.py")).write_text("x = 1\n")
    assert "/odd\\xff.py" in names(root)


def test_a_workspace_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workspace"):
        Workspace(str(tmp_path / "none"))


_PART = st.sampled_from(["..", ".", "a", "*", "**", "outside", "link", "?", "[a-z]*", "", "/"])


@given(st.lists(_PART, max_size=6).map("/".join))
def test_no_pattern_reaches_outside(tmp_path_factory: pytest.TempPathFactory, pattern: str) -> None:
    base = tmp_path_factory.getbasetemp() / "escape"
    if not base.exists():
        (base / "workspace" / "a").mkdir(parents=True)
        (base / "workspace" / "a" / "f.py").write_text("inside")
        (base / "secret").write_text("outside")
        (base / "workspace" / "outside").symlink_to(base)
        (base / "workspace" / "a" / "link").symlink_to("../../secret")
    workspace = Workspace(str(base / "workspace"))
    try:
        files = workspace.select([pattern]).files
    except InputError:
        return
    for parts in files:
        assert workspace.read(parts) == b"inside"


@given(st.text(alphabet="ab*?/", max_size=12), st.text(alphabet="ab/", max_size=12))
def test_globs_agree_with_a_plain_definition(pattern: str, path: str) -> None:
    parts, components = split_pattern(pattern), split_pattern(path)
    glob = Glob(parts)
    if not glob.wild:
        return
    states = glob.start
    below = components[len(glob.fixed) :]
    for name in below:
        states = glob.step(states, name)
    reached = components[: len(glob.fixed)] == glob.fixed and glob.accepts(states)
    assert reached == _matches(parts, components)


def _matches(parts: tuple[str, ...], components: tuple[str, ...]) -> bool:
    import fnmatch

    if not parts:
        return not components
    if parts[0] == "**":
        return any(_matches(parts[1:], components[i:]) for i in range(len(components) + 1))
    return (
        bool(components)
        and fnmatch.fnmatchcase(components[0], parts[0])
        and _matches(parts[1:], components[1:])
    )
