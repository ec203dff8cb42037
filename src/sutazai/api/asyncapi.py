"""`/api/v1/asyncapi.json`: AsyncAPI 3.1 for what is listened to: WebSocket, SSE, Redis channel."""

from typing import Any

from sutazai.events.catalogue import EVENT_TYPES, PUBLISHED, EventType

_STRING: dict[str, Any] = {"type": "string"}
_MOMENT = {"type": "string", "format": "date-time"}
_NAMES = {"type": "array", "items": _STRING}
_FIELDS: dict[str, dict[str, Any]] = {
    "address": {"type": ["string", "null"]},
    "approved": {"type": "boolean"},
    "attempt": {"type": "integer", "minimum": 0},
    "call": {"type": "integer", "minimum": 0},
    "changed": _NAMES,
    "due_at": _MOMENT,
    "enabled": {"type": "boolean"},
    "error": {"$ref": "#/components/schemas/TaskError"},
    "missed": {"type": "integer", "minimum": 1},
    "offset": {"type": "integer", "minimum": 0},
    "progress": {"type": "integer", "minimum": 0, "maximum": 100},
    "roles": _NAMES,
    "run_at": _MOMENT,
    "task_id": {"type": "string", "format": "uuid"},
    "truncated": {"type": "boolean"},
    "updated_fields": _NAMES,
    "version": {"type": "integer", "minimum": 1},
}
_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": _STRING, "message": _STRING},
}
_FROM_CLIENT: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "auth": (
        "Who listens; required within 10 s.",
        {"token": {"type": "string", "description": "an access token or an API key"}},
        ["token"],
    ),
    "subscribe": (
        "What to listen to, in place of what was listened to before.",
        {
            "events": {
                "type": "array",
                "maxItems": 50,
                "items": {"type": "string", "pattern": "^[a-z0-9_.*-]{1,64}$"},
                "default": ["*"],
                "description": "event types; * stands for any text",
            },
            "since": {"type": "integer", "minimum": 0, "description": "an event's id, to resume"},
        },
        [],
    ),
    "ping": ("Whether anybody is there.", {}, []),
}
_FROM_SERVER: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "auth.ok": ("The token was accepted.", {}, []),
    "subscribe.ok": ("Events follow.", {"events": _NAMES}, ["events"]),
    "pong": ("The answer to ping.", {}, []),
    "reset": (
        "Events after `since` are no longer kept; the oldest that are follow.",
        {
            "payload": {
                "type": "object",
                "required": ["since", "goes_on_after"],
                "properties": {
                    "since": {"type": "integer"},
                    "goes_on_after": {"type": "integer"},
                },
            }
        },
        ["payload"],
    ),
    "error": (
        "A message was not understood or not allowed; the connection goes on.",
        {"payload": {"$ref": "#/components/schemas/Error"}},
        ["payload"],
    ),
}
_CLOSE_CODES = (
    "Closed with 1003 for binary frames, 1008 for a token that is missing, wrong, expired or "
    "revoked and for floods, 1009 for frames over 1 MiB, 1012 when the server stops, 1013 for a "
    "client that reads too slowly: connect again and subscribe with `since`."
)


def document(version: str) -> dict[str, Any]:
    """The whole document; events come from `events.catalogue`."""
    messages: dict[str, Any] = {}
    for name, (summary, properties, required) in (_FROM_CLIENT | _FROM_SERVER).items():
        messages[_id(name)] = _told(name, summary, properties, required)
    on_socket, in_stream, on_redis = [], [], []
    for event in EVENT_TYPES:
        socket, stream = _id(event.name), _id(event.name) + "Event"
        messages[socket], messages[stream] = _on_socket(event), _in_stream(event)
        on_socket.append(socket)
        in_stream.append(stream)
        if event.resource in PUBLISHED:
            on_redis.append(stream)
    client = [_id(name) for name in _FROM_CLIENT]
    server = [*(_id(name) for name in _FROM_SERVER), *on_socket]
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "SutazAI events",
            "version": version,
            "description": "The event log, live. Whoever was away resumes from the last id.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "http": {"host": "localhost:10010", "protocol": "http"},
            "websocket": {"host": "localhost:10010", "protocol": "ws"},
            "redis": {
                "host": "localhost:6379",
                "protocol": "redis",
                "description": "Where SUTAZAI_REDIS_URL names one.",
            },
        },
        "channels": {
            "socket": _channel(
                "/ws", "WebSocket. " + _CLOSE_CODES, "websocket", [*client, *server]
            ),
            "stream": _channel(
                "/api/v1/events/stream",
                "Server-sent events: each message's data under `event: message`, with the event's "
                "id; `event: ping` with empty data every 15 s; `event: reset` where events after "
                "the asked id are no longer kept; `event: closed` with the reason before an end.",
                "http",
                in_stream,
            ),
            "redis": _channel(
                "events",
                "Redis pub/sub, which loses what is sent while nobody listens; the log has it all.",
                "redis",
                on_redis,
            ),
        },
        "operations": {
            "hearClient": _operation("receive", "socket", client),
            "tellListener": _operation("send", "socket", server),
            "streamEvents": _operation("send", "stream", in_stream),
            "publishEvents": _operation("send", "redis", on_redis),
        },
        "components": {"messages": messages, "schemas": _schemas()},
    }


def _id(name: str) -> str:
    """`api_key.created` as `apiKeyCreated`."""
    first, *rest = name.replace(".", "_").split("_")
    return first + "".join(part.capitalize() for part in rest)


def _told(
    name: str, summary: str, properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    payload = {
        "type": "object",
        "required": ["type", *required],
        "properties": {"type": {"const": name}, **properties},
    }
    return {"name": name, "summary": summary, "payload": payload}


def _data_of(event: EventType) -> dict[str, Any]:
    names = (*event.always, *event.sometimes)
    return {
        "type": "object",
        "required": list(event.always),
        "properties": {name: _FIELDS.get(name, _STRING) for name in names},
    }


def _on_socket(event: EventType) -> dict[str, Any]:
    properties = {"payload": _data_of(event), "timestamp": _MOMENT, "id": {"type": "integer"}}
    return _told(event.name, event.summary, properties, ["payload", "timestamp", "id"])


def _in_stream(event: EventType) -> dict[str, Any]:
    payload = {
        "type": "object",
        "required": ["event_type", "timestamp", "data"],
        "properties": {
            "event_type": {"const": event.name},
            "timestamp": _MOMENT,
            "data": _data_of(event),
        },
    }
    return {"name": event.name, "summary": event.summary, "payload": payload}


def _channel(address: str, description: str, server: str, messages: list[str]) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _operation(action: str, channel: str, messages: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _schemas() -> dict[str, Any]:
    detail = {
        "type": "object",
        "required": ["field", "message"],
        "properties": {"field": _STRING, "message": _STRING},
    }
    more = {
        "details": {"type": "array", "items": detail},
        "timestamp": _MOMENT,
        "request_id": _STRING,
    }
    error = {**_ERROR, "properties": {"code": _STRING, "message": _STRING, **more}}
    return {"TaskError": _ERROR, "Error": error}
