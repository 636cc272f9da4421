"""Devices that are cut off, found, and follow each other; who was handed which; self-tests."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("device", sa.Column("cut", sa.String(length=16), nullable=False, server_default=""))
    op.add_column("device", sa.Column("certificate_serial", sa.Text(), nullable=False, server_default=""))
    op.add_column("device", sa.Column("found_ms", sa.BigInteger(), nullable=True))
    op.add_column("device", sa.Column("follows", sa.String(length=16), nullable=True))
    op.create_index("ix_device_cut", "device", ["cut"])
    op.create_table(
        "self_test",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=16), nullable=True),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.device"], name=op.f("fk_self_test_device_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_self_test")),
    )
    op.create_index("ix_self_test_device", "self_test", ["device", "id"])
    op.create_table(
        "handover",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column("issued_battery", sa.Integer(), nullable=True),
        sa.Column("in_spite", sa.Text(), nullable=False),
        sa.Column("returned_ms", sa.BigInteger(), nullable=True),
        sa.Column("returned_by", sa.Text(), nullable=True),
        sa.Column("returned_battery", sa.Integer(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.device"], name=op.f("fk_handover_device_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handover")),
    )
    op.create_index("ix_handover_device", "handover", ["device", "id"])
    op.create_index("ix_handover_person", "handover", ["person", "id"])
