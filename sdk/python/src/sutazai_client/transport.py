"""Requests to one server: who asks, what is sent again, and what failed."""

import random
import time
import uuid
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx2

from sutazai_client.errors import ConnectionFailed, SutazAIError, from_answer
from sutazai_client.tokens import Tokens, TokenStore

PREFIX = "/api/v1"
_RENEW_BEFORE = 60.0
_LONGEST_PAUSE = 30.0
# What has surely not reached the server may be sent again whatever it was.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_REPEATABLE = {"GET", "PATCH"}


class Transport:
    """Sends requests with a token or key, renews tokens, and repeats what is safe to repeat.

    A POST carries an `Idempotency-Key`, so that sent twice it happens once.
    """

    def __init__(
        self,
        base_url: str,
        *,
        store: TokenStore,
        api_key: str | None,
        timeout: float,
        attempts: int,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.store = store
        self._api_key = api_key
        self._attempts = max(1, attempts)
        self._timeout = timeout
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url must look like http://localhost:10010, not {base_url!r}")
        self._http = httpx2.Client(
            base_url=self.base_url + PREFIX,
            timeout=timeout,
            # Reading the machine's certificates takes longer than a request: only where needed.
            verify=parts.scheme == "https",
            # A proxy cannot reach this machine's own loopback for us.
            trust_env=not is_loopback(parts.hostname),
            headers={"accept": "application/json"},
        )

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        wait: float = 0,
    ) -> Any:
        """The decoded answer, None for an empty one; SutazAIError for status 400 and above.

        `wait` is how long the server may take on purpose, in seconds. `key` is the
        `Idempotency-Key` of a POST, a new one unless given.
        """
        tokens = self._fresh_tokens()
        headers = {"idempotency-key": key or str(uuid.uuid4())} if method == "POST" else {}
        arguments: dict[str, Any] = {"params": params, "timeout": self._timeout + wait}
        if body is not None:
            arguments["json"] = body
        answer = self._send(method, path, {**headers, **self._who(tokens)}, arguments)
        if answer.status_code == 401 and tokens is not None:
            renewed = self.renew(tokens)
            if renewed is not None:
                answer = self._send(method, path, {**headers, **self._who(renewed)}, arguments)
        return decoded(answer)

    def open(self, path: str, body: Any) -> Any:
        """POST without credentials: logging in, and renewing."""
        headers = {"idempotency-key": str(uuid.uuid4())}
        return decoded(self._send("POST", path, headers, {"json": body}))

    def renew(self, spent: Tokens) -> Tokens | None:
        """The session's next tokens, made by us or by another who was faster; None if it ended."""
        with self.store.alone():
            newest = self.store.load()
            if newest is not None and newest.access_token != spent.access_token:
                return newest
            if newest is None or newest.refresh_token is None:
                return None
            try:
                pair = self.open("/auth/refresh", {"refresh_token": newest.refresh_token})
            except SutazAIError as error:
                if error.status != 401:
                    raise
                return None
            renewed = tokens_of(pair)
            self.store.save(renewed)
            return renewed

    def _fresh_tokens(self) -> Tokens | None:
        """What to send; renewed shortly before it lapses."""
        if self._api_key is not None:
            return None
        tokens = self.store.load()
        if tokens is None or tokens.refresh_token is None or not tokens.expires_at:
            return tokens
        if time.time() < tokens.expires_at - _RENEW_BEFORE:
            return tokens
        return self.renew(tokens) or tokens

    def _who(self, tokens: Tokens | None) -> dict[str, str]:
        if self._api_key is not None:
            return {"x-api-key": self._api_key}
        return {} if tokens is None else {"authorization": f"Bearer {tokens.access_token}"}

    def _send(
        self, method: str, path: str, headers: dict[str, str], arguments: dict[str, Any]
    ) -> httpx2.Response:
        repeatable = method in _REPEATABLE or "idempotency-key" in headers
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            try:
                answer = self._http.request(method, path, headers=headers, **arguments)
            except httpx2.RequestError as error:
                if last or not (repeatable or isinstance(error, _NOT_SENT)):
                    raise failed(self.base_url, error) from error
                pause: float | None = None
            else:
                pause = retry_after_of(answer)
                if last or pause is None:
                    return answer
            time.sleep(pause_before(attempt, pause))
        raise AssertionError("the last attempt returns or raises")


def tokens_of(pair: Mapping[str, Any]) -> Tokens:
    """What a login or a refresh answered."""
    return Tokens(
        access_token=pair["access_token"],
        refresh_token=pair["refresh_token"],
        expires_at=time.time() + float(pair["expires_in"]),
    )


def retry_after_of(answer: httpx2.Response) -> float | None:
    """Seconds after which the same request may do better; None where it would not."""
    # 409 only where the server says so: the first request under this Idempotency-Key still runs.
    if answer.status_code not in (409, 429, 503):
        return None
    told = from_answer(answer.status_code, None, answer.headers).retry_after
    if told is None:
        return None if answer.status_code == 409 else 0.0
    # A longer wait is the caller's to decide on: the error carries it.
    return told if told <= _LONGEST_PAUSE else None


def pause_before(attempt: int, told: float | None) -> float:
    """Seconds until the next try after so many; not before the server wants it."""
    # Jitter spreads many clients that failed together; it needs no secrecy.
    jitter = random.uniform(0.5, 1.0) * 0.2 * float(2**attempt)  # noqa: S311  # no secret is made of it
    return max(jitter, told or 0.0)


def decoded(answer: httpx2.Response) -> Any:
    """What an answer says, None for an empty one; SutazAIError for status 400 and above."""
    try:
        body = answer.json() if answer.content else None
    except ValueError:
        body = None
    if answer.status_code >= 400:
        raise from_answer(answer.status_code, body, answer.headers)
    if body is None and answer.status_code != 204:
        raise SutazAIError(
            f"What answers at {answer.url} is not a SutazAI server (status {answer.status_code}, "
            "no JSON). Check the address.",
            status=answer.status_code,
        )
    return body


def failed(base_url: str, error: httpx2.RequestError) -> ConnectionFailed:
    """The error where no answer came."""
    if isinstance(error, _NOT_SENT):
        hint = "Is the server running? Start it with: sutazai serve"
        return ConnectionFailed(f"Nothing answers at {base_url}. {hint}")
    reason = str(error) or type(error).__name__
    return ConnectionFailed(f"The connection to {base_url} failed: {reason}")


def is_loopback(host: str) -> bool:
    """Whether it is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
