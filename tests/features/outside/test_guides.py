"""The agents of the guides, as they stand there, behave by our own check."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.valkey import ValkeyServer

ROOT = Path(__file__).parents[3]
PLAIN_CURL = ROOT / "tests" / "features" / "sdk" / "plain_curl.py"
INPUTS = ["--good", '{"text": "one two"}', "--bad", '{"text": 5}']
INPUTS += ["--slow", '{"text": "a b c d e f g h", "pause": 1}']


def code_of(guide: str, language: str) -> str:
    """The one program of a guide."""
    text = (ROOT / "docs" / "guides" / guide).read_text("utf-8")
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(code)


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `sutazai agent check` says; its agents find Python, and a curl where there is none."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    if shutil.which("curl") is None:
        curl = programs / "curl"
        curl.write_text(f'#!/bin/sh\nexec {sys.executable} {PLAIN_CURL} "$@"\n')
        curl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "sutazai", "agent", "check", "--type", "word_count"]
    return subprocess.run(
        [*command, "--patience", "120", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("guide", "language", "name", "starter"),
    [
        ("agent-python.md", "python", "word_counter.py", sys.executable),
        ("agent-curl.md", "bash", "agent.sh", "bash"),
    ],
)
def test_the_guides_agent_behaves(
    tmp_path: Path, guide: str, language: str, name: str, starter: str
) -> None:
    program = tmp_path / name
    program.write_text(code_of(guide, language), "utf-8")
    done = check(tmp_path, *INPUTS, "--", starter, str(program))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok ") + done.stdout.startswith("ok ") == 12, done.stdout


def test_the_guides_agent_behaves_through_redis(tmp_path: Path, valkey: ValkeyServer) -> None:
    guide = code_of("agent-python.md", "python")
    by_http = 'Agent(os.environ.get("SUTAZAI_AGENT_ID", "word-counter-01"))'
    by_redis = by_http.removesuffix(")") + ', redis_url=os.environ["REDIS_URL"])'
    assert by_http in guide
    program = tmp_path / "word_counter.py"
    program.write_text(guide.replace(by_http, by_redis), "utf-8")
    done = check(tmp_path, *INPUTS, "--redis", valkey.url, "--", sys.executable, str(program))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line[6:38].strip(): line[:6].strip() for line in done.stdout.splitlines()}
    assert [name for name, mark in lines.items() if mark == "ok"] == [
        "comes online",
        "finishes it",
        "reports bad input as such",
        "keeps its lease while it works",
        "stops when cancelled",
        "stays online",
        "stops in good order",
    ]


# The specification's loop, which does one thing after the other and hears of nothing meanwhile.
DEAF = """
import json, os, time, redis

client = redis.Redis.from_url(os.environ["REDIS_URL"])
channel = client.pubsub()
channel.subscribe("agent:" + os.environ["SUTAZAI_AGENT_ID"])
for message in channel.listen():
    asked = json.loads(message["data"]) if message["type"] == "message" else {"type": ""}
    if asked["type"] != "request":
        continue
    time.sleep(14 if asked["payload"].get("pause") else 0)
    answer = {"status": "completed", "result": {}}
    if asked["payload"].get("text") == 5:
        answer = {"status": "failed", "error": {"message": "TypeError"}}
    client.publish("agent:master-coordinator", json.dumps({
        "message_id": "to-" + asked["message_id"], "from_agent": asked["to_agent"],
        "to_agent": asked["from_agent"], "type": "response", "payload": answer,
        "timestamp": asked["timestamp"], "correlation_id": asked["correlation_id"],
    }))
"""


def test_faults_over_redis_are_told_in_its_own_words(tmp_path: Path, valkey: ValkeyServer) -> None:
    program = tmp_path / "deaf.py"
    program.write_text(DEAF, "utf-8")
    done = check(tmp_path, *INPUTS, "--redis", valkey.url, "--", sys.executable, str(program))
    assert done.returncode == 1, done.stdout + done.stderr
    lines = {line[6:38].strip(): line for line in done.stdout.splitlines()}
    assert lines["finishes it"].startswith("ok")
    assert "VALIDATION_ERROR" in lines["reports bad input as such"]
    assert "action `cancel`" in lines["stops when cancelled"]
    assert "`released`" in lines["stops in good order"]


CARELESS = """
import json, os, urllib.error, urllib.request

def post(path, body):
    headers = {"X-API-Key": os.environ["SUTAZAI_AGENT_KEY"], "Content-Type": "application/json"}
    url = os.environ["SUTAZAI_URL"] + "/api/v1" + path
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    try:
        return json.load(urllib.request.urlopen(request, timeout=60))
    except urllib.error.HTTPError:
        return {"assignments": []}

while True:
    agent = os.environ["SUTAZAI_AGENT_ID"]
    for given in post(f"/agents/{agent}/claim?wait=20", {})["assignments"]:
        path = "/assignments/" + given["assignment_id"]
        if given["metadata"].get("text") == 5:
            post(path + "/fail", {"error": "TypeError"})
        else:
            for number in range(3):
                post(path + "/complete", {"result": {"number": number}})
"""


def test_a_careless_agents_faults_are_told_with_their_remedies(tmp_path: Path) -> None:
    program = tmp_path / "careless.py"
    program.write_text(CARELESS, "utf-8")
    done = check(tmp_path, *INPUTS[:4], "--", sys.executable, str(program))
    assert done.returncode == 1, done.stdout + done.stderr
    lines = {line[6:36].strip(): line for line in done.stdout.splitlines()}
    assert lines["finishes it"].startswith("ok")
    assert "VALIDATION_ERROR" in lines["reports bad input as such"]
    assert "program ended" in lines["survives a lost answer"]
    assert lines["answers once"].startswith("FAULT")
    assert lines["keeps its lease while it works"].startswith("-")


def test_an_agent_that_never_comes_is_told_how(tmp_path: Path) -> None:
    done = check(tmp_path, "--patience", "1", "--", "sleep", "60")
    assert done.returncode == 1
    assert "/claim?wait=20" in done.stdout
    done = check_again(tmp_path, "--", "no-such-program")
    assert done.returncode == 2
    assert "no-such-program" in done.stderr
    done = check_again(tmp_path, "--good", "nonsense")
    assert done.returncode == 2
    assert "--good" in done.stderr


def check_again(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.rmtree(folder / "programs")
    return check(folder, *arguments)
