"""Language models: what was spent and is reserved, and who reaches one."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the books of the language models, and to an agent's instance whether it reaches one."""
    op.create_table(
        "llm_spending",
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("unpriced_calls", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.BigInteger(), nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reserved_cost", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", "day", name=op.f("pk_llm_spending")),
    )
    op.create_index("ix_llm_spending_updated_at", "llm_spending", ["updated_at"], unique=False)
    op.create_table(
        "llm_reservations",
        sa.Column("reservation_id", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reservation_id", name=op.f("pk_llm_reservations")),
    )
    op.create_index(
        "ix_llm_reservations_expires_at", "llm_reservations", ["expires_at"], unique=False
    )
    op.add_column(
        "agent_instances",
        sa.Column("has_model", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
