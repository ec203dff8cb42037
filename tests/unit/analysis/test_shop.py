"""The example shop: every seeded defect is found at its line, and nothing besides."""

from pathlib import Path

import pytest

from sutazai.analysis.findings import Finding
from sutazai.analysis.review import Input
from tests.unit.analysis.support import analyser

SHOP = Path(__file__).parents[3] / "examples" / "shop"

# File, class, and the beginning of the line it must name.
SEEDED = [
    ("config.py", "hardcoded-secret", "DATABASE_PASSWORD ="),
    ("config.py", "hardcoded-secret", "SIGNING_KEY ="),
    ("database.py", "insecure-temporary-file", "DATABASE ="),
    ("catalogue.py", "sql-injection", 'query = f"SELECT'),
    ("catalogue.py", "sql-injection", 'cursor.execute("SELECT'),
    ("catalogue.py", "query-in-loop", "reviews = connection.execute("),
    ("catalogue.py", "mutable-default-argument", "def tagged("),
    ("catalogue.py", "list-membership-in-loop", "if name not in names:"),
    ("accounts.py", "weak-password-hash", "return hashlib.md5(password"),
    ("accounts.py", "predictable-random", 'return "".join(random.choice'),
    ("accounts.py", "assert-used", 'assert user["role"]'),
    ("accounts.py", "token-not-verified", "claims = jwt.decode("),
    ("accounts.py", "timing-unsafe-comparison", "return expected == signature"),
    ("orders.py", "string-building-in-loop", "text += f"),
    ("orders.py", "swallowed-exception", "except Exception:"),
    ("orders.py", "front-of-list-in-loop", "order = queue.pop(0)"),
    ("orders.py", "closure-captures-loop-variable", "functions.append(lambda"),
    ("files.py", "path-traversal", "path = os.path.join(UPLOAD_FOLDER, name)"),
    ("files.py", "unsafe-archive-extraction", "pictures.extractall("),
    ("files.py", "insecure-temporary-file", "return tempfile.mktemp("),
    ("files.py", "permissive-file-mode", "os.chmod("),
    ("payments.py", "missing-timeout", "answer = requests.post(f"),
    ("payments.py", "certificate-not-verified", "answer = requests.post(f"),
    ("payments.py", "bare-except", "except:"),
    ("payments.py", "open-redirect", "return redirect("),
    ("payments.py", "server-side-request-forgery", "answer = requests.get(request.json"),
    ("reports.py", "command-injection", 'subprocess.run(f"tar'),
    ("reports.py", "unsafe-deserialization", "return pickle.loads("),
    ("reports.py", "unsafe-yaml", "return yaml.load("),
    ("reports.py", "code-injection", "return eval("),
    ("reports.py", "regex-compiled-in-loop", "pattern = re.compile("),
    ("reports.py", "reads-all-lines", "for line in file.readlines():"),
    ("notifications.py", "blocking-call-in-async", "time.sleep("),
    ("notifications.py", "dangling-task", "asyncio.create_task("),
    ("app.py", "template-injection", "return render_template_string(request"),
    ("app.py", "debug-mode", "app.run(debug=True)"),
]


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    inputs = [
        Input(file=f"/{path.relative_to(SHOP)}", key="", content=path.read_bytes())
        for path in sorted(SHOP.rglob("*.py"))
    ]
    reviews = analyser().review(inputs, lambda files, lines, issues: None)
    return [finding for review in reviews for finding in review.findings]


@pytest.mark.parametrize(("file", "rule", "start"), SEEDED)
def test_a_seeded_defect_is_found(
    findings: list[Finding], file: str, rule: str, start: str
) -> None:
    there = [
        finding.code.strip()
        for finding in findings
        if finding.rule == rule and finding.file == f"/shop/{file}"
    ]
    assert any(code.startswith(start) for code in there), there


def test_every_finding_quotes_the_line_it_names(findings: list[Finding]) -> None:
    for finding in findings:
        line = (SHOP / finding.file.lstrip("/")).read_text("utf-8").split("\n")[finding.line - 1]
        assert line.strip()
        if finding.rule == "hardcoded-secret":
            assert len(finding.code) == len(line)
            assert finding.code.partition("=")[0] == line.partition("=")[0]
        else:
            assert finding.code == line


def test_nothing_is_found_besides_the_seeded_defects(findings: list[Finding]) -> None:
    seeded = {(f"/shop/{file}", rule) for file, rule, _ in SEEDED}
    seeded |= {
        ("/shop/accounts.py", "weak-hash"),
        ("/shop/orders.py", "manual-collection-building"),  # true, and only for information
    }
    assert {(finding.file, finding.rule) for finding in findings} <= seeded
    # One for each place: what two engines see is one finding with both as evidence.
    places = [(finding.file, finding.line, finding.rule) for finding in findings]
    assert len(places) == len(set(places))


def test_the_readme_names_every_file_with_a_defect() -> None:
    readme = (SHOP / "README.md").read_text("utf-8")
    assert all(f"shop/{file}" in readme for file, _, _ in SEEDED)
