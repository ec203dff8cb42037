"""The paths of `sutazai review`: the workspace that holds them all, and how to write them back."""

import os
from dataclasses import dataclass
from pathlib import Path

from sutazai.cli.failures import Failure


@dataclass(frozen=True)
class Target:
    """A workspace and what to review in it; without patterns all of it."""

    root: Path
    patterns: tuple[str, ...]

    def path_of(self, file: str) -> str:
        """A result's path from where the user stands, absolute where it lies elsewhere."""
        return str(shown_path(self.root, file))

    def within(self, workspace: Path) -> "Target | None":
        """The same files as another workspace names them; None where it does not hold them."""
        try:
            below = self.root.relative_to(workspace).as_posix()
        except ValueError:
            return None
        prefix = "" if below == "." else below + "/"
        patterns = tuple(f"/{prefix}{pattern}" for pattern in self.patterns)
        if not _is_text(prefix):
            return None
        if not patterns and prefix:
            patterns = (f"/{below}",)
        return Target(workspace, patterns)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown_path(root: Path, file: str) -> Path:
    """A workspace's file (`/` is its root), relative to the current folder where it is below."""
    place = root / file.lstrip("/")
    try:
        return place.relative_to(Path.cwd().resolve())
    except ValueError:
        return place


def target_of(paths: list[Path]) -> Target:
    """What the paths mean; Failure for one that is not there.

    A single folder is the workspace itself; otherwise it is the folder that holds all of them.
    """
    real = []
    for path in paths:
        try:
            real.append(path.resolve(strict=True))
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "a loop of links"
            raise Failure(f"{path}: {reason}.") from error
    if len(real) == 1 and real[0].is_dir():
        return Target(real[0], ())
    root = Path(os.path.commonpath([path.parent for path in real]))
    unique = dict.fromkeys(path.relative_to(root).as_posix() for path in real)
    for name in unique:
        if not _is_text(name):
            raise Failure(
                f"{name}: the name is not valid Unicode. Rename it, or review its folder."
            )
    return Target(root, tuple(unique))
