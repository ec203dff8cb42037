"""What a project depends on, judged from its files alone."""

import io
import json
import zipfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from sutazai.analysis.dependencies.advisories import read_advisories
from sutazai.analysis.dependencies.audit import Audit, AuditRequest, audit, satisfiable
from sutazai.analysis.dependencies.declared import read_declarations
from sutazai.analysis.dependencies.installed import obligations
from sutazai.analysis.dependencies.known import LicencePolicy
from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import Place
from sutazai.analysis.reviewer import Reviewable

ADVISORY: dict[str, Any] = {
    "id": "GHSA-test-0001",
    "modified": "2026-10-01T00:00:00Z",
    "aliases": ["CVE-2026-0001"],
    "summary": "Templates run code.",
    "database_specific": {"severity": "CRITICAL"},
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Some.Lib"},
            "ranges": [
                {
                    "type": "ECOSYSTEM",
                    "events": [
                        {"introduced": "0"},
                        {"fixed": "1.2"},
                        {"introduced": "2.0rc1"},
                        {"last_affected": "2.3"},
                    ],
                }
            ],
        }
    ],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(project: Path, **files: str) -> None:
    for name, text in files.items():
        path = project / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), "utf-8")


def audited(project: Path, **more: Any) -> Audit:
    return audit(AuditRequest(what=Reviewable(place=Place(root=str(project))), **more))


def told(found: Audit) -> set[tuple[str, str, int]]:
    return {(one.rule, one.file, one.line) for one in found.findings}


def test_missing_and_unused_are_told_apart_from_what_is_used(project: Path) -> None:
    write(
        project,
        pyproject_DOT_toml="""
            [project]
            name = "shop"
            dependencies = [
                "PyYAML>=6,<7",
                "idle-lib>=1,<2",
                "by-name>=1,<2",
            ]
            [dependency-groups]
            dev = ["responses>=0.25,<1"]
        """,
        src__shop__init_DOT_py="",
        src__shop__main_DOT_py="""
            import importlib
            import json

            import yaml
            import flask
            import responses
            from shop import other

            plugin = importlib.import_module("by_name.plugin")
            try:
                import orjson
            except ImportError:
                orjson = None
        """,
        src__shop__other_DOT_py="",
        tests__test_main_DOT_py="import responses\nimport shop\n",
    )
    (project / "src/shop/__init__.py").touch()
    found = audited(project)
    main = "/src/shop/main.py"
    assert told(found) == {
        ("missing-dependency", main, 5),
        ("missing-dependency", main, 6),
        ("missing-dependency", main, 11),
        ("unused-dependency", "/pyproject.toml", 5),
    }
    by_line = {one.line: one for one in found.findings if one.file == main}
    assert "try flask" in by_line[5].description
    assert "development only" in by_line[6].description
    assert by_line[11].severity == "info"
    assert all(one.code.strip() for one in found.findings)
    imported = {one["name"]: one["imported_as"] for one in found.dependencies}
    assert imported["pyyaml"] == ["yaml"]


def test_a_module_inside_a_package_does_not_hide_a_distribution(project: Path) -> None:
    write(
        project,
        requirements_DOT_txt="redis==5.0\n",
        app__init_DOT_py="",
        app__redis_DOT_py="import redis\n",
    )
    (project / "app/__init__.py").touch()
    assert told(audited(project)) == set()


def test_open_versions_and_their_locks(project: Path) -> None:
    write(
        project,
        requirements_DOT_txt="""
            anything
            floor>=1.0
            both>=1,<2
            exact==1.0
            locked>=1
        """,
        uv_DOT_lock="""
            [[package]]
            name = "locked"
            version = "1.5"
        """,
    )
    found = {(one.line, one.severity) for one in audited(project).findings}
    assert found == {(1, "medium"), (2, "low")}


def test_requirements_that_cannot_both_be_met(project: Path) -> None:
    write(
        project,
        requirements_DOT_txt="""
            one==1.0
            two>=2,<3
            three>=3,<3
            four~=1.4
        """,
        requirements__dev_DOT_txt="""
            one==1.1
            two>=2.5,<4
            four>=1.9,<2
        """,
    )
    conflicts = {
        (one.file, one.line)
        for one in audited(project).findings
        if one.rule == "conflicting-requirements"
    }
    assert conflicts == {("/requirements.txt", 3), ("/requirements/dev.txt", 1)}


@pytest.mark.parametrize(
    ("specifier", "possible"),
    [
        ("", True),
        (">1,<2", True),
        (">=1,<1", False),
        (">1.0,<1.0.1", True),
        ("==1.*,>=1.9", True),
        ("==1.*,>=2", False),
        ("~=1.4,<1.4", False),
        ("!=1.0,==1.0", False),
        (">=1.0,<=1.0,!=1.0", False),
        ("<2,>=2.0.dev1", False),
        (">1,<=1.0.post1", False),
        ("===any-text", True),
    ],
)
def test_whether_some_version_fits(specifier: str, possible: bool) -> None:
    assert satisfiable(SpecifierSet(specifier)) is possible


def test_what_can_change_behind_our_back_and_what_cannot_be_read(project: Path) -> None:
    write(
        project,
        requirements_DOT_txt="""
            one @ git+https://example.com/one.git@main
            two @ git+https://example.com/two.git@0123456789012345678901234567890123456789
            three @ http://example.com/three.zip
            -e git+https://example.com/four.git#egg=Four
            five = 1
            -r other.txt
            ./local
        """,
    )
    found = {(one.rule, one.line, one.severity) for one in audited(project).findings}
    assert found == {
        ("unverified-source", 1, "medium"),
        ("unverified-source", 3, "high"),
        ("unverified-source", 4, "medium"),
        ("malformed-requirement", 5, "medium"),
    }


def test_without_a_database_nothing_is_said_of_vulnerabilities(project: Path) -> None:
    write(project, requirements_DOT_txt="some-lib==1.0\n")
    found = audited(project)
    assert found.vulnerabilities["checked"] is False
    assert "No advisory database" in found.vulnerabilities["reason"]
    assert "affected" not in found.vulnerabilities


@pytest.mark.parametrize(
    ("requirement", "concerned", "confidence"),
    [
        ("some_lib==1.1", True, "high"),
        ("some-lib==1.2", False, ""),
        ("some-lib==2.3", True, "high"),
        ("some-lib==2.4", False, ""),
        ("some-lib==2.0rc1", True, "high"),
        ("some-lib>=2.4", False, ""),
        ("some-lib>=2.1", True, "low"),
        ("some-lib", True, "low"),
    ],
)
def test_a_version_is_held_against_the_advisories(
    project: Path, requirement: str, concerned: bool, confidence: str
) -> None:
    write(project, requirements_DOT_txt=f"{requirement}\n", osv_DOT_json=json.dumps(ADVISORY))
    found = audited(project, advisories="/osv.json")
    hits = [one for one in found.findings if one.rule == "vulnerable-dependency"]
    assert bool(hits) is concerned
    assert found.vulnerabilities["checked"] is True
    assert found.vulnerabilities["newest_advisory"] == "2026-10-01T00:00:00Z"
    if concerned:
        [hit] = hits
        assert hit.severity == "critical"
        assert hit.confidence == confidence
        assert "CVE-2026-0001" in hit.description
        assert found.vulnerabilities["affected"] == ["some-lib"]


def test_every_form_of_a_database_is_read(tmp_path: Path) -> None:
    other = {**ADVISORY, "id": "GHSA-test-0002"}
    withdrawn = {**ADVISORY, "id": "GHSA-test-0003", "withdrawn": "2026-10-02T00:00:00Z"}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", json.dumps(ADVISORY))
        archive.writestr("b.json", json.dumps(other))
        archive.writestr("broken.json", "{")
        archive.writestr("README.md", "not an entry")
    forms = [
        json.dumps([ADVISORY, other, withdrawn]).encode(),
        "\n".join([json.dumps(ADVISORY), "", json.dumps(other)]).encode(),
        json.dumps({"vulns": [ADVISORY, other]}).encode(),
        packed.getvalue(),
    ]
    for form in forms:
        read = read_advisories(form, "osv")
        assert [one.id for one in read.by_name["some-lib"]] == ["GHSA-test-0001", "GHSA-test-0002"]
    for wrong in (b"", b"\x00\x01", b"[" * 100_000, b"[1, 2]", b"PK\x03\x04broken"):
        with pytest.raises(InputError):
            read_advisories(wrong, "osv")


def test_licences_come_from_the_environment_in_the_workspace(project: Path) -> None:
    write(project, requirements_DOT_txt="free==1\nstrong==1\nsilent==1\nabsent==1\n")
    for name, headers in {
        "free": "License-Expression: MIT OR GPL-3.0-only",
        "strong": "Classifier: License :: OSI Approved :: GNU Affero General Public License v3",
        "silent": "License: UNKNOWN",
    }.items():
        folder = project / f".venv/lib/python3.11/site-packages/{name}-1.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\n{headers}\n"
        )
    found = audited(project)
    lines = {one.line for one in found.findings if one.rule == "licence-to-clear"}
    assert lines == {2, 3}
    assert found.licences["checked"] is True
    assert found.licences["not_installed"] == ["absent"]
    denied = audited(project, licences=LicencePolicy(denied=("mit",)))
    assert {one.line for one in denied.findings if one.rule == "licence-to-clear"} == {1, 2, 3}
    allowed = audited(project, licences=LicencePolicy(allowed=("affero",)))
    assert {one.line for one in allowed.findings if one.rule == "licence-to-clear"} == {1, 3}


def test_without_an_environment_nothing_is_said_of_licences(project: Path) -> None:
    write(project, requirements_DOT_txt="free==1\n")
    assert audited(project).licences["checked"] is False


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("MIT", "none"),
        ("GNU Lesser General Public License v3 (LGPLv3)", "weak"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "weak"),
        ("GNU General Public License v2 (GPLv2)", "strong"),
        ("GPL-3.0-or-later OR MIT", "none"),
        ("GPL-3.0-or-later AND MIT", "strong"),
    ],
)
def test_what_a_licence_asks(licence: str, kind: str) -> None:
    assert obligations(licence) == kind


def test_poetry_and_setup_cfg_are_understood() -> None:
    found = read_declarations(
        {
            "/pyproject.toml": dedent("""
                [tool.poetry.dependencies]
                python = "^3.11"
                caret = "^1.2.3"
                zero = "^0.2.3"
                tilde = "~1.2"
                bare = "1.5"
                star = "*"
                table = { version = ">=1,<2" }
                [tool.poetry.group.dev.dependencies]
                checker = "^2"
            """),
            "/setup.cfg": dedent("""
                [metadata]
                name = My_Project
                [options]
                install_requires =
                    alpha>=1
                    beta; python_version < "3.12"
            """),
        }
    )
    said = {one.name: (one.specifier, one.group, one.line) for one in found.requirements}
    assert said == {
        "caret": ("<2,>=1.2.3", "runtime", 4),
        "zero": ("<0.3,>=0.2.3", "runtime", 5),
        "tilde": ("<1.3,>=1.2", "runtime", 6),
        "bare": ("==1.5", "runtime", 7),
        "star": ("", "runtime", 8),
        "table": ("<2,>=1", "runtime", 9),
        "checker": ("<3,>=2", "development", 11),
        "alpha": (">=1", "runtime", 6),
        "beta": ("", "runtime", 7),
    }
    assert found.names == {"my-project"}


@pytest.mark.parametrize(
    "text", ["[[[", "a = " + "[" * 5_000, "\x00", "[project]\ndependencies = 3\nname = []\n"]
)
def test_a_broken_manifest_is_told_of_and_stops_nothing(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)
    write(project, requirements_DOT_txt="fine==1\n")
    found = audited(project)
    assert "fine" in {one["name"] for one in found.dependencies}


def test_nothing_to_audit_is_said(project: Path) -> None:
    write(project, notes_DOT_md="# Notes\n")
    with pytest.raises(InputError, match="There is no manifest"):
        audited(project)
