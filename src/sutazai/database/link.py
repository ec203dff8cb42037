"""The connection that carries signals between the processes that share a PostgreSQL."""

import asyncio
import contextlib
from collections.abc import Iterable

import asyncpg
import msgspec
import structlog
from sqlalchemy.engine import make_url

from sutazai.database.unit import Listeners

_logger = structlog.get_logger(__name__)

Signal = tuple[str, str]

_CHANNEL = "sutazai"
_DELAY = 0.002
_LONGEST_PAYLOAD = 7_500  # bytes; PostgreSQL's limit is 8,000
# Beyond that, while there is no link, they are forgotten: signals are hints.
_MOST_WAITING = 10_000
# A connection may be dead without anybody having said so.
_ALIVE_SECONDS = 15.0
_ANSWER_SECONDS = 10.0
_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0

_Envelope = tuple[str, list[Signal]]


class SignalLink:
    """Sends this process's signals, and tells its listeners those of the others."""

    def __init__(self, *, url: str, listeners: Listeners, origin: str) -> None:
        """`origin` is what this process knows its own signals by."""
        plain = make_url(url).set(drivername="postgresql")
        self._url = plain.render_as_string(hide_password=False)
        self._listeners = listeners
        self._origin = origin
        self._outgoing: dict[Signal, None] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and stay connected."""
        if self._keeper is None and not self._closing:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def send(self, signals: Iterable[Signal]) -> None:
        """Tell the other processes, in a moment, together with what else there is by then."""
        if len(self._outgoing) > _MOST_WAITING:
            self._outgoing.clear()
        self._outgoing.update(dict.fromkeys(signals))
        self.start()
        self._wake.set()

    async def close(self) -> None:
        """Send what is waiting, if that can be done at once, and disconnect."""
        self._closing = True
        if self._keeper is None:
            return
        self._wake.set()
        if self._outgoing:
            await asyncio.wait([self._keeper], timeout=1)
        self._keeper.cancel()
        await asyncio.wait([self._keeper])

    async def _keep(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._closing:
            try:
                link = await asyncpg.connect(self._url, timeout=_ANSWER_SECONDS)
            except Exception as error:  # whatever it is, it may pass
                _logger.warning("database.link_failed", reason=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            try:
                await self._use(link)
                pause = _SHORTEST_PAUSE
            except Exception as error:
                _logger.warning("database.link_lost", reason=str(error))
                await asyncio.sleep(pause)
            finally:
                link.terminate()

    async def _use(self, link: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Send and hear until closing; raises when the link is lost."""
        await link.add_listener(_CHANNEL, self._heard)
        link.add_termination_listener(lambda _: self._wake.set())
        # What was said before somebody listened, or while the link was down, nobody heard.
        self._listeners.tell_all()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ALIVE_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if self._closing and not self._outgoing:
                return
            # A moment's pause lets the signals of many units travel as one notification.
            await asyncio.sleep(_DELAY)
            await self._flush(link)

    async def _flush(self, link: "asyncpg.Connection[asyncpg.Record]") -> None:
        signals, self._outgoing = self._outgoing, {}
        try:
            for payload in self._payloads(signals):
                await link.execute(
                    "SELECT pg_notify($1, $2)", _CHANNEL, payload, timeout=_ANSWER_SECONDS
                )
            if not signals:
                await link.execute("SELECT 1", timeout=_ANSWER_SECONDS)
        except BaseException:
            self._outgoing = {**signals, **self._outgoing}
            raise

    def _payloads(self, signals: Iterable[Signal]) -> list[str]:
        """As few notifications as hold them all."""
        payloads: list[str] = []
        chunk: list[Signal] = []
        size = 0
        for item in signals:
            length = len(msgspec.json.encode(item)) + 1
            if chunk and size + length > _LONGEST_PAYLOAD:
                payloads.append(self._encoded(chunk))
                chunk, size = [], 0
            chunk.append(item)
            size += length
        if chunk:
            payloads.append(self._encoded(chunk))
        return payloads

    def _encoded(self, signals: list[Signal]) -> str:
        return msgspec.json.encode((self._origin, signals)).decode()

    def _heard(self, _link: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            origin, signals = msgspec.json.decode(str(payload), type=_Envelope)
        except msgspec.DecodeError:
            _logger.warning("database.signal_unreadable", payload=str(payload)[:200])
            return
        if origin != self._origin:
            self._listeners.tell(signals)
