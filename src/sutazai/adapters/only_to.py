"""An HTTP client that reaches one origin and nothing else, and takes no answer without end."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx2

from sutazai.llm.model import ModelFailed

# What the libraries in between add of their own (versions, organisations, keys that they found in
# the environment) stays here.
_HEADERS = frozenset(
    {
        *("host", "anthropic-version", "anthropic-beta"),
        *("content-type", "content-length", "transfer-encoding", "accept"),
        *("connection", "user-agent"),
    }
)

_CONNECT_SECONDS = 10.0
# Far more than the longest answer takes, with everything that a server sends around each piece.
_MOST_BYTES = 64 * 1024 * 1024


class OnlyTo(httpx2.AsyncBaseTransport):
    """Lets requests through to one origin, whatever else the libraries above may want."""

    def __init__(self, url: str, *, key: str | None) -> None:
        self._origin = _origin(url)
        self._key = key
        # Pings, proxies and the rest of the environment's wishes do not count here.
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See AsyncBaseTransport."""
        if _origin(str(request.url)) != self._origin:
            raise httpx2.ConnectError(f"{request.url.host} is not the model server's address")
        for name in list(request.headers):
            if name.lower() not in _HEADERS:
                del request.headers[name]
        request.headers["user-agent"] = "sutazai"
        if self._key is not None:
            request.headers["authorization"] = f"Bearer {self._key}"
        # Packed, a little can be very much.
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.RemoteProtocolError("the answer is packed, which was not asked for")
        return response

    async def aclose(self) -> None:
        """See AsyncBaseTransport."""
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, which ends in ModelFailed where it is too long."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = _MOST_BYTES
        async for part in self._inner:
            left -= len(part)
            if left < 0:
                raise ModelFailed("The server's answer has no end.")
            yield part

    async def aclose(self) -> None:
        """See AsyncByteStream."""
        await self._inner.aclose()


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def client_for(url: str, *, key: str | None, seconds: float) -> httpx2.AsyncClient:
    """A client that reaches this origin alone, follows no redirects and heeds no proxies."""
    # Longer than the caller's own limit on the whole call, so that the two cannot race.
    limits = httpx2.Timeout(seconds + 30, connect=_CONNECT_SECONDS)
    return httpx2.AsyncClient(
        transport=OnlyTo(url, key=key), timeout=limits, trust_env=False, follow_redirects=False
    )
