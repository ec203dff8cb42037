"""Versions: one set of resources, bare below `/api/v1`, in an envelope below `/api/v2` and `/api`.

The resources know nothing of versions. What they answer in JSON is put into the envelope as it
passes, byte for byte, without being read; docs/versions.md says what clients may count on.
"""

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sutazai.api.edge import HEADERS
from sutazai.api.envelope import error_response, printable
from sutazai.errors import ErrorCode, SutazaiError

PREFIX = "/api"
VERSIONS = {"/api/v1": "1.0", "/api/v2": "2.0"}
"""Each by its path, oldest first."""
BARE = "/api/v1"
"""Where the specification has its resources without an envelope."""
NEWEST = "/api/v2"

_HEADER = b"x-api-version"
_ENTRY = "entry"
"""In a request's state: how it comes in, or why it does not (_Entry | SutazaiError)."""
_NAMES = {"1": "1.0", "1.0": "1.0", "2": "2.0", "2.0": "2.0"}
# No noun of the API begins like this, so a version that there is not is told as such.
_LIKE_A_VERSION = re.compile(r"v\d", re.IGNORECASE | re.ASCII)
_MOST_SHOWN = 40

_JSON = b"application/json"
_ERROR = b'{"error":'
# A part, or a file that is to be had as it is: not a resource's JSON.
_AS_IT_IS = frozenset({b"content-disposition", b"content-encoding", b"content-range"})
# Documents about the API are read by tools that know their format, not ours.
_DOCUMENTS = frozenset({"/openapi.json", "/asyncapi.json"})


@dataclass(frozen=True, kw_only=True)
class Deprecation:
    """What the users of a version are told; a day begins at midnight UTC.

    `migration_guide` is an absolute URL, encoded, as it stands in headers.
    """

    since: date
    sunset: date | None
    migration_guide: str

    def warning(self, version: str) -> str:
        """The specification's sentence, in the tense of now."""
        tense = "was" if _midnight(self.since) <= datetime.now(UTC) else "will be"
        text = f"Version {version} {tense} deprecated on {self.since}"
        return text if self.sunset is None else f"{text}; its sunset is on {self.sunset}"

    def headers(self, successor: str) -> list[tuple[bytes, bytes]]:
        """By RFC 9745 and RFC 8594; `successor` is the same resource's path in the newest."""
        since = f"@{int(_midnight(self.since).timestamp())}"
        links = [(self.migration_guide, "deprecation"), (successor, "successor-version")]
        headers = [(b"deprecation", since.encode())]
        if self.sunset is not None:
            at = format_datetime(_midnight(self.sunset), usegmt=True)
            headers.append((b"sunset", at.encode()))
            links.append((self.migration_guide, "sunset"))
        link = ", ".join(f'<{target}>; rel="{relation}"' for target, relation in links)
        return [*headers, (b"link", link.encode())]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


class _Entry(NamedTuple):
    """How a request comes in; `resource` is its path below `root_path`."""

    version: str
    root_path: str
    resource: str
    negotiated: bool


class Versions:
    """Serves everything below `/api/`: finds the version asked for and clothes the answers in it.

    `serve` is the resources' application; it is told by `root_path` where the caller sees it.
    """

    def __init__(
        self,
        serve: ASGIApp,
        *,
        describe: Callable[[], Mapping[str, Any]],
        deprecated: Mapping[str, Deprecation],
    ) -> None:
        """`describe` gives version 1's OpenAPI document."""
        self._serve = serve
        self._describe = describe
        self._deprecated = dict(deprecated)
        self._document: bytes | None = None

    def told(self, app: ASGIApp) -> ASGIApp:
        """Around whatever may answer in our place: the version's headers stand there too."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"].startswith(PREFIX + "/"):
                self._enter(scope)
            await app(scope, receive, send)

        return serve

    def _enter(self, scope: Scope) -> None:
        state = scope["state"]
        try:
            entry = state[_ENTRY] = _entry(scope)
        except SutazaiError as error:
            state[_ENTRY] = error
            return
        headers = [(_HEADER, entry.version.encode())]
        if entry.negotiated:
            headers.append((b"vary", b"X-API-Version"))
        deprecation = self._deprecated.get(entry.version)
        if deprecation is not None:
            path = quote(entry.resource, errors="replace")
            headers += deprecation.headers(NEWEST + path)
        state[HEADERS].append(lambda: headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; BAD_REQUEST for a version that there is not."""
        entry: _Entry | SutazaiError = scope["state"][_ENTRY]
        if isinstance(entry, SutazaiError):
            await error_response(entry, scope["state"]["request_id"])(scope, receive, send)
            return
        scope["root_path"] = scope.get("root_path", "") + entry.root_path
        is_document = entry.resource in _DOCUMENTS
        if entry.resource == "/openapi.json" and entry.version != VERSIONS[BARE]:
            await self._serve_document(scope, receive, send)
        elif is_document or entry.root_path == BARE:
            await self._serve(scope, receive, send)
        else:
            opening = _opening(entry.version, self._deprecated.get(entry.version))
            await self._serve(scope, receive, _Enveloping(send, opening))

    async def _serve_document(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await self._serve(scope, receive, send)
            return
        if self._document is None:
            self._document = msgspec.json.encode(enveloped(self._describe()))
        await Response(self._document, media_type="application/json")(scope, receive, send)


def _entry(scope: Scope) -> _Entry:
    path: str = scope["path"]
    first, slash, rest = path.removeprefix(PREFIX + "/").partition("/")
    root_path = f"{PREFIX}/{first}"
    if root_path in VERSIONS:
        return _Entry(VERSIONS[root_path], root_path, slash + rest, negotiated=False)
    if _LIKE_A_VERSION.match(first):
        raise _unknown(first)
    said = [value for name, value in scope["headers"] if name == _HEADER]
    # A header that comes twice is one list, and no list is a version.
    name = b", ".join(said).decode("latin-1").strip()
    version = _NAMES.get(name) if said else VERSIONS[NEWEST]
    if version is None:
        raise _unknown(name)
    return _Entry(version, PREFIX, path.removeprefix(PREFIX), negotiated=True)


def _unknown(name: str) -> SutazaiError:
    shown = printable(name[:_MOST_SHOWN])
    message = (
        f"There is no version {shown!r} of the API, only {' and '.join(VERSIONS.values())}: use a "
        f"path below {' or '.join(VERSIONS)}, or one below {PREFIX} with 'X-API-Version: "
        f"{VERSIONS[NEWEST]}'."
    )
    return SutazaiError(ErrorCode.BAD_REQUEST, message)


def _opening(version: str, deprecation: Deprecation | None) -> bytes:
    """The envelope up to its data."""
    said = {"api_version": version}
    if deprecation is not None:
        said["deprecation_warning"] = deprecation.warning(version)
        said["migration_guide"] = deprecation.migration_guide
    return msgspec.json.encode(said)[:-1] + b',"data":'


class _Enveloping:
    """Sends one answer on, a JSON body in the envelope; errors and all else as they are."""

    def __init__(self, send: Send, opening: bytes) -> None:
        self._send = send
        self._opening = opening
        self._held: Message | None = None
        self._opened = False

    async def __call__(self, message: Message) -> None:
        """Take the next message of the answer."""
        if message["type"] == "http.response.start" and _is_json(message):
            # Until its body begins: the length depends on whether that is an error.
            self._held = message
        elif message["type"] == "http.response.body":
            await self._pass(message)
        else:
            await self._release()
            await self._send(message)

    async def _pass(self, message: Message) -> None:
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if self._held is not None:
            if more and not body:
                return
            is_error = self._held["status"] >= 400 and body.startswith(_ERROR)
            if body and not is_error:
                self._opened = True
                self._held["headers"] = _longer(self._held["headers"], len(self._opening) + 1)
                body = self._opening + body
            await self._release()
        if self._opened and not more:
            body += b"}"
        await self._send({**message, "body": body})

    async def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            await self._send(held)


def _is_json(start: Message) -> bool:
    is_json = False
    for name, value in start.get("headers", ()):
        if name in _AS_IT_IS:
            return False
        if name == b"content-type":
            is_json = value.partition(b";")[0].strip().lower() == _JSON
    return is_json


def _longer(headers: list[tuple[bytes, bytes]], more: int) -> list[tuple[bytes, bytes]]:
    return [
        (name, str(int(value) + more).encode()) if name == b"content-length" else (name, value)
        for name, value in headers
    ]


def enveloped(document: Mapping[str, Any]) -> dict[str, Any]:
    """The newest version's OpenAPI document, made from version 1's: its answers in the envelope."""
    derived = copy.deepcopy(dict(document))
    derived["servers"] = [{"url": NEWEST}]
    for path in derived["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {}).get("application/json")
                if content is not None:
                    content["schema"] = _envelope_of(content["schema"])
    return derived


def _envelope_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    said = {
        "deprecation_warning": "When this version is deprecated; only if it is or will be",
        "migration_guide": "The URL of what to do about that",
    }
    notices = {name: {"type": "string", "description": text} for name, text in said.items()}
    return {
        "type": "object",
        "required": ["api_version", "data"],
        "additionalProperties": False,
        "properties": {
            "api_version": {"type": "string", "const": VERSIONS[NEWEST]},
            **notices,
            "data": schema,
        },
    }
