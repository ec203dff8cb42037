"""Agents from outside are tested through HTTP, so with the fixtures of the API."""

from tests.api.conftest import chief, fresh_server, hosted, obedient, server, server_database

__all__ = ["chief", "fresh_server", "hosted", "obedient", "server", "server_database"]
