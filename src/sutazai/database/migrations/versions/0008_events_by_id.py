"""Events are purged by id: the index on their time cost every event, and served nothing else."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_events_timestamp", table_name="events")


def downgrade() -> None:
    """Make it again."""
    op.create_index("ix_events_timestamp", "events", ["timestamp"], unique=False)
