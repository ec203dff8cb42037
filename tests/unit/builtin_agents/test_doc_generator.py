"""The documentation agent, from metadata to pages, patch and evidence."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.agents.contract import AgentError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.sandbox import Sandbox, SandboxEnd, SandboxRun, SandboxUnavailable
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.doc_generator import DocGenerator
from tests.unit.builtin_agents.lent import Context, assigned

pytestmark = pytest.mark.anyio

MATH = '''\
"""Arithmetic."""

SCALE: int = 2
API_TOKEN = "k8-Quartz-Vellum-19"


class Cart:
    def __init__(self, owner, limit=3):
        if limit < 0:
            raise ValueError("negative")
        self.owner = owner
        self.items = []

    def add(self, item: str, *, count: int = 1) -> int:
        self.items.extend([item] * count)
        return len(self.items)

    @property
    def size(self):
        return len(self.items)


def slug(text: str) -> str:
    return text.lower().replace(" ", "-")


def scaled(number, factor=SCALE):
    """The number, scaled.

    Examples:
        >>> scaled(2)
        4
    """
    return number * factor


def wrong(number):
    """Three times as much.

    >>> wrong(1)
    3
    """
    return number * 2


def _hidden():
    return 1
'''


class Absent:
    """A machine that can isolate nothing."""

    async def run(self, run: SandboxRun) -> SandboxEnd:
        raise SandboxUnavailable("Allow user namespaces.")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "src" / "pkg").mkdir(parents=True)
    (folder / "src" / "pkg" / "__init__.py").write_text("")
    (folder / "src" / "pkg" / "math.py").write_text(MATH)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_math.py").write_text(
        "from pkg.math import scaled, slug\n\n\ndef test_it():\n"
        "    given = 'Ab Cd'\n    assert slug(given) == 'ab-cd'\n"
    )
    (folder / "README.md").write_text(
        "# Pkg\n\nCall `pkg.math.slug`; `pkg.math.gone` is gone.\n\n"
        "```python\nfrom pkg.math import slug\n\nassert slug('A B') == 'a-b'\n```\n"
    )
    return folder


async def documented(
    pool: AnalysisPool, workspace: Path | None, sandbox: Sandbox | None = None, **metadata: Any
) -> dict[str, Any]:
    code = CodeInput(workspace=None if workspace is None else str(workspace))
    agent = DocGenerator(pool=pool, code=code, sandbox=sandbox or LinuxSandbox())
    assignment = assigned("documentation", metadata)
    context = Context()
    result = await agent.handle(assignment, context)
    msgspec.json.encode(result)  # JSON-compatible, or this raises
    assert context.told[-1][0] == 100
    return result


def apply(workspace: Path, patch: str) -> None:
    subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=workspace, check=True)


async def test_a_project_gets_pages_a_patch_and_a_readme(
    pool: AnalysisPool, workspace: Path
) -> None:
    result = await documented(pool, workspace)
    page = result["files"]["docs/reference/pkg.math.md"]
    assert "def add(self, item: str, *, count: int=1) -> int" in page
    assert "| `ValueError` | If `limit < 0`. |" in page
    assert ">>> slug('Ab Cd')\n'ab-cd'" in page  # the test's own call, executed
    assert ">>> scaled(2)\n4" in page
    assert "_hidden" not in page
    coverage = result["coverage"]
    assert (coverage["documented_before"], coverage["public"]) == (3, 8)
    assert coverage["documented_after"] == 8
    apply(workspace, result["patch"])
    again = await documented(pool, workspace)
    assert again["coverage"]["before"] == 1
    assert again["docstrings"] == {"added": [], "corrected": []}
    assert ">>> slug('Ab Cd')" in (workspace / "src" / "pkg" / "math.py").read_text()
    readme = (workspace / "README.md").read_text()
    assert "[`pkg.math`](docs/reference/pkg.math.md) | Arithmetic. |" in readme
    assert again["readme_section"] in readme


async def test_an_example_that_fails_is_reported_and_not_shown(
    pool: AnalysisPool, workspace: Path
) -> None:
    result = await documented(pool, workspace)
    page = result["files"]["docs/reference/pkg.math.md"]
    assert "wrong(1)" not in page
    [failed] = [one for one in result["examples"] if one["status"] == "failed"]
    assert (failed["expected"], failed["output"]) == ("3\n", "2\n")
    [stale] = [one for one in result["stale"] if one["kind"] == "wrong-example"]
    assert stale["quote"] == MATH.split("\n")[stale["line"] - 1] == "    >>> wrong(1)"
    assert [one["symbol"] for one in result["stale"] if one["kind"] == "unknown-symbol"] == [
        "pkg.math.gone"
    ]


async def test_names_that_a_package_takes_from_its_modules_are_on_its_page(
    pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "src" / "pkg" / "__init__.py").write_text(
        'from pkg.math import Cart, slug\n\n__all__ = ["Cart", "slug", "absent"]\n'
    )
    page = (await documented(pool, workspace))["files"]["docs/reference/pkg.md"]
    assert "| `Cart` | `pkg.math.Cart` |" in page
    assert "absent" not in page


async def test_secrets_of_the_code_are_masked_everywhere(
    pool: AnalysisPool, workspace: Path
) -> None:
    assert "Quartz" not in str(await documented(pool, workspace))


@pytest.mark.parametrize("style", ["google", "numpy"])
async def test_code_given_inline_is_documented_in_either_style(
    pool: AnalysisPool, style: str
) -> None:
    result = await documented(pool, None, code=MATH, style=style)
    assert result["style"] == style
    assert ("    Args:" in result["patch"]) == (style == "google")
    assert ("    Parameters\n" in result["patch"]) == (style == "numpy")
    assert {one["status"] for one in result["examples"]} == {"passed", "failed"}


async def test_code_that_hangs_exits_or_lies_does_not_take_the_others_with_it(
    pool: AnalysisPool,
) -> None:
    code = '''\
import os


def hang():
    """Hang.

    >>> import time; time.sleep(600)  # longer than any example may take
    """


def leave():
    """Leave.

    >>> os._exit(0)
    """


def fine():
    """Fine.

    >>> 1 + 1
    2
    """
'''
    result = await documented(pool, None, code=code)
    by_symbol = {one["symbol"]: one for one in result["examples"]}
    assert "longer" in by_symbol["inline.hang"]["error"]
    assert by_symbol["inline.leave"]["status"] == "failed"
    assert by_symbol["inline.fine"]["status"] == "passed"


async def test_without_a_sandbox_no_example_is_shown_as_true(
    pool: AnalysisPool, workspace: Path
) -> None:
    result = await documented(pool, workspace, Absent())
    assert result["examples_unavailable"] == "Allow user namespaces."
    assert {one["status"] for one in result["examples"]} == {"not_run"}
    assert ">>>" not in "".join(result["files"].values())
    quiet = await documented(pool, workspace, Absent(), examples=False)
    assert "examples_unavailable" not in quiet


async def test_what_importing_takes_can_be_given(pool: AnalysisPool) -> None:
    code = 'import os\n\nKEY = os.environ["SHOP_KEY"]\n'
    code += "def double(n: int) -> int:\n    return n * 2\n"
    without = await documented(pool, None, code=code)
    assert "SHOP_KEY" in without["not_imported"]["inline"]
    given = await documented(pool, None, code=code, environment={"SHOP_KEY": "x"})
    assert [one["output"] for one in given["examples"]] == ["6"]


async def test_hostile_files_are_left_out_with_the_reason(
    pool: AnalysisPool, workspace: Path
) -> None:
    (workspace / "deep.py").write_text("x = " + "(" * 5_000 + ")" * 5_000)
    (workspace / "towering.py").write_text("x = " + "-" * 20_000 + "1\n")
    (workspace / "binary.py").write_bytes(b"\x00\x01\x02")
    (workspace / "huge.py").write_bytes(b"#" * 50_000_000)
    (workspace / "odd name; rm -rf.py").write_text("def f(): return 1\n")
    (workspace / "spaces.py").write_text(
        '"""' + " " * 400_000 + "\nArgs:\n" + "\n" * 400_000 + '"""'
    )
    result = await documented(pool, workspace)
    assert {"/deep.py", "/towering.py"} == {one["file"] for one in result["unparsed"]}
    assert {"/binary.py", "/huge.py"} <= {one["file"] for one in result["skipped"]}
    assert "pkg.math.slug" in result["docstrings"]["added"]
    assert "odd name; rm -rf.f" in result["docstrings"]["added"]


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"style": "sphinx"}, "google"),
        ({"style": 5}, "google"),
        ({"examples": "no"}, "true or false"),
        ({"environment": []}, "environment"),
        ({"environment": {"A=B": "x"}}, "environment"),
        ({"environment": {"A": 5}}, "environment"),
        ({"files": ["README.md"]}, "no Python"),
        ({"files": ["../x"]}, r"\.\."),
    ],
)
async def test_wrong_metadata_fails_with_the_reason(
    pool: AnalysisPool, workspace: Path, metadata: dict[str, Any], words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        await documented(pool, workspace, **metadata)
