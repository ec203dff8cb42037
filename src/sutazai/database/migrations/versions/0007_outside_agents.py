"""Agents from outside: how they are reached, their keys, and when an attempt of theirs is over."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the keys' table, and columns to three others."""
    op.add_column("agents", sa.Column("transport", sa.String(length=8), nullable=True))
    op.add_column(
        "agent_instances",
        sa.Column("is_full", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("jobs", sa.Column("deadline", sa.BigInteger(), nullable=True))
    op.create_table(
        "agent_keys",
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_agent_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_agent_keys_digest")),
    )
