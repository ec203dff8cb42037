"""Which URLs may be called: never one that leads into the server's own network."""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from sutazai.errors import SutazaiError, invalid

FIELD = "callback_url"
LONGEST_URL = 2048

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""From a host's name to its addresses; OSError where there are none."""

_RESOLVE_SECONDS = 2.0
_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without spaces and backslashes
_NAME = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
# How the C library reads a last label is a number: decimal, octal or hexadecimal.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# What Python calls global, or once did, and what leads to somebody else: relays and tunnels into
# IPv4 (6to4, Teredo), documentation, benchmarks, special purposes.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.64.0.0/10",
            "192.0.0.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "224.0.0.0/3",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)


class ForbiddenAddress(Exception):
    """A host that callbacks may not reach; the text is for the user, and names no address."""


class AddressGuard:
    """Lets through what is on the public internet, and what the settings allow beside it."""

    def __init__(self, *, resolve: Resolve, allow: Sequence[str] = ()) -> None:
        """`allow` lists networks such as `10.1.0.0/16`."""
        self._resolve = resolve
        self._allowed = tuple(map(ipaddress.ip_network, allow))

    async def check(self, url: str) -> None:
        """VALIDATION_ERROR for a URL that is none, or whose host is known to be forbidden.

        A name that cannot be looked up at the moment passes: every attempt looks again.
        """
        host = host_of(url)
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                await self.addresses(host)
        except ForbiddenAddress as error:
            raise invalid(FIELD, str(error)) from error
        except OSError:  # a timeout is one, too
            return

    async def addresses(self, host: str) -> list[str]:
        """Where a connection to the host may go, and nowhere else.

        ForbiddenAddress if any of its addresses is forbidden, OSError where there are none.
        """
        literal = _literal(host)
        found = [literal] if literal else [_address(text) for text in await self._resolve(host)]
        if not found:
            raise OSError(f"{host} has no address")
        if not all(map(self._may_be_called, found)):
            raise ForbiddenAddress(
                f"{host} is not, or not only, on the public internet, where callbacks go. "
                "SUTAZAI_CALLBACK_ALLOW lists the networks that the server may call beside it."
            )
        return [str(address) for address in dict.fromkeys(found)]

    def _may_be_called(self, address: Address) -> bool:
        return any(address in network for network in self._allowed) or is_public(address)


def is_public(address: Address) -> bool:
    """Whether it is an ordinary address of the public internet, by itself and not by a detour."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NOT_PUBLIC)
    )


def host_of(url: str) -> str:
    """The host of a URL that can be called; VALIDATION_ERROR for any other."""
    if len(url) > LONGEST_URL or not _PRINTABLE.fullmatch(url):
        raise invalid(
            FIELD,
            f"Must be a URL of at most {LONGEST_URL} ASCII characters without spaces; encode "
            "others, a host's name in Punycode.",
        )
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise invalid(FIELD, "Must be a URL such as https://example.com/hook.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise invalid(FIELD, "Must be an http or https URL such as https://example.com/hook.")
    if "@" in parts.netloc:
        raise invalid(
            FIELD, "Must not hold a user name or password; a receiver knows us by the signature."
        )
    shown = f"[{host}]" if ":" in host else host
    if parts.netloc.lower() not in (shown, f"{shown}:{port}"):
        raise _wrong_host()
    if port is not None and port not in (80, 443) and port < 1024:
        raise invalid(FIELD, "The port must be 80, 443, or 1024 and above.")
    if _literal(host) is None and (len(host) > 253 or not _NAME.fullmatch(host.removesuffix("."))):
        raise _wrong_host()
    return host


def _literal(host: str) -> Address | None:
    """The address that a host is written as; None for a name, VALIDATION_ERROR for a disguise."""
    if ":" not in host and not _NUMBER.fullmatch(host.removesuffix(".")):
        return None
    if "%" in host or host.endswith("."):
        raise _wrong_host()
    try:
        return _address(host)
    except ValueError as error:
        raise _wrong_host() from error


def _wrong_host() -> SutazaiError:
    return invalid(
        FIELD,
        "The host must be a name, an IPv4 address as four decimal numbers, or an IPv6 address in "
        "brackets.",
    )


def _address(text: str) -> Address:
    """The address as the system will call it; a scope such as `%eth0` is none of the internet's."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
