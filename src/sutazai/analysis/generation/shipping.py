"""What goes into the sandbox beside the module: the package `inside`, under a name of its own."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

_PACKAGE = "sutazai.analysis.generation.inside"
SHIPPED = "_sutazai_generating"
"""The name of the package in there: no project of anybody has one of this name."""


@cache
def shipped_files() -> Mapping[str, bytes]:
    """The files to write into the working folder, by relative path."""
    folder = Path(__file__).parent / "inside"
    return {
        f"{SHIPPED}/{path.name}": path.read_text("utf-8").replace(_PACKAGE, SHIPPED).encode()
        for path in sorted(folder.glob("*.py"))
    }
