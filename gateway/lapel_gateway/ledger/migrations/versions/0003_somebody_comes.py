"""Escalations, visits, people, positions, the risk register; alarms that the gateway raises itself."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KEPT = (
    "id, device, boot, counter, kind, state, person, device_state, clip, raised_wall_ms, raised_mono_ms, trust, "
    "battery_percent, received_ms, cancelled_ms, acknowledged_ms, acknowledged_by, resolved_ms, resolved_by, "
    "resolution, note, device_shows, untold"
)


def upgrade() -> None:
    _people_and_visits()
    _alarms()
    op.create_table(
        "escalation",
        sa.Column("alarm_id", sa.String(length=48), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("taken_ms", sa.BigInteger(), nullable=False),
        sa.Column("next_at_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_escalation_alarm_id_alarm")),
        sa.PrimaryKeyConstraint("alarm_id", name=op.f("pk_escalation")),
    )
    op.create_index("ix_escalation_next_at_ms", "escalation", ["next_at_ms"])
    # What nobody has answered goes on: its first step, taken long ago, is followed by the policy's as it is now.
    op.execute(
        "INSERT INTO escalation (alarm_id, policy, plan, taken, taken_ms, next_at_ms) "
        "SELECT id, '', '', 0, received_ms, received_ms FROM alarm "
        "WHERE acknowledged_ms IS NULL AND resolved_ms IS NULL"
    )
    op.add_column("outbox", sa.Column("withdrawn_ms", sa.BigInteger(), nullable=True))
    op.create_table(
        "position",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("visit", _NUMBER, nullable=True),
        sa.Column("alarm_id", sa.String(length=48), nullable=True),
        sa.Column("measured_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("latitude_e7", sa.Integer(), nullable=False),
        sa.Column("longitude_e7", sa.Integer(), nullable=False),
        sa.Column("accuracy_m", sa.Integer(), nullable=True),
        sa.CheckConstraint("visit IS NOT NULL OR alarm_id IS NOT NULL", name=op.f("ck_position_within")),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_position_alarm_id_alarm")),
        sa.ForeignKeyConstraint(["device"], ["device.device"], name=op.f("fk_position_device_device")),
        sa.ForeignKeyConstraint(["visit"], ["visit.id"], name=op.f("fk_position_visit_visit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_position")),
    )
    op.create_index("ix_position_visit", "position", ["visit", "id"])
    op.create_index("ix_position_alarm", "position", ["alarm_id", "id"])
    op.create_index("ix_position_received_ms", "position", ["received_ms"])
    op.create_index("ix_position_device", "position", ["device", "boot", "counter"], unique=True)


def _people_and_visits() -> None:
    op.create_table(
        "person",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_person")),
    )
    op.create_table(
        "visit",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("device", sa.String(length=16), nullable=True),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("present", sa.Text(), nullable=False),
        sa.Column("risk", sa.Text(), nullable=False),
        sa.Column("buddy", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("planned_ms", sa.BigInteger(), nullable=True),
        sa.Column("expected_ms", sa.BigInteger(), nullable=False),
        sa.Column("check_in_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=True),
        sa.Column("amber_ms", sa.BigInteger(), nullable=True),
        sa.Column("due_ms", sa.BigInteger(), nullable=True),
        sa.Column("next_check_in_ms", sa.BigInteger(), nullable=True),
        sa.Column("contact_ms", sa.BigInteger(), nullable=True),
        sa.Column("beat_ms", sa.BigInteger(), nullable=True),
        sa.Column("contact_wait_ms", sa.BigInteger(), nullable=False),
        sa.Column("lost_ms", sa.BigInteger(), nullable=True),
        sa.Column("low_battery_ms", sa.BigInteger(), nullable=True),
        sa.Column("next_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("set_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("untold", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.device"], name=op.f("fk_visit_device_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visit")),
    )
    op.create_index("ix_visit_state", "visit", ["state"])
    op.create_index("ix_visit_next_at_ms", "visit", ["next_at_ms"])
    op.create_index("ix_visit_person", "visit", ["person", "state"])
    op.create_index("ix_visit_device", "visit", ["device", "state"])
    op.create_index("ix_visit_ended_ms", "visit", ["ended_ms"])
    op.create_index("ix_visit_set_ms", "visit", ["set_ms"])
    op.create_index("ix_visit_untold", "visit", ["untold"])
    running = sa.text("state IN ('active', 'amber', 'overdue')")
    op.create_index("ix_visit_running", "visit", ["person"], unique=True, sqlite_where=running)
    op.create_table(
        "visit_log",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("visit", _NUMBER, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["visit"], ["visit.id"], name=op.f("fk_visit_log_visit_visit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visit_log")),
    )
    op.create_index("ix_visit_log_visit", "visit_log", ["visit", "id"])
    op.create_table(
        "risk",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("place_key", sa.Text(), nullable=False),
        sa.Column("postcode", sa.String(length=8), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("about_key", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("review_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_risk")),
    )
    op.create_index("ix_risk_place_key", "risk", ["place_key"])
    op.create_index("ix_risk_postcode", "risk", ["postcode"])
    op.create_index("ix_risk_about_key", "risk", ["about_key"])


def _alarms() -> None:
    """The alarm table made anew, because SQLite lets no column become optional; its log refers to it and goes along."""
    op.execute("CREATE TABLE kept_log AS SELECT * FROM alarm_log")
    op.execute("CREATE TABLE kept_alarm AS SELECT * FROM alarm")
    op.drop_table("alarm_log")
    op.drop_table("alarm")
    op.create_table(
        "alarm",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("device", sa.String(length=16), nullable=True),
        sa.Column("boot", sa.BigInteger(), nullable=True),
        sa.Column("counter", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("test", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("visit", _NUMBER, nullable=True),
        sa.Column("device_state", sa.String(length=16), nullable=False),
        sa.Column("clip", sa.BigInteger(), nullable=True),
        sa.Column("raised_wall_ms", sa.BigInteger(), nullable=False),
        sa.Column("raised_mono_ms", sa.BigInteger(), nullable=False),
        sa.Column("trust", sa.Integer(), nullable=False),
        sa.Column("battery_percent", sa.Integer(), nullable=True),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("notified_ms", sa.BigInteger(), nullable=True),
        sa.Column("cancelled_ms", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_ms", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("resolved_ms", sa.BigInteger(), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("resolution", sa.String(length=16), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("device_shows", sa.String(length=16), nullable=True),
        sa.Column("untold", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.device"], name=op.f("fk_alarm_device_device")),
        sa.ForeignKeyConstraint(["visit"], ["visit.id"], name=op.f("fk_alarm_visit_visit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.execute(f"INSERT INTO alarm (about, detail, test, team, {_KEPT}) SELECT '', '', 0, '', {_KEPT} FROM kept_alarm")
    op.create_table(
        "alarm_log",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("alarm_id", sa.String(length=48), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_alarm_log_alarm_id_alarm")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_log")),
    )
    op.execute("INSERT INTO alarm_log SELECT * FROM kept_log")
    op.execute("DROP TABLE kept_log")
    op.execute("DROP TABLE kept_alarm")
    op.create_index("ix_alarm_log_alarm", "alarm_log", ["alarm_id", "id"])
    op.create_index("ix_alarm_state", "alarm", ["state"])
    op.create_index("ix_alarm_untold", "alarm", ["untold"])
    op.create_index("ix_alarm_received_ms", "alarm", ["received_ms"])
    op.create_index("ix_alarm_visit", "alarm", ["visit"])
    op.create_index("ix_alarm_open", "alarm", ["kind", "about"], sqlite_where=sa.text("resolved_ms IS NULL"))
    op.create_index("ix_alarm_device", "alarm", ["device", "boot", "counter"], unique=True)
