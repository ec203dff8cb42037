"""The pinned files keep step with pyproject.toml; checked without any index."""

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house_rules.tree import ROOT, report

OURS = {"sutazai-client"}
PIN = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>\S+)", re.MULTILINE)


def _project(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path / "pyproject.toml").read_text("utf-8"))


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    found = {match["name"]: match["version"] for match in PIN.finditer(text)}
    assert found, f"no pins in requirements/{name}"
    return found


def _unmet(wanted: list[str], pins: dict[str, str]) -> list[str]:
    found = []
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name in OURS:
            continue
        if name not in pins:
            found.append(f"{requirement} is not pinned: make lock")
        elif not requirement.specifier.contains(pins[name], prereleases=True):
            found.append(f"{requirement} is pinned to {pins[name]}: make lock")
    return found


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    server, client = _project("."), _project("sdk/python")
    run = server["project"]["dependencies"] + client["project"]["dependencies"]
    assert len(run) > 10
    found = _unmet(run, _pins("run.txt"))
    found += _unmet(run + server["dependency-groups"]["dev"], _pins("dev.txt"))
    assert not found, report(found)


def test_the_installer_and_the_build_backend_agree_with_their_pins() -> None:
    source = (ROOT / "requirements/bootstrap.in").read_text("utf-8").splitlines()
    wanted = [line for line in source if not line.startswith("#")]
    wanted += _project(".")["build-system"]["requires"]
    wanted += _project("sdk/python")["build-system"]["requires"]
    found = _unmet(wanted, _pins("bootstrap.txt"))
    assert not found, report(found)


def test_what_is_developed_with_is_what_runs() -> None:
    run, dev = _pins("run.txt"), _pins("dev.txt")
    found = [
        f"{name}: {version} runs, {dev.get(name)} is developed with"
        for name, version in run.items()
        if dev.get(name) != version
    ]
    assert not found, report(found)


@pytest.mark.parametrize("name", ["run.txt", "dev.txt", "bootstrap.txt"])
def test_every_pin_has_hashes_and_nothing_else_is_in_the_file(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    entries = text.replace("\\\n", " ").splitlines()
    entry = re.compile(r"[a-z0-9.-]+==\S+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    found = [line[:80] for line in entries if not entry.fullmatch(line)]
    assert not found, report(found)
    assert len(entries) == len(PIN.findall(text))
