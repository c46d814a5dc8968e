"""Indexes of what the sweep asks for each second: jobs that somebody must still be told of."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them."""
    unanswered = sa.text("answered != reason")
    op.create_index(
        "ix_job_unanswered",
        "job",
        ["opened_at", "state"],
        sqlite_where=unanswered,
        postgresql_where=unanswered,
    )
    op.create_index(
        "ix_job_rejected",
        "job",
        ["opened_at"],
        sqlite_where=sa.text("rejected = 1"),
        postgresql_where=sa.text("rejected"),
    )
    op.drop_index(op.f("ix_delivery_job_id"), "delivery")
    op.create_index("ix_delivery_job_id_state", "delivery", ["job_id", "state"])
