"""The tables of users, sessions and API keys."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.clock import SECOND
from sutazai.database import Connection, metadata, signal
from sutazai.identity.model import ApiKey, Role, User

USERS = Table(
    "users",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("username", String(64), nullable=False),
    # The username in lower case: two users may not differ in case only.
    Column("username_key", String(64), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("tier", String(16), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

SESSIONS = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column(
        "user_id",
        String(64),
        ForeignKey(USERS.c.user_id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    # SHA-256 of the id of the one refresh token that is still good.
    Column("refresh_digest", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("revoked_at", BigInteger),
    Column("address", String(64)),
    Column("user_agent", String(256)),
)

API_KEYS = Table(
    "api_keys",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column(
        "user_id",
        String(64),
        ForeignKey(USERS.c.user_id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("name", String(100), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
)

CHANNEL = "identity"
"""Carries the id of a user whose rights may have changed, to every process."""

TOUCH_EVERY = 60 * SECOND

_USER = (
    USERS.c.user_id,
    USERS.c.username,
    USERS.c.roles,
    USERS.c.tier,
    USERS.c.enabled,
    USERS.c.created_at,
)
_KEY = tuple(API_KEYS.c[name] for name in ApiKey.__struct_fields__)
_roles = msgspec.json.Decoder(tuple[str, ...])


class Account(NamedTuple):
    """A user with the hash of the password."""

    user: User
    password_hash: str


class Session(NamedTuple):
    """A login that goes on; times in microseconds."""

    session_id: str
    user_id: str
    expires_at: int
    revoked_at: int | None


def _user(row: Sequence[Any]) -> User:
    user_id, username, roles, tier, enabled, created_at = row[: len(_USER)]
    return User(
        user_id=user_id,
        username=username,
        roles=_roles.decode(roles),
        tier=tier,
        enabled=enabled,
        created_at=created_at,
    )


def _key(row: Sequence[Any]) -> ApiKey:
    return ApiKey(**dict(zip(ApiKey.__struct_fields__, row, strict=True)))


def _encoded(roles: tuple[str, ...]) -> str:
    return msgspec.json.encode(roles).decode()


# --- users


def add_user(connection: Connection, user: User, password_hash: str) -> bool:
    """Insert; False where the name is taken."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(USERS).values(
        user_id=user.user_id,
        username=user.username,
        username_key=user.username.lower(),
        password_hash=password_hash,
        roles=_encoded(user.roles),
        tier=user.tier,
        enabled=user.enabled,
        created_at=user.created_at,
    )
    free = statement.on_conflict_do_nothing(index_elements=[USERS.c.username_key])
    return connection.execute(free.returning(USERS.c.user_id)).first() is not None


def has_users(connection: Connection) -> bool:
    """Whether anybody was ever made and is still there."""
    return connection.execute(select(USERS.c.user_id).limit(1)).first() is not None


def find_user(connection: Connection, user_id: str) -> User | None:
    """By id."""
    row = connection.execute(select(*_USER).where(USERS.c.user_id == user_id)).first()
    return None if row is None else _user(row)


def find_users(connection: Connection, user_ids: Sequence[str]) -> dict[str, User]:
    """Those of these that there are, by id."""
    rows = connection.execute(select(*_USER).where(USERS.c.user_id.in_(user_ids)))
    return {user.user_id: user for user in map(_user, rows)}


def find_account(connection: Connection, username: str) -> Account | None:
    """By name, in whichever case."""
    query = select(*_USER, USERS.c.password_hash).where(USERS.c.username_key == username.lower())
    row = connection.execute(query).first()
    return None if row is None else Account(_user(row), row.password_hash)


def hold_account(connection: Connection, user_id: str) -> Account | None:
    """By id, unchanged by others until this transaction ends."""
    query = select(*_USER, USERS.c.password_hash).where(USERS.c.user_id == user_id)
    row = connection.execute(query.with_for_update(read=True)).first()
    return None if row is None else Account(_user(row), row.password_hash)


def hold_user(connection: Connection, user_id: str, *, alone: bool) -> User | None:
    """By id, unchanged by others until this transaction ends; `alone` keeps out other holders."""
    query = select(*_USER).where(USERS.c.user_id == user_id)
    row = connection.execute(query.with_for_update(read=not alone)).first()
    return None if row is None else _user(row)


def list_users(connection: Connection, *, limit: int, offset: int) -> tuple[tuple[User, ...], int]:
    """A page, oldest first, and the number of all."""
    query = select(*_USER).order_by(USERS.c.created_at, USERS.c.user_id)
    users = tuple(_user(row) for row in connection.execute(query.limit(limit).offset(offset)))
    return users, connection.execute(select(func.count()).select_from(USERS)).scalar_one()


def hold_admins(connection: Connection) -> set[str]:
    """The ids of all enabled admins, who stay so until this transaction ends."""
    query = (
        select(USERS.c.user_id)
        .where(USERS.c.enabled, USERS.c.roles.like(f'%"{Role.ADMIN}"%'))
        .order_by(USERS.c.user_id)  # one order for all, so that no two wait for each other
        .with_for_update()
    )
    return set(connection.execute(query).scalars())


def change_user(connection: Connection, user_id: str, values: Mapping[str, Any]) -> User | None:
    """Set roles, tier, enabled or password_hash; None where there is no such user."""
    columns = dict(values)
    if "roles" in columns:
        columns["roles"] = _encoded(columns["roles"])
    statement = update(USERS).where(USERS.c.user_id == user_id).values(columns).returning(*_USER)
    row = connection.execute(statement).first()
    if row is None:
        return None
    signal(connection, CHANNEL, user_id)
    return _user(row)


def replace_hash(connection: Connection, user_id: str, *, old: str, new: str) -> None:
    """A stronger hash of the same password, unless it was changed meanwhile."""
    connection.execute(
        update(USERS)
        .where(USERS.c.user_id == user_id, USERS.c.password_hash == old)
        .values(password_hash=new)
    )


def remove_user(connection: Connection, user_id: str) -> bool:
    """Delete with sessions and keys."""
    statement = delete(USERS).where(USERS.c.user_id == user_id).returning(USERS.c.user_id)
    signal(connection, CHANNEL, user_id)
    return connection.execute(statement).first() is not None


# --- sessions


def add_session(
    connection: Connection,
    session: Session,
    *,
    refresh_digest: str,
    now: int,
    address: str | None,
    user_agent: str | None,
) -> None:
    """Insert."""
    connection.execute(
        insert(SESSIONS).values(
            session_id=session.session_id,
            user_id=session.user_id,
            refresh_digest=refresh_digest,
            created_at=now,
            last_used_at=now,
            expires_at=session.expires_at,
            address=address,
            user_agent=user_agent,
        )
    )


def rotate_session(
    connection: Connection, session_id: str, *, old: str, new: str, now: int, expires_at: int
) -> str | None:
    """Put a new refresh digest in the old one's place: the user's id; None if it was another."""
    statement = (
        update(SESSIONS)
        .where(
            SESSIONS.c.session_id == session_id,
            SESSIONS.c.refresh_digest == old,
            SESSIONS.c.revoked_at.is_(None),
            SESSIONS.c.expires_at > now,
        )
        .values(refresh_digest=new, last_used_at=now, expires_at=expires_at)
        .returning(SESSIONS.c.user_id)
    )
    return connection.execute(statement).scalar()


def revoke_session(connection: Connection, session_id: str, *, now: int) -> str | None:
    """End it: its user's id, or None where it had ended already."""
    statement = (
        update(SESSIONS)
        .where(
            SESSIONS.c.session_id == session_id,
            SESSIONS.c.revoked_at.is_(None),
            SESSIONS.c.expires_at > now,
        )
        .values(revoked_at=now)
        .returning(SESSIONS.c.user_id)
    )
    user_id = connection.execute(statement).scalar()
    if user_id is not None:
        signal(connection, CHANNEL, user_id)
    return user_id


def revoke_sessions(connection: Connection, user_id: str, *, now: int) -> int:
    """End all of a user's; how many there were."""
    statement = (
        update(SESSIONS)
        .where(SESSIONS.c.user_id == user_id, SESSIONS.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    signal(connection, CHANNEL, user_id)
    return connection.execute(statement).rowcount


def find_by_session(connection: Connection, session_id: str) -> tuple[User, Session] | None:
    """A session with its user, in one look-up."""
    query = (
        select(*_USER, SESSIONS.c.session_id, SESSIONS.c.expires_at, SESSIONS.c.revoked_at)
        .join(SESSIONS, SESSIONS.c.user_id == USERS.c.user_id)
        .where(SESSIONS.c.session_id == session_id)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    return _user(row), Session(row.session_id, row.user_id, row.expires_at, row.revoked_at)


def purge(connection: Connection, now: int) -> int:
    """Delete sessions that have expired or were revoked; how many went."""
    over = or_(SESSIONS.c.expires_at <= now, SESSIONS.c.revoked_at.is_not(None))
    return connection.execute(delete(SESSIONS).where(over)).rowcount


# --- API keys


def add_key(connection: Connection, key: ApiKey, digest: str) -> None:
    """Insert."""
    connection.execute(insert(API_KEYS).values(**msgspec.structs.asdict(key), digest=digest))


def list_keys(connection: Connection, user_id: str) -> tuple[ApiKey, ...]:
    """A user's, oldest first."""
    query = select(*_KEY).where(API_KEYS.c.user_id == user_id)
    rows = connection.execute(query.order_by(API_KEYS.c.created_at, API_KEYS.c.key_id))
    return tuple(_key(row) for row in rows)


def remove_key(connection: Connection, key_id: str, *, owner: str | None) -> ApiKey | None:
    """Delete, where it is the owner's (None: whoever's); the key that went."""
    statement = delete(API_KEYS).where(API_KEYS.c.key_id == key_id)
    if owner is not None:
        statement = statement.where(API_KEYS.c.user_id == owner)
    row = connection.execute(statement.returning(*_KEY)).first()
    if row is None:
        return None
    signal(connection, CHANNEL, row.user_id)
    return _key(row)


def remove_keys(connection: Connection, user_id: str) -> int:
    """Delete all of a user's; how many there were."""
    signal(connection, CHANNEL, user_id)
    return connection.execute(delete(API_KEYS).where(API_KEYS.c.user_id == user_id)).rowcount


def find_by_key(
    connection: Connection, *, digest: str | None = None, key_id: str | None = None
) -> tuple[User, ApiKey] | None:
    """A key with its user, in one look-up by either."""
    wanted = API_KEYS.c.digest == digest if key_id is None else API_KEYS.c.key_id == key_id
    query = (
        select(*_USER, *_KEY).join(API_KEYS, API_KEYS.c.user_id == USERS.c.user_id).where(wanted)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    return _user(row), _key(row[len(_USER) :])


def touch_key(connection: Connection, key_id: str, *, now: int) -> None:
    """Note that it was used, at most once a minute."""
    stale = or_(API_KEYS.c.last_used_at.is_(None), API_KEYS.c.last_used_at <= now - TOUCH_EVERY)
    connection.execute(
        update(API_KEYS).where(API_KEYS.c.key_id == key_id, stale).values(last_used_at=now)
    )
