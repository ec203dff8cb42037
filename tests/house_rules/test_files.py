"""What no file of the repository says, and what some of them must."""

import re
import subprocess

from tests.house_rules.tree import ROOT, report, shown, text_files

# Put together here, so that this file does not say them either.
INDEX_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("conda", "anaconda", "org"),
        ("index", "crates", "io"),
    )
]
MACHINE_PATHS = [f"/{place}/" for place in ("work", "root", "opt/pypi", "opt/wheels")]
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")
COMMANDS = ["install", "demo", "run", "test", "check", "bench", "lock", "clean"]


def _lines_with(words: list[str]) -> list[str]:
    pattern = re.compile("|".join(rf"(?<![\w~-]){re.escape(word)}" for word in words))
    return [
        f"{shown(path, number)}: {match[0]}"
        for path in text_files()
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if (match := pattern.search(line))
    ]


def test_the_rules_see_the_repository() -> None:
    names = {shown(path) for path in text_files()}
    assert {"Makefile", ".ci/run", "pyproject.toml", "src/sutazai/__init__.py"} <= names
    assert not any(name.startswith((".venv/", ".git/")) for name in names)


def test_no_file_names_a_package_index() -> None:
    found = _lines_with(INDEX_HOSTS)
    assert not found, report(found)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    found = _lines_with(MACHINE_PATHS)
    assert not found, report(found)


def test_links_between_documents_lead_somewhere() -> None:
    documents = [path for path in text_files() if path.suffix == ".md"]
    assert len(documents) > 5
    found = [
        f"{shown(path)}: {target}"
        for path in documents
        for target in LINK.findall(path.read_text("utf-8"))
        if not (path.parent / target).exists()
    ]
    assert not found, report(found)


def test_a_bare_make_lists_every_command() -> None:
    printed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    missing = [name for name in COMMANDS if not re.search(rf"make {name} +\w", printed)]
    assert not missing, printed


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", name) for name in headings[1:])
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
