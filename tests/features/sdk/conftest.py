"""One server for all tests of the client, and a client of its admin."""

from collections.abc import Iterator

import pytest
from sutazai_client import SutazAIClient

from tests.features.sdk.embedding import PASSWORD, Served, served
from tests.features.sdk.flaky import FlakyProxy


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that the tests share: each makes what it needs under names of its own."""
    with served(tmp_path_factory.mktemp("sdk")) as server:
        yield server


@pytest.fixture
def client(server: Served) -> Iterator[SutazAIClient]:
    """Logged in as the admin."""
    with SutazAIClient(server.url) as client:
        client.login("admin", PASSWORD)
        yield client


@pytest.fixture
def proxy(server: Served) -> Iterator[FlakyProxy]:
    """In front of the server, faithful until told otherwise."""
    with FlakyProxy(server.url).running() as proxy:
        yield proxy
