"""Whether each role is alive, and when it last came round."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "role_progress",
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("turned_ms", sa.BigInteger(), nullable=False),
        sa.Column("connected", sa.Boolean(), nullable=True),
        sa.Column("waiting_ms", sa.BigInteger(), nullable=True),
        sa.Column("backlog_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("role", name=op.f("pk_role_progress")),
    )
