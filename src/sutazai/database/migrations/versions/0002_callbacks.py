"""Callbacks: where to send a task's end, secrets to sign it with, and the log of deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the callbacks' tables, and a column each to tasks and jobs."""
    op.add_column("tasks", sa.Column("callback_url", sa.Text(), nullable=True))
    # For telemetry: the trace that the job belongs to.
    op.add_column("jobs", sa.Column("traceparent", sa.String(length=64), nullable=True))
    _secrets()
    _deliveries()
    _task_ends()


def _secrets() -> None:
    op.create_table(
        "callback_secrets",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("previous_until", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.user_id"],
            name=op.f("fk_callback_secrets_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_callback_secrets")),
    )
    op.create_table(
        "callback_disabled",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("url_digest", sa.String(length=64), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.user_id"],
            name=op.f("fk_callback_disabled_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "url_digest", name=op.f("pk_callback_disabled")),
    )


def _deliveries() -> None:
    op.create_table(
        "callback_deliveries",
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_callback_deliveries")),
    )
    for name, columns in {
        "ix_callback_deliveries_status": ["status", "delivery_id"],
        "ix_callback_deliveries_task_id": ["task_id"],
        "ix_callback_deliveries_user_id": ["user_id", "delivery_id"],
        "ix_callback_deliveries_ended_at": ["ended_at"],
    }.items():
        op.create_index(name, "callback_deliveries", columns, unique=False)
    op.create_table(
        "callback_attempts",
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.BigInteger(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_callback_attempts")),
    )


def _task_ends() -> None:
    """For telemetry: how many tasks ended when and how, and how long they took."""
    op.create_table(
        "task_ends",
        sa.Column("span", sa.String(length=8), nullable=False),
        sa.Column("begins_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "span", "begins_at", "status", "bucket", "slot", name=op.f("pk_task_ends")
        ),
    )
