"""Which URLs may be called, however they are written."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sutazai.adapters.outbound import SystemResolver
from sutazai.callbacks.guard import AddressGuard, host_of
from sutazai.errors import ErrorCode, SutazaiError
from tests.features.callbacks.receiver import PATIENCE

PUBLIC = "93.184.215.14"
PUBLIC_V6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

INTO_THE_NETWORK = [
    # this host, and whatever it may call itself
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "[::1]",
    "[::]",
    # its neighbours
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.254",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    # nobody in particular
    "0.1.2.3",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[ff02::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    # by a detour: mapped, compatible, translated, 6to4, Teredo
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[::ffff:0:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
]
DISGUISED = [
    "2130706433",
    "0x7f000001",
    "0X7F.1",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "0",
    "0x",
    "1.2.3.4.5",
    "93.184.215.14.",
    "256.256.256.256",
    "example.0x7f",
    "[fe80::1%25eth0]",
    "[::1%lo]",
    "[v1.fe80::a+en1]",
    "[127.0.0.1]",
]
UNREADABLE = [
    "",
    "https://",
    "https:///path",
    "//example.com/",
    "example.com/hook",
    "/hook",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com:70/_",
    "javascript:alert(1)",
    "unix:/run/docker.sock",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com:22/",
    "https://example.com:0/",
    "https://example.com:25/",
    "https://example.com:65536/",
    "https://example.com:abc/",
    "https://example.com:-1/",
    "https://exa mple.com/",
    "https://example.com/\r\nX-Injected: yes",
    "https://example.com/\t",
    "https://example.com\\@127.0.0.1/",
    "https:\\\\example.com/",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "https://bücher.example/",
    "https://127%2e0%2e0%2e1/",
    "https://%31%32%37.0.0.1/",
    "https://-example.com/",
    "https://example..com/",
    "https://.example.com/",
    "https://[::1",
    "https://::1/",
    "https://[::1]x/",
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 127 + "com/",
    "https://example.com/" + "x" * 2048,
]


def guard(*allow: str, **names: Sequence[str]) -> AddressGuard:
    """One to whom these names are known, with `_` for dots."""

    async def resolve(host: str) -> Sequence[str]:
        known = names.get(host.replace(".", "_"))
        if known is None:
            raise OSError(host)
        return known

    return AddressGuard(resolve=resolve, allow=allow)


async def refused(guard: AddressGuard, url: str) -> str:
    """Why the guard refuses the URL, which it must."""
    with pytest.raises(SutazaiError) as caught:
        await guard.check(url)
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    [detail] = caught.value.details
    assert detail.field == "callback_url"
    return detail.message


@pytest.mark.parametrize("host", INTO_THE_NETWORK)
async def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    for url in (f"http://{host}/", f"https://{host}:8443/hook?x=1"):
        assert "SUTAZAI_CALLBACK_ALLOW" in await refused(guard(), url)


@pytest.mark.parametrize("host", INTO_THE_NETWORK)
async def test_names_of_such_addresses_are_refused_without_naming_these(host: str) -> None:
    address = host.strip("[]")
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC_V6]):
        said = await refused(guard(inner_test=addresses), "http://inner.test/")
        assert address not in said


@pytest.mark.parametrize("host", DISGUISED)
async def test_addresses_in_disguise_are_refused(host: str) -> None:
    await refused(guard("0.0.0.0/0", "::/0"), f"http://{host}/")


@pytest.mark.parametrize("url", UNREADABLE)
async def test_what_is_no_url_to_be_called_is_refused(url: str) -> None:
    assert await refused(guard("0.0.0.0/0", "::/0"), url)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{PUBLIC}",
        f"https://{PUBLIC}:443/",
        f"https://{PUBLIC}:80/",
        f"http://{PUBLIC}:8080/hook",
        f"https://[{PUBLIC_V6}]/hook",
        f"https://[::ffff:{PUBLIC}]/",
        "HTTPS://Public.Test/Hook?of=mine&x=%20#part",
        "https://public.test./",
        "https://public.test:65535/",
        "https://xn--bcher-kva.test/",
        "https://a_b-c.test/",
        "https://" + "a" * 63 + ".test/",
        "https://public.test/" + "x" * 2000,
    ],
)
async def test_what_is_public_passes(url: str) -> None:
    public = [PUBLIC, PUBLIC_V6]
    names = {host_of(url).replace(".", "_"): public}
    await guard(**names).check(url)


async def test_a_name_that_cannot_be_looked_up_now_passes_but_is_not_connected_to() -> None:
    await guard().check("https://nobody-knows.test/")
    with pytest.raises(OSError, match=r"nobody-knows\.test"):
        await guard().addresses("nobody-knows.test")
    with pytest.raises(OSError, match="no address"):
        await guard(empty_test=[]).addresses("empty.test")


async def test_a_look_up_that_takes_long_does_not_hold_the_submission_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("sutazai.callbacks.guard._RESOLVE_SECONDS", 0.01)
    async with asyncio.timeout(PATIENCE):
        await AddressGuard(resolve=never).check("https://slow.test/")


async def test_exceptions_let_through_what_they_list_and_nothing_beside_it() -> None:
    allowing = guard("10.1.0.0/16", "::1/128", both_test=["10.1.0.1", "10.2.0.1"])
    await allowing.check("http://10.1.255.255/")
    await allowing.check("http://[::ffff:10.1.0.1]/")
    await allowing.check("http://[::1]:8080/")
    for url in ("http://10.2.0.1/", "http://127.0.0.1/", "http://both.test/"):
        await refused(allowing, url)


@given(st.ip_addresses())
def test_no_address_is_both_public_and_anything_else(address: Any) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)

    async def passes() -> bool:
        try:
            await guard().check(f"http://{host}/")
        except SutazaiError:
            return False
        return True

    called = getattr(address, "ipv4_mapped", None) or address
    if asyncio.run(passes()):
        assert called.is_global
        assert not called.is_private
        assert not called.is_link_local
        assert not called.is_multicast
        assert not called.is_reserved


async def test_the_system_knows_itself() -> None:
    found = await SystemResolver()("localhost")
    assert set(found) <= {"127.0.0.1", "::1"}
    assert found


async def test_a_name_that_the_system_does_not_know_has_no_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(host: str, *_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert not await SystemResolver()("unknown.test")


async def test_names_that_hang_hold_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, began, asked = threading.Event(), threading.Event(), []
    really = socket.getaddrinfo

    def slow(host: str, *more: Any, **options: Any) -> Any:
        asked.append(host)
        if host == "slow.test":
            began.set()
            let_go.wait(PATIENCE)
            return []
        return really(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolver = SystemResolver()
    waiting = [asyncio.create_task(_look(resolver, "slow.test")) for _ in range(50)]
    assert await asyncio.to_thread(began.wait, PATIENCE)
    assert await resolver("localhost")
    waiting.pop().cancel()
    let_go.set()
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*waiting) == [[]] * 49
    assert asked.count("slow.test") == 1


async def test_of_names_that_hang_only_so_many_are_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: let_go.wait(PATIENCE) and [])
    resolver = SystemResolver()
    waiting = [asyncio.create_task(_look(resolver, f"slow-{n}.test")) for n in range(32)]
    await asyncio.sleep(0)  # each begins
    with pytest.raises(OSError, match="too many"):
        await resolver("one-more.test")
    let_go.set()
    await asyncio.gather(*waiting)
    assert await resolver("one-more.test") == []


async def _look(resolver: SystemResolver, host: str) -> Sequence[str]:
    return await resolver(host)
