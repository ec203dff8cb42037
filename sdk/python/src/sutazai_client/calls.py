"""What every method of the client calls."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sutazai_client.errors import SutazAIError
from sutazai_client.transport import Transport


class Calls:
    """Has a transport, and asks for objects and for pages of them."""

    _transport: Transport

    def _pages(self, path: str, items: str, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        params = {"limit": 100, **given(filters)}
        while True:
            page = self._dict("GET", path, params=params)
            yield from page[items]
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    def _dict(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        answer = self._transport.call(method, path, **how)
        if not isinstance(answer, dict):
            raise SutazAIError(f"{method} {path} answered with something other than an object")
        return answer


def part(identifier: str) -> str:
    """An id as one component of a path, whatever it holds."""
    return quote(str(identifier), safe="")


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in values.items() if value is not None}
