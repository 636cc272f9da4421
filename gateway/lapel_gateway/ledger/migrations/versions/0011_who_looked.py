"""Who looked at clips and why, who agreed to an export, and clips in the order of their beginning."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("clip", sa.Column("start_ms", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(
        "UPDATE clip SET start_ms = CASE WHEN wall_ms IS NULL OR trust = 0 OR wall_ms > first_ms + 3600000 "
        "THEN first_ms ELSE wall_ms END"
    )
    op.create_index("ix_clip_start", "clip", ["start_ms", "device", "clip"])
    op.create_index("ix_clip_person", "clip", ["person", "start_ms", "device", "clip"])
    op.create_index("ix_clip_device_start", "clip", ["device", "start_ms", "clip"])
    op.create_index("ix_clip_alarm", "clip", ["start_ms", "device", "clip"], sqlite_where=sa.text("alarm = 1"))
    op.create_table(
        "clip_view",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("clip", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("how", sa.String(length=8), nullable=False),
        sa.Column("session", _NUMBER, nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device", "clip"], ["clip.device", "clip.clip"], name=op.f("fk_clip_view_clip")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clip_view")),
    )
    op.create_index("ix_clip_view_clip", "clip_view", ["device", "clip", "by", "at_ms"])
    op.create_index("ix_clip_view_by", "clip_view", ["by", "id"])
    op.create_table(
        "export_request",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("clip", sa.BigInteger(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("approved_ms", sa.BigInteger(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["device", "clip"], ["clip.device", "clip.clip"], name=op.f("fk_export_request_clip")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export_request")),
    )
    op.create_index("ix_export_request_clip", "export_request", ["device", "clip", "id"])
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER clip_view_no_{change.lower()} BEFORE {change} ON clip_view "
            "BEGIN SELECT RAISE(ABORT, 'who looked at clips is only ever added to'); END"
        )
