"""The client when answers get lost, tokens lapse and servers are busy."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sutazai_client import (
    ConnectionFailed,
    MemoryTokens,
    RateLimited,
    ServerFailed,
    SutazAIClient,
    SutazAIError,
    Tokens,
    Unauthorized,
)

from tests.features.sdk.embedding import PASSWORD, Served
from tests.features.sdk.flaky import FlakyProxy, Trouble


@contextmanager
def through(proxy: FlakyProxy, attempts: int = 4) -> Iterator[SutazAIClient]:
    """A client behind the proxy, whose login the proxy has forgotten."""
    with SutazAIClient(proxy.url, attempts=attempts) as client:
        client.login("admin", PASSWORD)
        proxy.seen.clear()
        yield client


def test_a_task_whose_answers_were_lost_is_made_once(proxy: FlakyProxy) -> None:
    with through(proxy) as client:
        proxy.troubles = [Trouble.LOSE_ANSWER, Trouble.BUSY, Trouble.LOSE_ANSWER]
        task = client.create_task("ping", "once", tags=["lost-answers"])
        found = list(client.iter_tasks(tag="lost-answers"))
    assert [one["task_id"] for one in found] == [task["task_id"]]
    posts = [key for method, _, key in proxy.seen if method == "POST"]
    assert len(posts) == 4
    assert len(set(posts)) == 1
    assert posts[0]


def test_a_session_survives_a_lost_answer_to_its_renewal(proxy: FlakyProxy) -> None:
    with through(proxy) as client:
        proxy.troubles = [Trouble.LOSE_ANSWER]
        first, second = client.token, client.refresh()
        assert first != second
        assert client.me()["username"] == "admin"


@pytest.mark.parametrize("trouble", [Trouble.BUSY, Trouble.TOO_MANY, Trouble.LOSE_ANSWER])
def test_reading_is_tried_again(proxy: FlakyProxy, trouble: Trouble) -> None:
    with through(proxy) as client:
        proxy.troubles = [trouble]
        assert client.me()["username"] == "admin"


def test_after_the_last_attempt_the_trouble_is_told(proxy: FlakyProxy) -> None:
    with through(proxy, attempts=2) as client:
        for trouble, kind in [
            (Trouble.BUSY, ServerFailed),
            (Trouble.TOO_MANY, RateLimited),
            (Trouble.LOSE_ANSWER, ConnectionFailed),
        ]:
            proxy.troubles = [trouble, trouble]
            with pytest.raises(kind):
                client.me()


def test_what_may_have_happened_is_not_done_twice(proxy: FlakyProxy) -> None:
    with through(proxy) as client:
        task = client.create_task("ping", "cancelled once", run_at="2100-01-01T00:00:00Z")
        proxy.troubles = [Trouble.LOSE_ANSWER]
        with pytest.raises(ConnectionFailed):
            client.cancel_task(task["task_id"])
        assert [method for method, _, _ in proxy.seen].count("DELETE") == 1


def test_nothing_there_says_what_to_start(server: Served) -> None:
    with FlakyProxy(server.url).running() as gone:
        url = gone.url
    with SutazAIClient(url, attempts=1) as client, pytest.raises(ConnectionFailed) as caught:
        client.health()
    assert "sutazai serve" in str(caught.value)
    assert url in str(caught.value)


def test_what_is_no_sutazai_server_is_named_as_such(proxy: FlakyProxy) -> None:
    proxy.troubles = [Trouble.NOT_OURS]
    with (
        SutazAIClient(proxy.url) as client,
        pytest.raises(SutazAIError, match="not a SutazAI server"),
    ):
        client.health()


def session(server: Served) -> Tokens:
    with SutazAIClient(server.url) as client:
        client.login("admin", PASSWORD)
        assert client.tokens is not None
        return client.tokens


def test_a_refused_token_is_renewed_once_and_the_request_repeated(server: Served) -> None:
    store = MemoryTokens(Tokens("no longer valid", session(server).refresh_token, 2**40))
    with SutazAIClient(server.url, tokens=store) as client:
        assert client.me()["username"] == "admin"
        assert client.token != "no longer valid"


def test_a_token_about_to_lapse_is_renewed_before_it_is_used(proxy: FlakyProxy) -> None:
    with through(proxy) as client:
        tokens = client.tokens
        assert tokens is not None
        store = MemoryTokens(Tokens(tokens.access_token, tokens.refresh_token, time.time() + 5))
        with SutazAIClient(proxy.url, tokens=store) as other:
            other.me()
    assert [path for _, path, _ in proxy.seen] == ["/api/v1/auth/refresh", "/api/v1/auth/me"]


def test_a_session_that_was_ended_elsewhere_is_unauthorized(server: Served) -> None:
    tokens = session(server)
    with SutazAIClient(server.url, tokens=MemoryTokens(tokens)) as client:
        client.logout()
    with SutazAIClient(server.url, tokens=MemoryTokens(tokens)) as late:
        with pytest.raises(Unauthorized):
            late.me()
        with pytest.raises(SutazAIError, match="Log in"):
            late.refresh()


def test_threads_that_share_a_session_renew_it_once(server: Served) -> None:
    # A refresh token used twice would end the session for all of them.
    store = MemoryTokens(Tokens("no longer valid", session(server).refresh_token, 2**40))
    together = threading.Barrier(4)
    names: list[str] = []
    with SutazAIClient(server.url, tokens=store) as client:

        def ask() -> None:
            together.wait()
            names.append(client.me()["username"])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert names == ["admin"] * 4
        assert client.me()["username"] == "admin"
