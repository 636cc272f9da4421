"""How devices fared, hour by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "device_health",
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("battery_min", sa.Integer(), nullable=True),
        sa.Column("battery_max", sa.Integer(), nullable=True),
        sa.Column("free_kib_min", sa.BigInteger(), nullable=True),
        sa.Column("held_max", sa.Integer(), nullable=True),
        sa.Column("heartbeats", sa.Integer(), nullable=False),
        sa.Column("boots", sa.Integer(), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("full", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.device"], name=op.f("fk_device_health_device_device")),
        sa.PrimaryKeyConstraint("device", "hour_ms", name=op.f("pk_device_health")),
    )
    op.create_index("ix_device_health_hour_ms", "device_health", ["hour_ms"])
