"""Whether a device's firmware is executed in place, where only a cable changes it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("device_firmware", sa.Column("fixed", sa.Boolean(), nullable=False, server_default=sa.false()))
