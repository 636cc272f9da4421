"""Indexes that keep the cost of a chunk the same with a million clips, and the mark that pairs ledger and vault."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vault_mark",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.Column("outbox_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vault_mark")),
    )
    op.create_index(
        "ix_epoch_unknown",
        "epoch",
        ["device", "epoch"],
        unique=False,
        sqlite_where=sa.text("used_for = 'unknown'"),
    )
    op.create_index("ix_clip_device_state", "clip", ["device", "state"], unique=False)
    op.create_index("ix_clip_device_verified", "clip", ["device", "verified_ms"], unique=False)
    op.create_index(
        "ix_clip_waiting",
        "clip",
        ["device", "previous_clip"],
        unique=False,
        sqlite_where=sa.text("chain = 'waiting'"),
    )
