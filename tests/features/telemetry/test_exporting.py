"""Traces leave the process by OTLP over HTTP, to where the settings say."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from sutazai.bootstrap import running
from sutazai.errors import SutazaiError
from tests.api.server import client_of, settings_for


class Collector(NamedTuple):
    url: str
    received: list[tuple[str, bytes]]


@pytest.fixture
def collector() -> Iterator[Collector]:
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Collector(f"http://127.0.0.1:{server.server_port}", received)
    server.shutdown()
    thread.join()
    server.server_close()


async def test_spans_are_sent_to_the_collector(collector: Collector, data_dir: Path) -> None:
    settings = settings_for(data_dir, None, data_dir, otlp_endpoint=collector.url)
    async with running(settings) as application, client_of(application) as client:
        assert (await client.get("/health")).status_code == 200
    assert {path for path, _ in collector.received} == {"/v1/traces"}
    assert any(b"GET /api/v1/health" in body for _, body in collector.received)


async def test_opentelemetrys_own_variable_will_do(
    collector: Collector, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "sutazai-of-the-test")
    settings = settings_for(data_dir, None, data_dir)
    async with running(settings) as application, client_of(application) as client:
        assert (await client.get("/health")).status_code == 200
    assert any(b"sutazai-of-the-test" in body for _, body in collector.received)


async def test_without_the_extra_the_start_says_what_to_install(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    settings = settings_for(data_dir, None, data_dir, otlp_endpoint="http://127.0.0.1:9")
    with pytest.raises(SutazaiError, match=r"SUTAZAI_OTLP_ENDPOINT .* install 'sutazai\[otel\]'"):
        async with running(settings):
            pass
