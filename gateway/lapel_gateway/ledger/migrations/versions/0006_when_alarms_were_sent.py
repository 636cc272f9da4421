"""When an alarm left its device, and at which try the gateway had it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of earlier alarms nobody knows.
    op.add_column("alarm", sa.Column("sent_after_ms", sa.BigInteger(), nullable=True))
    op.add_column("alarm", sa.Column("sent_tries", sa.Integer(), nullable=True))
