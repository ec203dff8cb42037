"""Python client for the SutazAI server."""

from sutazai_client.agent import Agent
from sutazai_client.assignment import Assignment, Cancelled, TaskFailed
from sutazai_client.client import FINAL, SutazAIClient
from sutazai_client.errors import (
    BadRequest,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
    ServerFailed,
    SutazAIError,
    Unauthorized,
    WaitTimeout,
)
from sutazai_client.tokens import MemoryTokens, Tokens, TokenStore

__all__ = [
    "FINAL",
    "Agent",
    "Assignment",
    "BadRequest",
    "Cancelled",
    "Conflict",
    "ConnectionFailed",
    "Forbidden",
    "Invalid",
    "MemoryTokens",
    "NotFound",
    "RateLimited",
    "ServerFailed",
    "SutazAIClient",
    "SutazAIError",
    "TaskFailed",
    "TokenStore",
    "Tokens",
    "Unauthorized",
    "WaitTimeout",
]
