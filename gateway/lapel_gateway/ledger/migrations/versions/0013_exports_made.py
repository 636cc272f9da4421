"""Exports that are made for whoever asked for them on a clip's page."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("export_request", sa.Column("made_ms", sa.BigInteger(), nullable=True))
    op.add_column("export_request", sa.Column("made_bytes", sa.BigInteger(), nullable=True))
    op.add_column("export_request", sa.Column("made_sha256", sa.Text(), nullable=True))
    op.add_column("export_request", sa.Column("trouble", sa.Text(), nullable=False, server_default=""))
    op.create_index("ix_export_request_approved_ms", "export_request", ["approved_ms"])
