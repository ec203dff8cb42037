"""A secret that was found is never told on: not by its own finding, nor by another's."""

import base64
import string

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sutazai.analysis.findings import RawFinding, fingerprint
from sutazai.analysis.redaction import Redactor, masked
from sutazai.analysis.source import read_source
from tests.unit.analysis.support import only, review

PASSWORD = "t9-vellum-41x"
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
KEY_LINES = [base64.b64encode(bytes(range(n, n + 48))).decode() for n in (1, 60, 120)]


def everything(code: str, file: str) -> str:
    return msgspec.json.encode(review(code, file)).decode()


@pytest.mark.parametrize(
    ("code", "file", "secret"),
    [
        (f'password = "{PASSWORD}"\n', "/a.py", PASSWORD),
        (f"def connect(password='{PASSWORD}'): ...\n", "/a.py", PASSWORD),
        (f'connect(password="{PASSWORD}", host="db")\n', "/a.py", PASSWORD),
        (f'if token == "{PASSWORD}":\n    pass\n', "/a.py", PASSWORD),
        (f'import os\nAPI_KEY = os.environ.get("K", "{PASSWORD}")\n', "/a.py", PASSWORD),
        (f'x = "{TOKEN}"\n', "/a.py", TOKEN),
        (f"x: {TOKEN}\n", "/a.yaml", TOKEN),
        (f'password: "{PASSWORD}"\n', "/a.yaml", PASSWORD),
        (f"url = postgresql://me:{PASSWORD}@db/x\n", "/a.ini", PASSWORD),
        ('password = "t9-vel" "lum-41x"\n', "/a.py", "t9-vel"),
        ('password = ("t9-vel"\n    "lum-41x")\n', "/a.py", "lum-41x"),
        ('password = "t9-\\x76ellum-41x"\n', "/a.py", "ellum-41"),
        (f"type X = int\npassword = '{PASSWORD}'\n", "/a.py", PASSWORD),
    ],
)
def test_no_part_of_a_review_repeats_a_secret(code: str, file: str, secret: str) -> None:
    assert secret in code
    result = review(code, file)
    assert "hardcoded-secret" in {finding.rule for finding in result.findings}
    assert secret not in everything(code, file)


def test_the_quote_is_the_line_but_for_the_middle_of_the_secret() -> None:
    finding = only(f'    token = "{TOKEN}"  # of the robot\n', "hardcoded-secret", "/a.txt")
    assert finding.code == f'token = "{TOKEN[:4]}{"*" * 32}{TOKEN[-4:]}"  # of the robot'
    assert masked("hunter2") == "*******"
    assert masked(PASSWORD) == "t***********x"


def test_findings_of_another_class_do_not_repeat_it_either() -> None:
    code = f"""
        import requests

        password = "{PASSWORD}"
        requests.get("http://example.com", auth=("me", "{PASSWORD}"), verify=False)
    """
    finding = only(code, "certificate-not-verified")
    assert "requests.get(" in finding.code
    assert PASSWORD not in everything(code, "/a.py")


@pytest.mark.parametrize("line_break", ["\n", "\\n"])
def test_a_private_key_is_masked_beyond_the_line_that_begins_it(line_break: str) -> None:
    key = line_break.join(["-----BEGIN PRIVATE KEY-----", *KEY_LINES, "-----END PRIVATE KEY-----"])
    code = f'KEY = """{key}"""\nprint(eval("{KEY_LINES[1]}"))\n'
    assert {"hardcoded-secret", "code-injection"} <= {one.rule for one in review(code).findings}
    told = everything(code, "/a.py")
    assert not [line for line in KEY_LINES if line in told]


def test_the_fingerprint_stays_that_of_the_line_itself() -> None:
    first = only(f'password = "{PASSWORD}"\n', "hardcoded-secret")
    other = only('password = "t8-vellum-42x"\n', "hardcoded-secret")
    assert first.code == other.code
    assert first.fingerprint != other.fingerprint
    line = f'password = "{PASSWORD}"'
    assert first.fingerprint == fingerprint("hardcoded-secret", "/shop/module.py", "", line, 0)


def test_a_secret_at_the_edge_of_a_long_lines_quote_is_masked_before_the_cut() -> None:
    code = f'{"0, " * 70}"{TOKEN}", {"0, " * 200}eval(x), {"0, " * 70}"{TOKEN}", {"0, " * 200}\n'
    told = everything(f"x = [{code[:-1]}]\n", "/a.py")
    assert TOKEN[4:12] not in told
    assert TOKEN[-12:-4] not in told


@settings(max_examples=200)
@given(
    st.lists(st.text(string.ascii_letters + string.digits, min_size=4, max_size=12), max_size=6),
    st.text(string.ascii_letters + string.digits + " =\"'", max_size=80),
    st.data(),
)
def test_whatever_stands_around_it_a_secret_goes_and_lengths_stay(
    secrets: list[str], around: str, data: st.DataObject
) -> None:
    chosen = data.draw(st.sampled_from(secrets)) if secrets else ""
    text = around[:40] + chosen + around[40:]
    raw = RawFinding(
        engine="sutazai",
        code="x",
        rule="hardcoded-secret",
        line=1,
        message="",
        secrets=tuple(secrets),
    )
    redacted = Redactor(read_source("a.txt", text.encode()), [raw]).line(1)
    assert len(redacted) == len(text)
    assert all(shown in (original, "*") for shown, original in zip(redacted, text, strict=True))
    assert not [secret for secret in secrets if secret in redacted]
