"""Alembic's entry: runs the revisions on the connection that `schema.py` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=False)
context.run_migrations()
