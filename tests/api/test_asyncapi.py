"""The AsyncAPI document: valid, frozen, and true of what the server says."""

import functools
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from sutazai.api.asyncapi import document
from sutazai.events.catalogue import EVENT_TYPES
from tests.api.server import Server, ended, new_user, submit

pytestmark = pytest.mark.anyio

FROZEN = Path(__file__).with_name("asyncapi.json")
SOURCE = Path(__file__).parents[2] / "src" / "sutazai"


@functools.cache
def _messages() -> dict[str, Any]:
    """A validator for what a stream says of each type of event."""
    found: dict[str, Any] = {}
    written = document("1.0.0")
    for message in written["components"]["messages"].values():
        schema = message["payload"]
        if "event_type" in schema["properties"]:
            whole = {**schema, "components": written["components"]}
            found[message["name"]] = jsonschema_rs.validator_for(whole)
    return found


async def test_it_is_served_as_it_is_frozen(server: Server) -> None:
    served = await server.anonymous.get("/asyncapi.json")
    assert served.status_code == 200
    shown = served.json()
    if os.environ.get("SUTAZAI_FREEZE"):
        FROZEN.write_text(json.dumps(shown, indent=2) + "\n", "utf-8")
    assert shown == json.loads(FROZEN.read_text("utf-8")), "SUTAZAI_FREEZE=1 writes it anew"


def test_it_is_valid(tmp_path: Path) -> None:
    subprocess.run(
        ["npm", "pack", "--silent", "@asyncapi/specs@6"],
        cwd=tmp_path,
        env={**os.environ, "npm_config_cache": str(tmp_path / "cache")},
        check=True,
        timeout=120,
    )
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/schemas/3.1.0-without-$id.json")
        assert member is not None
        schema = json.loads(member.read())
    errors = jsonschema_rs.validator_for(schema).iter_errors(json.loads(FROZEN.read_text("utf-8")))
    assert [str(error) for error in errors] == []


def test_every_type_that_is_written_is_in_the_catalogue() -> None:
    kinds = r'"((?:task|finding|agent|user|session|api_key|workflow|schedule|callback)\.[a-z_]+)"'
    written = {
        name
        for path in SOURCE.rglob("*.py")
        for name in re.findall(kinds, path.read_text("utf-8"))
        if not name.endswith((".json", ".lock"))
    }
    assert written
    assert written <= {event.name for event in EVENT_TYPES}


async def test_what_is_told_is_as_documented(server: Server) -> None:
    someone = await new_user(server, "told-of", "user")
    made = (await someone.post("/auth/keys", json={"name": "a key"})).json()
    await someone.delete(f"/auth/keys/{made['key_id']}")
    await someone.post("/auth/logout")
    task = await submit(server.user)
    await ended(server.user, task["task_id"])
    after, seen = 0, set()
    while True:
        page = (await server.admin.get(f"/events?after={after}&limit=1000")).json()
        for event in page["events"]:
            told = {name: event[name] for name in ("event_type", "timestamp", "data")}
            _messages()[event["event_type"]].validate(told)
            seen.add(event["event_type"])
        if page["next_after"] == after:
            break
        after = page["next_after"]
    assert seen >= {"task.completed", "agent.online", "user.created", "api_key.deleted"}
    await someone.aclose()
