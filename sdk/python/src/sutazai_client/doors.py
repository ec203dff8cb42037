"""How an agent's messages reach the server, each repeated until it has an answer."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx2

from sutazai_client.errors import ConnectionFailed, RateLimited, ServerFailed
from sutazai_client.transport import PREFIX, decoded, failed, is_loopback, pause_before

_logger = logging.getLogger("sutazai_client.agent")

_TIMEOUT = 30.0
_MOST_DOUBLINGS = 4


class Door(Protocol):
    """What an agent needs of a server; every method raises SutazAIError where the answer is no."""

    async def arrive(self) -> dict[str, Any]:
        """Say that the agent is there and is doing nothing yet."""
        ...

    async def beat(self, holding: Sequence[str]) -> dict[str, Any]:
        """Say that the agent is there and what it is doing."""
        ...

    async def claim(self, *, wait: float, limit: int) -> list[dict[str, Any]]:
        """Ask for something to do."""
        ...

    async def report(self, assignment_id: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """Report `progress`, `complete`, `fail` or `release`."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...


class HttpDoor:
    """Over HTTP. What the server cannot answer now is asked again until it can."""

    def __init__(self, base_url: str, *, agent_id: str, api_key: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._agent = f"/agents/{quote(agent_id, safe='')}"
        parts = urlsplit(self._base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url must look like http://localhost:10010, not {base_url!r}")
        self._http = httpx2.AsyncClient(
            base_url=self._base_url + PREFIX,
            timeout=_TIMEOUT,
            verify=parts.scheme == "https",
            trust_env=not is_loopback(parts.hostname),
            headers={"accept": "application/json", "x-api-key": api_key},
        )

    async def arrive(self) -> dict[str, Any]:
        """See Door."""
        return await self._again(f"{self._agent}/heartbeat", {"assignments": []})

    async def beat(self, holding: Sequence[str]) -> dict[str, Any]:
        """See Door; asked once: the next heartbeat is the next try."""
        return await self._post(f"{self._agent}/heartbeat", {"assignments": list(holding)})

    async def claim(self, *, wait: float, limit: int) -> list[dict[str, Any]]:
        """See Door."""
        path = f"{self._agent}/claim?wait={wait:g}&limit={limit}"
        given: list[dict[str, Any]] = (await self._again(path, None))["assignments"]
        return given

    async def report(self, assignment_id: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """See Door; progress is asked once, because there will be newer."""
        path = f"/assignments/{quote(assignment_id, safe='')}/{verb}"
        if verb == "progress":
            return await self._post(path, body)
        return await self._again(path, body)

    async def close(self) -> None:
        """See Door."""
        await self._http.aclose()

    async def _again(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        tries = 0
        while True:
            try:
                return await self._post(path, body)
            except (ConnectionFailed, RateLimited, ServerFailed) as error:
                tries += 1
                if tries == 1:
                    _logger.warning("%s Trying again until it works.", error.message)
                await asyncio.sleep(pause_before(min(tries, _MOST_DOUBLINGS), error.retry_after))

    async def _post(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        arguments: dict[str, Any] = {} if body is None else {"json": body}
        try:
            answer = await self._http.post(path, **arguments)
        except httpx2.RequestError as error:
            raise failed(self._base_url, error) from error
        said: dict[str, Any] = decoded(answer)
        return said
