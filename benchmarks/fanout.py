"""One stream of events to 1,000 WebSocket subscribers, beside the specification's own loop.

Real tasks over REST make our events; the baseline broadcasts as many of the same size. Deliveries
are counted, and their delay taken from the event's own timestamp, by the subscribers.
"""

import asyncio
import base64
import json
import os
import statistics
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple, cast

import uvloop

from benchmarks import servers
from benchmarks.http_load import Connection, request

SUBSCRIBERS = 1_000
STALLED = 10
EVENTS_A_TASK = 4
_PATIENCE = 120.0

# As the specification has it; what it leaves open (pattern_matches) is fnmatch.
_MANAGER = """
import asyncio, json, sys, uuid
from datetime import datetime, timezone
from fnmatch import fnmatch
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

class ConnectionManager:
    def __init__(self):
        self.active_connections = set()
        self.subscriptions = {}
    async def connect(self, websocket):
        await websocket.accept()
        self.active_connections.add(websocket)
    def disconnect(self, websocket):
        self.active_connections.discard(websocket)
        self.subscriptions.pop(websocket, None)
    async def broadcast(self, event_type, data):
        stamp = datetime.now(timezone.utc).isoformat()
        for connection in list(self.active_connections):
            subscriptions = self.subscriptions.get(connection, [])
            if any(fnmatch(event_type, pattern) for pattern in subscriptions):
                message = json.dumps({"type": event_type, "payload": data, "timestamp": stamp})
                await connection.send_text(message)

manager = ConnectionManager()
app = FastAPI()

@app.websocket("/ws")
async def endpoint(websocket: WebSocket):
    await manager.connect(websocket)
    try:
        while True:
            data = await websocket.receive_json()
            if data["type"] == "auth":
                await websocket.send_json({"type": "auth.ok"})
            elif data["type"] == "subscribe":
                manager.subscriptions[websocket] = data["events"]
                await websocket.send_json({"type": "subscribe.ok", "events": data["events"]})
    except WebSocketDisconnect:
        manager.disconnect(websocket)

@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}

@app.post("/api/v1/tasks", status_code=201)
async def create() -> dict[str, str]:
    task_id = str(uuid.uuid4())
    async def run():
        for status in ("created", "assigned", "started", "completed"):
            data = {"task_id": task_id, "type": "ping", "status": "processing", "attempt": 1,
                    "assigned_agent": "master-coordinator"}
            await manager.broadcast("task." + status, data)
    asyncio.get_running_loop().create_task(run())
    return {"task_id": task_id}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="error",
            ws_per_message_deflate=False)
"""


class Figures(NamedTuple):
    """`rate` in deliveries a second; delays in milliseconds."""

    rate: float
    p50: float
    p99: float
    cpu: float


class Subscriber(asyncio.Protocol):
    """Takes frames apart and counts; anything dearer would measure itself."""

    def __init__(self, token: str, stalled: bool, crowd: "Crowd") -> None:
        self._token = token
        self._stalled = stalled
        self._crowd = crowd
        self._held = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derive from nothing
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        if not self._open:
            end = held.find(b"\r\n\r\n")
            if end < 0:
                self._held = held
                return
            held, self._open = held[end + 4 :], True
            self._say({"type": "auth", "token": f"Bearer {self._token}"})
            self._say({"type": "subscribe", "events": ["task.*", "agent.*"]})
        at, size = 0, len(held)
        while size - at >= 2:
            length, head = held[at + 1], 2
            if length == 126:
                if size - at < 4:
                    break
                (length,), head = struct.unpack_from("!H", held, at + 2), 4
            if size - at < head + length:
                break
            opcode = held[at] & 15
            if opcode == 1:
                self._heard(held[at + head : at + head + length])
            elif opcode == 9:
                self._frame(10, held[at + head : at + head + length])
            at += head + length
        self._held = held[at:]

    def _heard(self, message: bytes) -> None:
        if message.startswith((b'{"type": "task.', b'{"type":"task.')):
            self._crowd.delivered(message)
        elif b"subscribe.ok" in message:
            self._crowd.ready += 1
            if self._stalled:
                self._transport.pause_reading()

    def _say(self, message: object) -> None:
        self._frame(1, json.dumps(message).encode())

    def _frame(self, opcode: int, data: bytes) -> None:
        assert len(data) < 65_536
        head = (
            struct.pack("!BB", 0x80 | opcode, 0x80 | len(data))
            if len(data) < 126
            else (struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, len(data)))
        )
        # A mask of zeros is a mask.
        self._transport.write(head + b"\0\0\0\0" + data)

    def close(self) -> None:
        self._transport.abort()


class Crowd:
    """All subscribers, and what reached them."""

    def __init__(self) -> None:
        self.ready = 0
        self.count = 0
        self.delays: list[float] = []

    def delivered(self, message: bytes) -> None:
        self.count += 1
        if self.count % 17 == 0:  # a sample that falls on ever other subscribers
            at = message.index(b'"timestamp"') + 11
            begin = message.index(b'"', at) + 1
            text = message[begin : message.index(b'"', begin)].decode()
            sent = datetime.fromisoformat(text).timestamp()
            self.delays.append((time.time() - sent) * 1000)

    async def reach(self, count: int) -> None:
        end = time.perf_counter() + _PATIENCE
        while self.count < count:
            if time.perf_counter() > end:
                raise RuntimeError(f"{self.count} of {count} deliveries came")
            await asyncio.sleep(0.002)


async def _measure(
    server: servers.Server, tasks: int, per_second: float | None, stalled: int
) -> Figures:
    crowd = Crowd()
    loop = asyncio.get_running_loop()
    people: list[Subscriber] = []
    for number in range(SUBSCRIBERS + stalled):
        made = await loop.create_connection(
            lambda: Subscriber(server.token, number >= SUBSCRIBERS, crowd),  # noqa: B023  # at once
            "127.0.0.1",
            server.port,
        )
        people.append(made[1])
    while crowd.ready < len(people):  # noqa: ASYNC110  # the protocols set no event
        await asyncio.sleep(0.01)
    body = json.dumps({"type": "ping", "description": "fan-out", "metadata": {}}).encode()
    message = request("POST", "/api/v1/tasks", token=server.token, body=body)
    connection = await Connection.open(server.port)
    times = server.process.cpu_times()
    cpu = times.user + times.system
    begun = time.perf_counter()
    for number in range(tasks):
        answer = await connection.send(message)
        assert answer.status == 201, answer
        if per_second is not None:
            await asyncio.sleep(begun + (number + 1) / per_second - time.perf_counter())
    await crowd.reach(tasks * EVENTS_A_TASK * SUBSCRIBERS)
    seconds = time.perf_counter() - begun
    times = server.process.cpu_times()
    cpu = (times.user + times.system - cpu) / seconds
    connection.close()
    for one in people:
        one.close()
    await asyncio.sleep(0.5)  # the server takes leave of them
    cuts = statistics.quantiles(crowd.delays, n=100)
    return Figures(crowd.count / seconds, cuts[49], cuts[98], cpu)


@contextmanager
def manager() -> Iterator[servers.Server]:
    """The specification's ConnectionManager."""
    with servers.running_script(_MANAGER) as server:
        yield server


def _show(name: str, figures: Figures) -> None:
    print(
        f"{name:<44}{figures.rate:9.0f} deliveries/s   delay p50 {figures.p50:6.1f} ms   "
        f"p99 {figures.p99:6.1f} ms   {figures.cpu:4.0%} CPU"
    )


def main(rounds: int = 3, tasks: int = 60) -> None:
    # Connections that are aborted by the hundred are news to nobody here.
    def run(server: servers.Server, *what: object) -> Figures:
        return uvloop.run(_measure(server, *what))  # type: ignore[arg-type]  # as above

    fast: dict[str, list[float]] = {"ours": [], "theirs": []}
    with servers.ours() as ours, manager() as theirs:
        run(ours, 5, None, 0)
        run(theirs, 5, None, 0)
        for _ in range(rounds):
            fast["theirs"].append(run(theirs, tasks, None, 0).rate)
            fast["ours"].append(run(ours, tasks, None, 0).rate)
        mine, base = statistics.median(fast["ours"]), statistics.median(fast["theirs"])
        print(f"the specification's loop, as fast as it goes{base:9.0f} deliveries/s")
        print(
            f"ours, as fast as it goes                    {mine:9.0f} deliveries/s   "
            f"{mine / base:.1f} times"
        )
        _show("ours, 5 tasks (20 events) a second", run(ours, 50, 5.0, 0))
        _show(f"the same with {STALLED} stalled subscribers", run(ours, 50, 5.0, STALLED))
        _show("the specification's loop, the same load", run(theirs, 50, 5.0, 0))


if __name__ == "__main__":
    main()
