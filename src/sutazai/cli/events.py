"""`sutazai events`: the event log, once or for as long as one looks."""

import json
import time
from collections.abc import Mapping
from typing import Any

from sutazai.cli.output import Format, printable
from sutazai.cli.session import connect

_LOOK_EVERY = 1.0


def events(*, after: int, follow: bool, output: Format, url: str | None) -> None:
    """Print every event after a cursor, one a line; with `follow` also those to come."""
    with connect(url) as client:
        while True:
            page = client.events(after, limit=1000)
            for event in page["events"]:
                print(_line(event, output), flush=follow)
            at_end = page["next_after"] <= after
            after = max(after, page["next_after"])
            if at_end and not follow:
                return
            if at_end:
                time.sleep(_LOOK_EVERY)


def _line(event: Mapping[str, Any], output: Format) -> str:
    if output is Format.JSON:
        return json.dumps(event)
    data = " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in event["data"].items()
        if value is not None
    )
    moment = event["timestamp"][:19].replace("T", " ")
    return printable(f"{event['id']:>6} {moment} {event['event_type']} {event['actor']} {data}")
