"""What the report of a trial needs: clips that were passed on, and counts of visits that are gone."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "disclosure",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("clip", sa.BigInteger(), nullable=False),
        sa.Column("passed_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("entered_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device", "clip"], ["clip.device", "clip.clip"], name=op.f("fk_disclosure_clip")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disclosure")),
    )
    op.create_index("ix_disclosure_clip", "disclosure", ["device", "clip"])
    op.create_index("ix_disclosure_passed_ms", "disclosure", ["passed_ms"])
    op.create_table(
        "visit_count",
        sa.Column("hour_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("team", sa.String(length=128), nullable=False),
        sa.Column("planned", sa.Integer(), nullable=False),
        sa.Column("started", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("overdue", sa.Integer(), nullable=False),
        sa.Column("contact_lost", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hour_ms", "team", name=op.f("pk_visit_count")),
    )
