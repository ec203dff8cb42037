"""A client that follows the events and may be killed at any instant.

`follower.py sse|ws URL TOKEN FILE`: what it has heard is a line in the file before it hears more;
it resumes from the file's last line.
"""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import httpx2
import websockets
from websockets.asyncio.client import connect


class Notes:
    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+", buffering=0)
        self._file.seek(0)
        whole = self._file.read()
        kept = whole[: whole.rfind(b"\n") + 1]
        # A line that was being written when it was killed has not been heard.
        self._file.truncate(len(kept))
        lines = kept.splitlines()
        self.last = json.loads(lines[-1])["id"] if lines else 0

    def note(self, number: int, kind: str, data: object) -> None:
        line = json.dumps({"id": number, "type": kind, "data": data}) + "\n"
        os.write(self._file.fileno(), line.encode())
        self.last = number


async def over_websocket(url: str, token: str, notes: Notes) -> None:
    address = url.replace("http://", "ws://").removesuffix("/api/v1") + "/ws"
    async with connect(address, max_size=None) as socket:
        await socket.send(json.dumps({"type": "auth", "token": token}))
        await socket.send(json.dumps({"type": "subscribe", "events": ["*"], "since": notes.last}))
        async for message in socket:
            told = json.loads(message)
            if "id" in told:
                notes.note(told["id"], told["type"], told["payload"])


async def over_sse(url: str, token: str, notes: Notes) -> None:
    headers = {"authorization": f"Bearer {token}", "last-event-id": str(notes.last)}
    number, event = 0, ""
    async with (
        httpx2.AsyncClient(timeout=30) as client,
        client.stream("GET", f"{url}/events/stream", headers=headers) as response,
    ):
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                number = int(value)
            elif name == "event":
                event = value
            elif name == "data" and event == "message":
                told = json.loads(value)
                notes.note(number, told["event_type"], told["data"])


async def main(how: str, url: str, token: str, path: str) -> None:
    notes = Notes(Path(path))
    follow = over_websocket if how == "ws" else over_sse
    while True:
        with contextlib.suppress(OSError, httpx2.HTTPError, websockets.WebSocketException):
            await follow(url, token, notes)
        await asyncio.sleep(0.02)  # before it tries again: the server may just be starting


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
