"""HTTP from the server to URLs that users gave: to checked addresses only, and for so long only."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sutazai.callbacks.courier import Answer, NotDelivered
from sutazai.callbacks.guard import AddressGuard, ForbiddenAddress

if TYPE_CHECKING:
    import httpcore2

SECONDS = 20.0
"""How long a receiver may take from the look-up of its name to the head of its answer."""

_CONNECT_SECONDS = 8.0
_MOST_ADDRESSES = 3
_MOST_LOOKUPS = 32
_DRAIN_SECONDS = 1.0
_MOST_DRAINED = 16_384
_UNKNOWN_HOST = "The receiver's name could not be resolved."


class SystemResolver:
    """The system's look-up of names, in threads of its own: one that hangs holds up no other."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of a name; OSError where there are none, or too many look-ups hang."""
        future = self._under_way.get(host)
        if future is None:
            if len(self._under_way) >= _MOST_LOOKUPS:
                raise OSError("too many names are being looked up")
            loop = asyncio.get_running_loop()
            future = self._under_way[host] = loop.create_future()
            future.add_done_callback(lambda _: self._under_way.pop(host, None))
            # Not the loop's own threads: whoever else needs those would wait for slow servers of
            # names. And as a daemon, because a look-up cannot be stopped when the process ends.
            threading.Thread(target=_look_up, args=(host, loop, future), daemon=True).start()
        # Shielded, because others may wait for the same.
        return await asyncio.shield(future)


def _look_up(
    host: str, loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Sequence[str]]"
) -> None:
    found: Sequence[str] = ()
    with contextlib.suppress(OSError, UnicodeError):
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = [str(info[4][0]) for info in infos]
    with contextlib.suppress(RuntimeError):  # the loop has gone meanwhile
        loop.call_soon_threadsafe(_settle, future, found)


def _settle(future: "asyncio.Future[Sequence[str]]", found: Sequence[str]) -> None:
    if not future.done():
        future.set_result(found)


class CallbackSender:
    """POSTs callbacks; see `sutazai.callbacks.courier.Send`.

    Every attempt has a connection of its own, to an address that was checked for this attempt.
    No proxy of the environment is used, no redirect followed, and of the answer only its head read.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        version: str,
        seconds: float = SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._seconds = seconds
        self._agent = f"SutazAI/{version}"
        self._ssl_context = ssl_context
        self._pool: httpcore2.AsyncConnectionPool | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Let go of what is still open."""
        if self._pool is not None:
            await self._pool.aclose()

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once; NotDelivered where no answer came."""
        import httpcore2

        pool = await self._opened()
        sent = {
            "host": urlsplit(url).netloc,
            **headers,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": self._agent,
            "connection": "close",
        }
        limits = {"timeout": {"connect": _CONNECT_SECONDS}}
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(self._seconds):
                    response = await stack.enter_async_context(
                        pool.stream(
                            "POST", url, headers=[*sent.items()], content=body, extensions=limits
                        )
                    )
                answer = Answer(response.status, _retry_after(response.headers))
                await _drain(response)
            return answer
        except ForbiddenAddress as error:
            raise NotDelivered(str(error), final=True) from error
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise NotDelivered(f"No answer came within {self._seconds:g} s.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            raise NotDelivered(_told(error)) from error

    async def _opened(self) -> "httpcore2.AsyncConnectionPool":
        async with self._opening:
            if self._pool is None:
                # In a thread, because reading the certificates takes a while.
                self._pool = await asyncio.to_thread(self._open)
            return self._pool

    def _open(self) -> "httpcore2.AsyncConnectionPool":
        import httpcore2

        return httpcore2.AsyncConnectionPool(
            ssl_context=self._ssl_context or httpcore2.default_ssl_context(),
            max_connections=None,
            max_keepalive_connections=0,
            network_backend=_pinning(self._guard),
        )


def _pinning(guard: AddressGuard) -> "httpcore2.AsyncNetworkBackend":
    """A backend that connects to nothing but the addresses that the guard gives out."""
    import httpcore2

    class Pinning(httpcore2.AnyIOBackend):
        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,  # noqa: ASYNC109  # the base class has it
            local_address: str | None = None,
            socket_options: "Iterable[httpcore2.SOCKET_OPTION] | None" = None,
        ) -> "httpcore2.AsyncNetworkStream":
            try:
                addresses = await guard.addresses(host)
            except OSError as error:
                raise httpcore2.ConnectError(_UNKNOWN_HOST) from error
            failure: Exception | None = None
            for address in addresses[:_MOST_ADDRESSES]:
                try:
                    return await super().connect_tcp(
                        address, port, timeout, local_address, socket_options
                    )
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                    failure = failure or error
            assert failure is not None  # the guard gives out one address at least
            raise failure

    return Pinning()


async def _drain(response: "httpcore2.Response") -> None:
    """Read a little of what follows the head, so that a polite receiver is not cut off."""
    import httpcore2

    ignored = (TimeoutError, httpcore2.TimeoutException, httpcore2.NetworkError)
    read = 0
    with contextlib.suppress(*ignored, httpcore2.ProtocolError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in response.aiter_stream():
                read += len(chunk)
                if read > _MOST_DRAINED:
                    break


def _told(error: Exception) -> str:
    """Why there was no answer, without what the system says: that could name addresses."""
    if str(error) == _UNKNOWN_HOST:
        return _UNKNOWN_HOST
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The receiver's certificate is not valid: {cause.verify_message}."
        if isinstance(cause, ssl.SSLError):
            return "No secure connection could be made with the receiver."
        if isinstance(cause, ConnectionRefusedError):
            return "The receiver refused the connection."
        cause = cause.__cause__ or cause.__context__
    if type(error).__name__ == "ConnectError":
        return "No connection could be made to the receiver."
    return "The receiver closed the connection, or did not answer in HTTP."


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Seconds that the receiver wants us to wait; None where it does not say, or unreadably."""
    value = next((v for k, v in headers if k.lower() == b"retry-after"), b"")
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a day or year of too many digits
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
