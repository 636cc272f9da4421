"""Releases of firmware, their roll-outs, and what each device runs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "firmware_release",
        sa.Column("release", sa.String(length=16), nullable=False),
        sa.Column("hardware", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sa.Column("content_at", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("added_ms", sa.BigInteger(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("release", name=op.f("pk_firmware_release")),
    )
    op.create_index("ix_firmware_release_number", "firmware_release", ["hardware", "number"], unique=True)
    op.create_table(
        "rollout",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("release", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release"], ["firmware_release.release"], name=op.f("fk_rollout_release_firmware_release")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout")),
    )
    op.create_index("ix_rollout_state", "rollout", ["state"])
    op.create_table(
        "device_firmware",
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("hardware", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("release", sa.String(length=16), nullable=False),
        sa.Column("trial", sa.Boolean(), nullable=False),
        sa.Column("told_ms", sa.BigInteger(), nullable=False),
        sa.Column("wanted", sa.String(length=16), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("step_release", sa.String(length=16), nullable=False),
        sa.Column("step_why", sa.String(length=16), nullable=False),
        sa.Column("step_ms", sa.BigInteger(), nullable=False),
        sa.Column("step_boot", sa.BigInteger(), nullable=False),
        sa.Column("step_counter", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.device"], name=op.f("fk_device_firmware_device_device")),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_device_firmware")),
    )
    op.create_index("ix_device_firmware_wanted", "device_firmware", ["wanted"])
    op.create_table(
        "given_up",
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("release", sa.String(length=16), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.device"], name=op.f("fk_given_up_device_device")),
        sa.PrimaryKeyConstraint("device", "release", name=op.f("pk_given_up")),
    )
