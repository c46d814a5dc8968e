"""The proof of a delivery: what to ask next, how often, by which transaction."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; of what was sent before no proof is asked."""
    for name, kind in (("proof", sa.String(16)), ("transaction_uid", sa.String(64))):
        op.add_column("delivery", sa.Column(name, kind, nullable=False, server_default=""))
        op.create_index(f"ix_delivery_{name}", "delivery", [name])
    for name in ("asked", "lost"):
        op.add_column("delivery", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
