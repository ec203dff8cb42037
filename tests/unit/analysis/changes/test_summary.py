"""What a change changes is told by symbols and risks, each with lines that are there."""

import subprocess
from pathlib import Path

import pytest

from sutazai.analysis.changes.model import Risk, SymbolChange
from sutazai.analysis.changes.summary import ChangeSummary, SummaryRequest, summarise_change
from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import Place
from tests.unit.analysis.changes.repository import Repository

BEFORE = '''\
"""Orders."""


def total(lines, currency="EUR"):
    """Cents."""
    return sum(line["price"] for line in lines)


def cancel(order):
    if not order.open:
        raise ValueError("closed")
    order.cancelled = True


def _inner():
    return sum(range(10)) + len("something long enough")


class Basket:
    def add(self, item):
        self.items.append(item)
'''

AFTER = '''\
"""Orders."""
import pickle


def total(lines, currency, *, tax=0):
    """Cents, with tax."""
    return sum(line["price"] for line in lines)


def withdraw(order):
    if not order.open:
        raise ValueError("closed")
    order.cancelled = True


def load(data):
    return pickle.loads(data)


class Basket:
    def add(self, item):
        self.items.insert(0, item)
'''

DROP = "def upgrade():\n    op.drop_table('users')\n"
CHECK = 'raise ValueError("closed")'


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "workspace")
    made.commit("Begin", shop__orders_py=BEFORE, README_md="# Shop\n")
    return made


def summary_of(repository: Repository, base: str = "HEAD~1", head: str = "HEAD") -> ChangeSummary:
    made = summarise_change(
        SummaryRequest(base=base, head=head, place=Place(root=str(repository.root)))
    )
    for risk in made.risks:
        for place in risk.evidence:
            side = made.head if place.side == "new" else made.base
            if place.line:
                text = repository.git("show", f"{side}:{place.file}")
                assert place.text.strip() == text.split("\n")[place.line - 1].strip()
    return made


def symbols(made: ChangeSummary) -> dict[str, SymbolChange]:
    return {one.symbol: one for one in made.symbols}


def risks(made: ChangeSummary) -> dict[str, Risk]:
    return {one.rule: one for one in made.risks}


def test_a_range_is_compared_by_its_syntax_trees(repository: Repository) -> None:
    repository.commit("Change orders", shop__orders_py=AFTER)
    made = summary_of(repository)
    found = symbols(made)
    assert {name: one.change for name, one in found.items()} == {
        "total": "signature",
        "withdraw": "renamed",
        "load": "added",
        "_inner": "removed",
        "Basket.add": "body",
    }
    assert found["total"].breaking == "`currency` has no default any more"
    assert found["total"].before == "def total(lines, currency='EUR')"
    assert found["withdraw"].breaking
    assert not found["_inner"].breaking
    assert {"public-api", "dangerous-call", "tests-missing"} <= set(risks(made))
    assert made.level == "high"
    assert (made.changelog_kind, made.changelog_line) == ("Changed", "Change orders.")
    assert [one.subject for one in made.commits] == ["Change orders"]
    assert any("shop/orders.py:5" in item for item in made.checklist)


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [
        ("def f(a): ...", "def f(a, b=1): ...", ""),
        ("def f(a): ...", "def f(a, b): ...", "`b` must be given"),
        ("def f(a, b): ...", "def f(a): ...", "`b` is taken no more"),
        ("def f(a, b): ...", "def f(b, a): ...", "its parameters stand in another order"),
        ("def f(a, b=1): ...", "def f(a, *, b=1): ...", "`b` can be given by keyword alone"),
        ("def f(a, b=1): ...", "def f(a, c=1, b=1): ...", "a parameter stands before older ones"),
        ("def f(a): ...", "async def f(a): ...", "it has to be awaited now"),
        ("def f(*a): ...", "def f(): ...", "`*a` is taken no more"),
        ("def f(a): ...", "def f(a) -> int: ...", ""),
        ("class f(dict): ...", "class f: ...", "it is no longer a dict"),
        ("def _f(a): ...", "def _f(): ...", ""),
    ],
)
def test_only_what_breaks_callers_is_called_breaking(
    tmp_path: Path, before: str, after: str, breaking: str
) -> None:
    repository = Repository(tmp_path / "workspace")
    repository.commit("Begin", m_py=before + "\n")
    repository.commit("Go on", m_py=after + "\n")
    [one] = summary_of(repository).symbols
    assert one.breaking == breaking


def test_tests_that_name_the_code_are_not_missing(repository: Repository) -> None:
    repository.commit(
        "Fix the total",
        shop__orders_py=BEFORE.replace("sum(line", "sum(2 * line"),
        tests__test_orders_py="from shop.orders import total\n\n\ndef test_it():\n    total([])\n",
    )
    made = summary_of(repository)
    assert "tests-missing" not in risks(made)
    assert (made.changelog_kind, made.changelog_line) == ("Fixed", "Fix the total.")


@pytest.mark.parametrize(
    ("files", "rule", "level"),
    [
        ({"app__migrations__0002_py": DROP}, "migration", "high"),
        ({"app__migrations__0002_py": DROP}, "destructive-sql", "high"),
        ({"requirements_txt": "flask==3\n"}, "dependencies", "medium"),
        ({"x_py": "import threading\nLOCK = threading.Lock()\n"}, "concurrency", "medium"),
        ({"x_py": "try:\n    f()\nexcept Exception:\n    pass\n"}, "swallowed-error", "medium"),
        ({"shop__auth_py": "A = 1\n"}, "security-sensitive", "medium"),
        ({"x_py": "import os\nos.system(input())\n"}, "new-finding", "high"),
        ({"x_py": "breakpoint()\n"}, "left-over", "low"),
        ({"tests__test_x_py": "import pytest\npytest.skip('later')\n"}, "test-skipped", "medium"),
        ({"x_py": "import os  # noqa\n"}, "rule-silenced", "low"),
        ({"x_yml": "token: ghp_" + "a1B2" * 9 + "\n"}, "secret", "high"),
        ({"shop__orders_py": BEFORE.replace(CHECK, "return")}, "check-removed", "medium"),
        ({"x_py": "X = 1\n" * 500}, "size", "low"),
    ],
)  # fmt: skip
def test_each_risk_is_seen_with_its_lines(
    repository: Repository, files: dict[str, str], rule: str, level: str
) -> None:
    repository.commit("Change", **files)
    found = risks(summarise_change_masked(repository))
    assert found[rule].level == level
    assert found[rule].evidence[0].line >= 1


def summarise_change_masked(repository: Repository) -> ChangeSummary:
    place = Place(root=str(repository.root))
    return summarise_change(SummaryRequest(base="HEAD~1", head="HEAD", place=place))


def test_documents_and_tests_alone_need_no_line_in_the_changelog(repository: Repository) -> None:
    repository.commit("Explain", README_md="# The shop\n")
    made = summary_of(repository)
    assert (made.changelog_kind, made.risks, made.level) == (None, [], "low")


def test_secrets_are_masked_wherever_they_are_quoted(repository: Repository) -> None:
    secret = "ghp_" + "a1B2" * 9
    repository.commit(f"Use {secret}", x_py=f'def f(token="{secret}"):\n    eval("{secret}")\n')
    made = summarise_change_masked(repository)
    assert secret not in str(made)
    assert "secret" in risks(made)


def test_a_diff_alone_is_summarised_by_its_lines(repository: Repository) -> None:
    repository.commit("Change orders", shop__orders_py=AFTER)
    diff = repository.git("diff", "HEAD~1", "HEAD") + "\n"
    alone = summarise_change(SummaryRequest(diff=diff))
    assert alone.files[0].file == "shop/orders.py"
    assert alone.symbols == []
    assert "dangerous-call" in risks(alone)
    assert len(alone.left_out) == 1


@pytest.mark.parametrize("applied", [True, False], ids=["as after", "as before"])
def test_a_diffs_other_side_is_made_from_the_workspace(
    repository: Repository, *, applied: bool
) -> None:
    repository.commit("Change orders", shop__orders_py=AFTER)
    diff = repository.git("diff", "HEAD~1", "HEAD") + "\n"
    if not applied:
        repository.git("checkout", "--quiet", "HEAD~1")
    made = summarise_change(SummaryRequest(diff=diff, place=Place(root=str(repository.root))))
    assert symbols(made)["withdraw"].change == "renamed"
    assert made.left_out == []


def test_new_removed_renamed_and_binary_files(repository: Repository) -> None:
    repository.commit("More", a_py="def a():\n    return 1\n", b_py="B = 1\n" * 20)
    repository.git("mv", "b.py", "c.py")
    (repository.root / "p.png").write_bytes(b"\x89PNG\x00\x01\x02")
    (repository.root / "new äé.py").write_text("def n():\n    return 2\n")
    repository.commit("Move", a_py=None)
    made = summary_of(repository)
    assert {one.file: one.change for one in made.files} == {
        "a.py": "removed",
        "c.py": "renamed",
        "new äé.py": "added",
        "p.png": "binary",
    }
    assert symbols(made)["a"].change == "removed"
    assert symbols(made)["n"].change == "added"


@pytest.mark.parametrize(
    "diff",
    [
        "nothing of the kind",
        "--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n-a\n",
        "@@ -1 +1 @@\n-a\n+b\n",
        "\x00\x01",
    ],
)
def test_what_is_no_diff_is_refused(diff: str) -> None:
    with pytest.raises(InputError, match="diff"):
        summarise_change(SummaryRequest(diff=diff))


def test_hostile_diffs_end(tmp_path: Path) -> None:
    line = "+" + "a" * 500_000 + "\n"
    many = "--- /dev/null\n+++ b/x.py\n@@ -0,0 +1,3 @@\n" + line * 3
    assert summarise_change(SummaryRequest(diff=many)).files[0].added == 3
    deep = "--- /dev/null\n+++ b/x.py\n@@ -0,0 +1 @@\n+" + "(" * 20_000 + "\n"
    assert summarise_change(SummaryRequest(diff=deep)).left_out
    outside = "--- a/../../secret.py\n+++ b/../../secret.py\n@@ -1 +1 @@\n-a\n+b\n"
    (tmp_path / "secret.py").write_text("a\n")
    place = Place(root=str(tmp_path / "one" / "two"))
    (tmp_path / "one" / "two").mkdir(parents=True)
    assert summarise_change(SummaryRequest(diff=outside, place=place)).left_out
    with pytest.raises(InputError, match="more than"):
        summarise_change(SummaryRequest(diff="+" * 9_000_000))


def test_nothing_that_the_repository_configures_is_run(repository: Repository) -> None:
    repository.commit("Change", shop__orders_py=AFTER)
    trap = repository.root.parent / "sprung"
    command = f"touch {trap}"
    for name in ("core.fsmonitor", "core.pager", "diff.external", "core.sshCommand", "pager.log"):
        repository.git("config", name, command)
    for name in ("diff.trap.textconv", "diff.trap.command", "filter.trap.smudge"):
        repository.git("config", name, command)
    repository.git("config", "core.hooksPath", str(repository.root))
    repository.git("config", "alias.diff-tree", f"!{command}")
    repository.git("config", "include.path", "/dev/stdin")
    (repository.root / ".git" / "info" / "attributes").write_text("* diff=trap filter=trap\n")
    (repository.root / ".gitattributes").write_text("* diff=trap filter=trap\n")
    assert summary_of_plain(repository).symbols
    assert not trap.exists()


def summary_of_plain(repository: Repository) -> ChangeSummary:
    place = Place(root=str(repository.root))
    return summarise_change(SummaryRequest(base="main~1", head="main", place=place))


@pytest.mark.parametrize(
    "revision",
    [
        "--output=/tmp/x",
        "-p",
        "main:shop",
        "main..HEAD",
        "HEAD@{1}",
        "absent",
        "0" * 40,
        "a b",
        "$(id)",
    ],
)
def test_only_commits_of_the_repository_are_looked_up(
    repository: Repository, revision: str
) -> None:
    with pytest.raises(InputError, match="commit"):
        summary_of(repository, base=revision)


def test_branches_tags_and_packed_references_are_found(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.git("tag", "--annotate", "--message", "one", "v1.0")
    repository.commit("Change", shop__orders_py=AFTER)
    repository.git("branch", "feature/x")
    repository.git("pack-refs", "--all")
    repository.git("gc", "--quiet")
    for base in ("v1.0", "main~1", "main^", first, first[:10], "refs/tags/v1.0"):
        made = summary_of(repository, base=base, head="feature/x")
        assert made.base == first


def test_objects_of_other_repositories_stay_out_of_reach(
    repository: Repository, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "other")
    secret = other.commit("Secret", secret_txt="the neighbour's\n")
    objects = repository.root / ".git" / "objects"
    (objects / "info" / "alternates").write_text(str(other.root / ".git" / "objects") + "\n")
    with pytest.raises(InputError, match="borrows"):
        summary_of(repository, base=secret)
    (objects / "info" / "alternates").unlink()
    (objects / "pack" / "x.pack").symlink_to(other.root / ".git" / "objects")
    with pytest.raises(InputError, match="symbolic"):
        summary_of(repository, base=secret)


def test_a_workspace_without_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no git repository"):
        summarise_change(SummaryRequest(base="a", head="b", place=Place(root=str(tmp_path))))


def test_the_patches_of_git_are_what_is_read(repository: Repository) -> None:
    """The evidence's numbers are those of `git show`, whatever the terminal's settings."""
    repository.commit("Change", shop__orders_py=AFTER)
    shown = subprocess.run(
        ["git", "-C", str(repository.root), "show", "HEAD:shop/orders.py"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    place = risks(summary_of(repository))["dangerous-call"].evidence[0]
    assert shown.split("\n")[place.line - 1] == place.text
