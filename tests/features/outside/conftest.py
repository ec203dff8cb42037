"""Agents from outside are tested through HTTP, so with the fixtures of the API."""

from tests.api.conftest import fresh_server, hosted, obedient, server, server_database

__all__ = ["fresh_server", "hosted", "obedient", "server", "server_database"]
