"""Workflows: executions for the items of a step, and not only for a step."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add which item of its parent's step an execution is for."""
    op.add_column("workflow_executions", sa.Column("parent_item", sa.Integer(), nullable=True))
