"""What is remembered of findings."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of dismissals and of reviews by project."""
    op.create_table(
        "finding_dismissals",
        sa.Column("project", sa.String(length=1024), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("dismissed_by", sa.String(length=64), nullable=False),
        sa.Column("dismissed_at", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint(
            "project", "fingerprint", "owner", name=op.f("pk_finding_dismissals")
        ),
    )
    op.create_table(
        "finding_reviews",
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=1024), nullable=False),
        sa.Column("commit_id", sa.String(length=64), nullable=True),
        sa.Column("noted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_finding_reviews")),
    )
    op.create_index(
        "ix_finding_reviews_project", "finding_reviews", ["project", "noted_at"], unique=False
    )
