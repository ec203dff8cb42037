"""`sutazai user`: accounts in the database, with and without a server on it."""

import pytest

from tests.features.cli.conftest import Run, decoded
from tests.features.sdk.embedding import Served

TYPED = "password123\n"


def test_an_account_made_beside_a_running_server_can_log_in(run: Run, server: Served) -> None:
    here = ("--data-dir", server.data_dir)
    made = run("user", "create", "john_doe", "--password-stdin", *here, typed=TYPED)
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("Created john_doe (user-")
    assert made.stdout.endswith(": role user, tier free.\n")
    arguments = (server.url, "--username", "john_doe", "--password-stdin")
    assert "Logged in" in run("login", *arguments, typed=TYPED).stdout
    assert "Updated" in run("user", "update", "john_doe", "--disable", *here).stdout
    assert "wrong" in run("login", *arguments, typed=TYPED).stderr
    assert run("user", "delete", "john_doe", *here).stdout == "Deleted john_doe.\n"
    assert "no user 'john_doe'" in run("user", "delete", "john_doe", *here).stderr


def test_accounts_are_listed_with_what_they_are(run: Run) -> None:
    first = run("user", "create", "ann", "--role", "admin", "--password-stdin", typed=TYPED)
    assert first.exit_code == 0, first.stderr
    second = ("bob", "--role", "developer", "--role", "viewer", "--tier", "premium")
    run("user", "create", *second, "--password-stdin", typed=TYPED)
    listed = decoded(run("user", "list", "--format", "json"))
    assert [(one["username"], one["roles"], one["tier"]) for one in listed] == [
        ("ann", ["admin"], "free"),
        ("bob", ["developer", "viewer"], "premium"),
    ]
    assert "developer, viewer" in run("user", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [
        (["create", "ann"], TYPED, "--role admin"),
        (["create", "ann", "--role", "king"], "", "Choose from admin, developer, user, viewer."),
        (["create", "ann", "--tier", "gold"], "", "Choose from free, standard, premium."),
        (["create", "ann", "--role", "admin"], "short\n", "at least 8 characters"),
        (["create", "a b", "--role", "admin"], TYPED, "username"),
        (["create", "ann", "--role", "admin"], "", "No password"),
        (["update", "ann"], "", "Nothing to change"),
        (["list"], "", "There is no data directory"),
    ],
)
def test_a_mistake_is_one_clear_error(
    run: Run, arguments: list[str], typed: str, said: str
) -> None:
    password = ["--password-stdin"] if arguments[0] == "create" else []
    result = run("user", *arguments, *password, typed=typed)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
