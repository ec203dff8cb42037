"""The server's WebSocket protocol, with a way to write frames that were encoded beforehand.

Frames from the server are unmasked and, without compression, the same for every client, so an
event is framed once however many subscribers it has; and what waits for one of them goes out in
one write. Offered to the application as the ASGI extension `sutazai.wire`.
"""

import asyncio
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

from sutazai.api.sockets import STOPPING

EXTENSION = "sutazai.wire"

_GRACE_SECONDS = 1.0


class WireProtocol(WebSocketsSansIOProtocol):
    """See the module; the connection's object is itself the extension."""

    scope: Any

    def handle_connect(self, event: Request) -> None:
        """Offer the extension; the application starts at the loop's next turn, after this."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][EXTENSION] = self

    def shutdown(self) -> None:
        """Say 1012 and why, and do not wait long for who does not listen."""
        if self.handshake_complete:
            self.cut(*STOPPING)
        super().shutdown()
        self._abort_soon()

    async def write(self, frames: bytes) -> None:
        """Send whole frames, as soon as the client has taken most of what came before."""
        await self.writable.wait()
        if self.disconnected or self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        self.transport.write(frames)

    def try_write(self, frames: bytes) -> bool:
        """Send whole frames now; False where the client has yet to take what came before."""
        if not self.writable.is_set() or self.close_sent or self.disconnected:
            return False
        self.transport.write(frames)
        return True

    def cut(self, code: int, reason: str) -> None:
        """Close without waiting until the client has read what it was sent, or ever does."""
        if self.disconnected or self.close_sent:
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            return
        self.stop_keepalive()
        self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._abort_soon()

    def _abort_soon(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = asyncio.get_running_loop().call_later(
            _GRACE_SECONDS, self.transport.abort
        )
