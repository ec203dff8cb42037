"""Workflows: approvals that an event answers."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add which event a step waits for, and how it is found."""
    op.add_column("workflow_runs", sa.Column("event_type", sa.String(64), nullable=True))
    op.add_column("workflow_runs", sa.Column("correlation_id", sa.String(200), nullable=True))
    op.create_index(
        "ix_workflow_runs_event",
        "workflow_runs",
        ["event_type", "correlation_id"],
        unique=False,
        postgresql_where=sa.text("event_type IS NOT NULL"),
        sqlite_where=sa.text("event_type IS NOT NULL"),
    )
