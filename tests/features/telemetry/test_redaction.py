"""No secret in a log line, whichever way it came in, in either format; JSON stays JSON."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sutazai.telemetry.redaction import is_secret_name, redact, without_secrets

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEifQ.c2lnbmF0dXJlLW9mLXRoZS10ZXN0"
KEY = "sk-sutazai-Zm9yLXRoZS10ZXN0LW9ubHktMTIzNDU2Nzg5MA"
WEBHOOK = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PASSWORD = "tr0ub4dor-and-3"
# In pieces, for no scanner of this repository shall take them for real ones.
FOREIGN = [
    "gh" + "p_" + "a1B2c3D4" * 4 + "wxyz",
    "github" + "_pat_" + "11ABCDEFG0" * 4,
    "gl" + "pat-" + "x7Yz" * 5,
    "xo" + "xb-1234567890-abcdefghij",
    "AK" + "IA" + "QYLPMN5HFIQR7XYA",
    "AI" + "za" + "SyD3x" * 7,
    "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "hf" + "_" + "AbCdEfGhIj" * 4,
]


@pytest.mark.parametrize("secret", [JWT, KEY, WEBHOOK, *FOREIGN])
@pytest.mark.parametrize(
    "around",
    ["{}", "Bearer {}", "the token\\n{}", "/events?ticket={}", "('{}',)", "x{}", '"{}"', "<{}>"],
)
def test_a_token_is_known_by_its_shape(secret: str, around: str) -> None:
    assert secret not in redact(around.format(secret))


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://sutazai:{PASSWORD}@db.example:5432/sutazai is out of reach",
        f"redis://:{PASSWORD}@cache",
        f"password={PASSWORD}",
        f"{{'password': '{PASSWORD}'}}",
        f'{{\\"api_key\\": \\"{PASSWORD}\\"}}',
        f"Authorization: Basic {PASSWORD}",
        f"GET /metrics?access_token={PASSWORD}&a=b",
        f"X-API-Key: {PASSWORD}",
        f"Cookie: session={PASSWORD}",
    ],
)
def test_a_secret_in_text_is_known_by_what_stands_before_it(text: str) -> None:
    assert PASSWORD not in redact(text)


@pytest.mark.parametrize("end", ["\n", "\\n"])
def test_of_a_private_key_nothing_but_its_marks_is_left(end: str) -> None:
    body = end.join(["MIIEpAIBAAKCAQEA7v" * 3] * 4)
    key = f"-----BEGIN RSA PRIVATE KEY-----{end}{body}{end}-----END RSA PRIVATE KEY-----"
    told = redact(json.dumps({"text": key, "more": '"'}))
    assert "MIIEpAIBAAKCAQEA" not in told
    assert json.loads(told)["more"] == '"'


@pytest.mark.parametrize(
    "text",
    [
        "npm_config_user_agent_is_set and ghp_ alone",
        "worker.lease_lost job=task-1 attempt=2",
        "http://localhost:10010/api/v1/tasks?limit=5",
        "GET /api/v1/tasks/01a20edc-ea7d-7526-8fe9-090565bbf15d",
        '{"input_tokens":512,"token":3,"secret":null}',
        "somebody@example.com",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Authorization",
        "refresh_token",
        "X-API-Key",
        "apikey",
        "jwt_secret",
        "Set-Cookie",
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)
    assert without_secrets({"a": [{name: PASSWORD}]}) == {"a": [{name: "***"}]}


@pytest.mark.parametrize("name", ["tokens", "event", "keyboard", "monkey", "task_id"])
def test_numbers_and_other_names_stay(name: str) -> None:
    assert without_secrets({name: 5}) == {name: 5}


_NAMES = st.text(max_size=8) | st.sampled_from(["password", "token", "secret", "api_key", "event"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_NAMES, _JSON, max_size=6))
def test_json_stays_json(value: dict[str, object]) -> None:
    line = json.dumps(without_secrets(value))
    assert json.loads(redact(line)).keys() == value.keys()


_PROGRAM = """
import io, logging, sys
import structlog
from sutazai.telemetry.logs import configure_logging

JWT, KEY, PASSWORD, FORMAT = sys.argv[1:]
stream = io.StringIO()
configure_logging("DEBUG", log_format=FORMAT, stream=stream)
logger = structlog.get_logger("sutazai.test")
structlog.contextvars.bind_contextvars(request_id="req-1", task_id="task-1", attempt=2, agent="a-1")

logger.info("by.name", password=PASSWORD, headers={"Authorization": f"Bearer {JWT}"})
logger.info("by.depth", calls=[{"request": {"api_key": KEY}}], pair=({"token": PASSWORD},))
logger.info(f"in the event: {JWT}", path=f"/x/{KEY}", query=f"ticket={JWT}")
logging.getLogger("uvicorn.error").error("refused %s for %s", f"Bearer {JWT}", KEY)
logging.getLogger("uvicorn.error").warning("url %s", f"postgresql://u:{PASSWORD}@h/d")
try:
    raise RuntimeError(f"password={PASSWORD}; {JWT}") from ValueError(KEY)
except RuntimeError:
    logger.exception("it.broke")
    logging.getLogger("asyncio").exception("it broke, too")
print(stream.getvalue())
"""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_reaches_a_log_in_any_way(log_format: str) -> None:
    # A process of its own: logging is set up for a whole one.
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, JWT, KEY, PASSWORD, log_format],
        capture_output=True,
        text=True,
        check=True,
    )
    for secret in (JWT, KEY, PASSWORD):
        assert secret not in done.stdout
    assert "by.name" in done.stdout
    assert "refused" in done.stdout
    assert "RuntimeError" in done.stdout
    assert "ValueError" in done.stdout
    assert "task-1" in done.stdout
    if log_format == "json":
        lines = [json.loads(line) for line in done.stdout.splitlines() if line]
        assert len(lines) == 7
        assert {line["request_id"] for line in lines} == {"req-1"}
        assert {(line["task_id"], line["attempt"], line["agent"]) for line in lines} == {
            ("task-1", 2, "a-1")
        }
        assert lines[0]["password"] == "***"
