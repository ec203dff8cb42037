"""Delegation: what tasks have done for them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the children of tasks, and the links of tasks and executions to their parents."""
    op.create_table(
        "task_children",
        sa.Column("parent_id", sa.String(length=36), nullable=False),
        sa.Column("call", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("child_id", sa.String(length=64), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("parent_id", "call", name=op.f("pk_task_children")),
    )
    op.create_index("ix_task_children_child_id", "task_children", ["child_id"], unique=False)
    op.add_column("tasks", sa.Column("parent_id", sa.String(length=36), nullable=True))
    op.create_index(
        "ix_tasks_parent_id",
        "tasks",
        ["parent_id", "task_id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
        sqlite_where=sa.text("parent_id IS NOT NULL"),
    )
    op.add_column("workflow_executions", sa.Column("task_id", sa.String(length=36), nullable=True))
