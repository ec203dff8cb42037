"""`sutazai login` and `sutazai logout`."""

import sys

import typer

from sutazai.cli import session
from sutazai.cli.failures import Failure


def login(url: str | None, *, username: str | None, password_stdin: bool) -> None:
    """Start a session and store it; nothing of the password is kept."""
    where = session.server_url(url)
    with session.client(where) as client:
        client.health()  # says that nothing answers before a password is typed
        name = username or typer.prompt("Username", default="admin", err=True)
        client.login(name, password("Password", from_stdin=password_stdin))
        tokens = client.tokens
    assert tokens is not None
    session.save(
        session.Session(where, name, tokens.access_token, tokens.refresh_token, tokens.expires_at)
    )
    print(f"Logged in at {where} as {name}.")


def logout() -> None:
    """End the session on the server, and forget it in any case."""
    from sutazai_client import SutazAIError

    held = session.load()
    if held is None:
        print("There is no session to end.")
        return
    try:
        with session.client(held.url, tokens=session.StoredTokens(held), attempts=1) as client:
            client.logout()
    except SutazAIError as error:
        print(f"The server was not told: {error.message}", file=sys.stderr)
    session.forget()
    print(f"Logged out of {held.url}.")


def password(prompt: str, *, from_stdin: bool, confirm: bool = False) -> str:
    """A password, typed unseen or read from standard input; never from the command line."""
    if from_stdin:
        given = sys.stdin.readline().rstrip("\r\n")
        if not given:
            raise Failure("No password came on standard input.")
        return given
    if not sys.stdin.isatty():
        raise Failure("There is no terminal to ask for the password on. Use --password-stdin.")
    typed: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return typed
