"""The keys of agents from outside: for an agent's own work, and for nothing else.

Units, for the registry to run in the transaction in which an agent comes, changes keys, or goes.
"""

import secrets

from sutazai.database import Connection
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity import agent_keys_store
from sutazai.identity.agent_keys_store import Found
from sutazai.identity.keys import PREFIX as USERS_PREFIX
from sutazai.identity.model import AGENT_TIER, Principal, subject_of
from sutazai.identity.tokens import digest
from sutazai.ids import new_id

PREFIX = f"{USERS_PREFIX}agent-"


def issue(connection: Connection, agent_id: str, *, now: int) -> str:
    """A new key in the place of the one before, which is no longer good: the secret itself."""
    secret = PREFIX + secrets.token_urlsafe(32)
    found = Found(agent_id, new_id("key"))
    channel = subject_of(agent_id)
    agent_keys_store.replace(connection, found, digest=digest(secret), channel=channel, now=now)
    return secret


def revoke(connection: Connection, agent_id: str) -> None:
    """Let an agent's key be good no longer."""
    agent_keys_store.remove(connection, agent_id, channel=subject_of(agent_id))


def find(connection: Connection, secret: str) -> Principal | None:
    """The agent whose key it is."""
    found = agent_keys_store.find(connection, digest(secret))
    if found is None:
        return None
    return Principal(
        user_id=subject_of(found.agent_id),
        username=found.agent_id,
        roles=(),
        tier=AGENT_TIER,
        key_id=found.key_id,
        agent_id=found.agent_id,
    )


def refuse_agents(principal: Principal) -> Principal:
    """The principal, unless it is an agent's key: FORBIDDEN."""
    if principal.agent_id is not None:
        raise SutazaiError(
            ErrorCode.FORBIDDEN,
            f"This is the key of the agent {principal.agent_id!r}. It opens that agent's own work "
            "(heartbeat, claim, and its assignments) and nothing else. Use a user's token or key.",
        )
    return principal
