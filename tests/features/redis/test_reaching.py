"""Passwords, TLS, wrong settings: how a Redis is reached, and what is said where it is not."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from sutazai.adapters.redis_server import RedisServer
from sutazai.bootstrap import running
from sutazai.cli.main import app
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.settings import load
from tests.api.server import Server, serving, settings_for, submit
from tests.features.redis.listening import listening, reached, redis_state
from tests.valkey import ValkeyServer

PASSWORD = "p@ss/w:rd"
QUOTED = "p%40ss%2Fw%3Ard"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command runs, with no settings but those of the test."""
    monkeypatch.delenv("SUTAZAI_REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def certificate(folder: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, signed by itself; the files of it and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


async def test_a_password_with_special_characters_opens(
    data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ValkeyServer("--requirepass", PASSWORD) as valkey:
        url = valkey.url.replace("://", f"://:{QUOTED}@")
        settings = settings_for(data_dir, None, tmp_path, redis_url=url, log_level="DEBUG")
        async with serving(settings, roles=[]) as server:
            assert await redis_state(server) == ("healthy", "healthy")
            async with listening(valkey.url, password=PASSWORD) as heard:
                task = await submit(server.admin)
                await heard.until_ended(task["task_id"])
            valkey.kill()
            await reached(server, "unhealthy")
    said = "".join(capfd.readouterr())
    assert PASSWORD not in said
    assert QUOTED not in said


async def test_a_wrong_password_is_unhealthy_and_stops_nobody(
    data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ValkeyServer("--requirepass", PASSWORD) as valkey:
        url = valkey.url.replace("://", "://:quite-wrong@")
        settings = settings_for(
            data_dir, None, tmp_path, redis_url=url, rate_limits=True, log_level="DEBUG"
        )
        async with serving(settings, roles=[]) as server:
            assert await redis_state(server) == ("degraded", "unhealthy")
            await submit(server.admin)
    assert "quite-wrong" not in "".join(capfd.readouterr())


async def test_one_that_was_restarted_between_two_checks_is_healthy() -> None:
    with ValkeyServer() as valkey:
        server = RedisServer(valkey.url, installation="a-test")
        await server.check()
        valkey.kill()
        valkey.start()
        await server.check()
        await server.close()


@contextlib.asynccontextmanager
async def behind_tls(valkey: ValkeyServer, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """A port where the server is reached by TLS, which the wheel's own does not speak."""
    certificate_file, key_file = certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate_file, key_file)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(copy(reader, outer), copy(inner, writer), return_exceptions=True)

    server = await asyncio.start_server(connect, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1], certificate_file
    server.close()


async def test_tls_is_spoken_and_certificates_are_checked(
    tmp_path: Path, valkey: ValkeyServer
) -> None:
    async with behind_tls(valkey, tmp_path) as (port, certificate_file):
        url = f"rediss://127.0.0.1:{port}"
        trusting = RedisServer(f"{url}?ssl_ca_certs={certificate_file}", installation="tests")
        await trusting.check()
        await trusting.close()
        strict = RedisServer(url, installation="tests")
        with pytest.raises(SutazaiError, match="certificate") as caught:
            await strict.check()
        await strict.close()
    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://user:secret@localhost:6379",
        "redis://",
        "redis://user:secret@host:port",
        "redis://user:sec/ret@host:6379",
        "unix://",
    ],
)
def test_a_wrong_url_stops_the_start_with_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SUTAZAI_REDIS_URL", url)
    with pytest.raises(SutazaiError) as caught:
        load()
    assert [detail.field for detail in caught.value.details] == ["SUTAZAI_REDIS_URL"]
    assert "redis://" in caught.value.message
    assert "sec" not in caught.value.message


@pytest.mark.parametrize("option", ["db=zero", "no_such_option=1"])
async def test_options_that_there_are_not_stop_the_start(
    data_dir: Path, tmp_path: Path, option: str
) -> None:
    url = f"redis://:secret@localhost/0?{option}"
    with pytest.raises(SutazaiError) as caught:
        async with running(settings_for(data_dir, None, tmp_path, redis_url=url)):
            pass
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    assert "SUTAZAI_REDIS_URL" in caught.value.message
    assert "secret" not in caught.value.message


def test_doctor_looks_for_redis(
    folder: Path, monkeypatch: pytest.MonkeyPatch, valkey: ValkeyServer
) -> None:
    assert "Redis" not in CliRunner().invoke(app, ["doctor"]).output
    monkeypatch.setenv("SUTAZAI_REDIS_URL", valkey.url)
    assert "✓ Redis: reachable" in CliRunner().invoke(app, ["doctor"]).output
    valkey.kill()
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code != 0
    assert "✗ Redis cannot be used: " in result.output
    assert "SUTAZAI_REDIS_URL" in result.output


async def test_without_one_redis_is_embedded(
    data_dir: Path, tmp_path: Path, sqlite_template: Path
) -> None:
    async with serving(settings_for(data_dir, None, tmp_path), roles=[]) as server:
        found: Server = server
        assert await redis_state(found) == ("healthy", "embedded")
