"""How an agent gets its key where it was given none."""

from typing import Any

from sutazai_client.client import SutazAIClient
from sutazai_client.errors import Conflict


def join(client: SutazAIClient | None, agent_id: str, said: dict[str, Any]) -> str:
    """Register the agent, or change what is registered of it: its new key.

    The key that the agent had before ends.
    """
    if client is None:
        raise ValueError(
            "The agent has no key. Give api_key, set SUTAZAI_AGENT_KEY, or give a client that may "
            "register agents."
        )
    try:
        made = client.register_agent(agent_id, **said)
    except Conflict:
        client.update_agent(agent_id, **said)
    else:
        if made["api_key"] is not None:
            return str(made["api_key"])
    return str(client.renew_agent_key(agent_id)["api_key"])
