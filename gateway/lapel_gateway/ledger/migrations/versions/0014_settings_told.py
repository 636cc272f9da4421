"""Which of a device's settings it was told."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("device", sa.Column("settings_told", sa.Integer(), nullable=False, server_default="0"))
