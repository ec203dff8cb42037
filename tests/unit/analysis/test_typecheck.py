"""Type checks, and annotations that are kept only where the code still checks."""

import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import Inline, Place
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.typecheck.annotation import Names, annotation
from sutazai.analysis.typecheck.check import Check, CheckRequest, check
from sutazai.analysis.typecheck.edits import Edit, edited
from sutazai.analysis.typecheck.mypy import batches


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(project: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), "utf-8")


def checked(project: Path, *, strict: bool | None = None, annotate: bool = True) -> Check:
    what = Reviewable(place=Place(root=str(project)))
    return check(CheckRequest(what=what, strict=strict, annotate=annotate))


def patched(project: Path, patch: str) -> None:
    subprocess.run(["git", "apply", "-"], cwd=project, input=patch, text=True, check=True)


def test_errors_quote_their_lines_at_their_columns(project: Path) -> None:
    write(
        project,
        {
            "shop/__init__.py": "",
            "shop/prices.py": """
                def double(price: int) -> int:
                    return price * 2
            """,
            "shop/main.py": """
                from shop.prices import double

                größe: int = double("zwölf"); name: str = größe
                print(undefined)
            """,
        },
    )
    found = checked(project, annotate=False)
    told = {(one.line, one.column, one.evidence[0].rule, one.severity) for one in found.findings}
    assert told == {
        (3, 21, "arg-type", "medium"),
        (3, 43, "assignment", "medium"),
        (4, 7, "name-defined", "high"),
    }
    assert all("größe" in one.code or "undefined" in one.code for one in found.findings)
    assert len({(one.fingerprint, one.description) for one in found.findings}) == 3


def test_annotations_are_inferred_apply_and_still_check(project: Path) -> None:
    write(
        project,
        {
            "shop.py": '''
                """A shop."""

                import pathlib


                class Article:
                    def __init__(self, name: str) -> None:
                        self.name = name

                    def label(self, width=20, *, upper=False):
                        text = self.name[:width]
                        return text.upper() if upper else text


                def price(article, count=1):
                    # What a comment says stays.
                    if not article:
                        return None
                    return {"article": article.name, "count": count}, count * 2


                def folder():
                    return pathlib.Path("/") / "x"


                def first(values):
                    for value in values:
                        return value


                def last(values):
                    return values[-1]


                def numbers():
                    yield 1


                def nothing():
                    print("ä", f"{price(None)}")


                def use():
                    found = [1, 2]
                    first(found)
                    return last(values=found), Article("tea").label(3)
            ''',
        },
    )
    before = (project / "shop.py").read_text("utf-8")
    found = checked(project)
    said = {one.function: (one.returns, one.parameters) for one in found.annotated}
    assert said["label"] == ("str", {"width": "int", "upper": "bool"})
    assert said["folder"] == ("pathlib.Path", {})
    assert said["first"] == (None, {"values": "list[int]"})
    assert said["nothing"] == ("None", {})
    assert said["last"] == ("int", {"values": "list[int]"})
    assert said["use"][0] == "tuple[int, str]"
    assert "numbers" not in said
    assert found.functions_annotated_after > found.functions_annotated
    patched(project, found.patch)
    after = (project / "shop.py").read_text("utf-8")
    assert after.count("\n") == before.count("\n")
    assert "# What a comment says stays." in after
    again = checked(project)
    assert [one.description for one in again.findings] == [
        one.description for one in found.findings
    ]


def test_a_candidate_that_breaks_something_else_is_dropped(project: Path) -> None:
    write(
        project,
        {
            "lib.py": """
                def load(flag=False):
                    if flag:
                        return 1
                    return "text"


                def fine():
                    return 3


                def caller() -> int:
                    return len(load())
            """,
        },
    )
    found = checked(project)
    said = {one.function: one.returns for one in found.annotated}
    assert said == {"fine": "int"}
    assert found.rejected == 1
    assert "load" not in "".join(line for line in found.patch.splitlines() if line.startswith("+"))


def test_strictness_is_the_projects_own_unless_told(project: Path) -> None:
    write(
        project,
        {
            "pyproject.toml": "[tool.mypy]\nstrict = true\nplugins = ['evil']\n",
            "evil.py": "import pathlib\npathlib.Path('ran').touch()\ndef plugin(version): ...\n",
        },
    )
    found = checked(project, annotate=False)
    assert [one.rule for one in found.findings] == ["missing-type"]
    assert found.options["plugins"] == "not loaded"
    assert checked(project, strict=False, annotate=False).findings == []
    assert not list(project.parent.rglob("ran"))


def test_what_cannot_be_parsed_does_not_stop_the_rest(project: Path) -> None:
    write(
        project,
        {
            "broken.py": "def (:\n",
            "newer.py": "type Pair[T] = tuple[T, T]\nx: Pair[int] = 3\n",
            "one/conftest.py": "x: int = ''\n",
            "two/conftest.py": "y: int = ''\n",
        },
    )
    found = checked(project, annotate=False)
    assert [one.file for one in found.unparsed] == ["/broken.py"]
    assert {one.file for one in found.findings} == {
        "/newer.py",
        "/one/conftest.py",
        "/two/conftest.py",
    }
    assert found.options["python_version"] == "3.14"


def test_what_comes_from_elsewhere_is_any_and_named(project: Path) -> None:
    write(project, {"app.py": "import requests\nfrom nowhere import thing\nx: int = thing\n"})
    found = checked(project, annotate=False)
    assert found.findings == []
    assert found.taken_as_any == ["nowhere", "requests"]


def test_no_python_is_said(project: Path) -> None:
    inline = Inline(name="a.txt", content=b"text")
    with pytest.raises(InputError, match="no Python"):
        check(CheckRequest(what=Reviewable(inline=(inline,))))


def test_edits_count_in_bytes_and_keep_the_rest() -> None:
    assert edited("ä = 1\nb", [Edit(1, 5, 1, 6, "2"), Edit(2, 1, 2, 1, "!")]) == "ä = 2\nb!"


def test_files_of_one_name_are_checked_apart() -> None:
    files = ["/a/conftest.py", "/b/conftest.py", "/p/__init__.py", "/p/conftest.py"]
    assert batches(files) == [
        ["/a/conftest.py", "/p/__init__.py", "/p/conftest.py"],
        ["/b/conftest.py"],
    ]


@pytest.mark.parametrize(
    ("revealed", "written"),
    [
        (["int", "Literal[3]?"], "int"),
        (["Literal['a|b']?", "None"], "str | None"),
        (["bool", "int"], "int"),
        (["list[tuple[int, ...]]"], "list[tuple[int, ...]]"),
        (["m.Early"], "Early"),
        (["m.Late"], None),
        (["json.decoder.JSONDecoder"], None),
        (["collections.abc.Sized"], "abc.Sized"),
        (["Any"], None),
        (["list[Any]"], None),
        (["def (x: int) -> int"], None),
        (["T`-1"], None),
        (["Never"], None),
        (["int", "str", "bytes", "None"], None),
        ([], None),
    ],
)
def test_what_is_revealed_is_written_as_the_file_can_name_it(
    revealed: list[str], written: str | None
) -> None:
    import ast

    text = "import collections.abc as abc\nclass Early: ...\ndef f(): ...\nclass Late: ...\n"
    assert annotation(revealed, Names("m", ast.parse(text)), 3) == written
