"""`sutazai user …`: accounts, directly in the database, whether or not a server runs on it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sutazai.cli.failures import Failure
from sutazai.cli.output import Format

if TYPE_CHECKING:
    from sutazai.identity.model import User
    from sutazai.identity.users import Users

T = TypeVar("T")

_PAGE = 100

app = typer.Typer(
    help="Manage accounts in the database of --data-dir or SUTAZAI_DATABASE_URL, "
    "also while a server runs on it.",
    no_args_is_help=True,
)

Username = Annotated[str, typer.Argument(help="The account's name.")]
DataDir = Annotated[Path | None, typer.Option(help="The server's data directory.")]
Roles = Annotated[
    list[str] | None, typer.Option("--role", help="admin, developer, user, viewer; repeatable.")
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@app.command()
def create(
    username: Username,
    role: Roles = None,
    tier: Annotated[str, typer.Option(help="free, standard or premium.")] = "free",
    password_stdin: PasswordStdin = False,
    data_dir: DataDir = None,
) -> None:
    """Make an account; the password is asked for, or read from standard input."""
    from sutazai.cli.login import password

    roles = role or ["user"]
    _check(roles, tier)
    typed = password("Password", from_stdin=password_stdin, confirm=True)

    async def make(users: "Users") -> "User":
        if "admin" not in roles and not (await users.list(limit=1)).total:
            raise Failure(
                "There is no account yet, and the first must be an administrator. Add "
                "--role admin, or start the server once: it makes the user admin."
            )
        return await users.create(username=username, password=typed, roles=roles, tier=tier)

    made = _with_users(make, data_dir, may_be_new=True)
    named = f"role{'' if len(made.roles) == 1 else 's'} {', '.join(made.roles)}"
    print(f"Created {made.username} ({made.user_id}): {named}, tier {made.tier}.")


@app.command("list")
def list_users(
    output: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    data_dir: DataDir = None,
) -> None:
    """List all accounts, oldest first."""
    from sutazai.cli.output import print_json, print_table
    from sutazai.clock import to_iso

    found = _with_users(_all, data_dir)
    if output is Format.JSON:
        print_json(
            [
                {
                    "user_id": one.user_id,
                    "username": one.username,
                    "roles": one.roles,
                    "tier": one.tier,
                    "enabled": one.enabled,
                    "created_at": to_iso(one.created_at),
                }
                for one in found
            ]
        )
        return
    rows = [(one.username, one.user_id, one.roles, one.tier, one.enabled) for one in found]
    print_table(("USER", "ID", "ROLES", "TIER", "ENABLED"), rows)


@app.command()
def update(
    username: Username,
    role: Roles = None,
    tier: Annotated[str | None, typer.Option(help="free, standard or premium.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable")] = None,
    new_password: Annotated[
        bool, typer.Option("--password", help="Ask for a new password.")
    ] = False,
    password_stdin: PasswordStdin = False,
    data_dir: DataDir = None,
) -> None:
    """Change an account; --password or --password-stdin is the remedy for a forgotten one."""
    from sutazai.cli.login import password

    ask = new_password or password_stdin
    if not ask and role is None and tier is None and enabled is None:
        raise Failure("Nothing to change was given: see sutazai user update --help.")
    _check(role or [], tier)
    typed = password("New password", from_stdin=password_stdin, confirm=True) if ask else None

    async def change(users: "Users") -> "User":
        user = await _named(users, username)
        return await users.update(
            user.user_id, password=typed, roles=role, tier=tier, enabled=enabled
        )

    changed = _with_users(change, data_dir)
    sessions = " All sessions of this user have ended." if ask or enabled is False else ""
    print(f"Updated {changed.username}.{sessions}")


@app.command()
def delete(username: Username, data_dir: DataDir = None) -> None:
    """Delete an account with its sessions and keys; its tasks stay."""

    async def remove(users: "Users") -> None:
        user = await _named(users, username)
        await users.delete(user.user_id)

    _with_users(remove, data_dir)
    print(f"Deleted {username}.")


def _check(roles: list[str], tier: str | None) -> None:
    """Before a password is asked for."""
    from sutazai.identity.model import Role, Tier

    for value, kind in (*((role, Role) for role in roles), *([(tier, Tier)] if tier else [])):
        known: list[str] = [one.value for one in kind]
        if value not in known:
            noun = kind.__name__.lower()
            raise Failure(f"There is no {noun} {value!r}. Choose from {', '.join(known)}.")


async def _all(users: "Users") -> "list[User]":
    found: list[User] = []
    while True:
        page = await users.list(limit=_PAGE, offset=len(found))
        found += page.users
        if not page.users or len(found) >= page.total:
            return found


async def _named(users: "Users", username: str) -> "User":
    for user in await _all(users):
        if user.username.casefold() == username.casefold():
            return user
    raise Failure(f"There is no user {username!r}. See: sutazai user list")


def _with_users(
    work: "Callable[[Users], Awaitable[T]]", data_dir: Path | None, *, may_be_new: bool = False
) -> T:
    from sutazai.bootstrap import managing_users
    from sutazai.settings import load

    settings = load(data_dir=data_dir)
    if settings.database_url is None and not may_be_new and not settings.data_dir.is_dir():
        raise Failure(
            f"There is no data directory {settings.data_dir}. Name the server's with --data-dir, "
            "or start the server once."
        )

    async def run() -> T:
        async with managing_users(settings) as users:
            return await work(users)

    return asyncio.run(run())
