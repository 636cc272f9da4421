"""The ledger's tables of visits, positions and the risk register. See `schema` for the rules."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from lapel_gateway.ledger.schema import DeviceName, RowNumber, metadata

visit = Table(
    "visit",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("person", Text, nullable=False),  # who goes
    Column("team", Text, nullable=False),
    Column("device", DeviceName, ForeignKey("device.device")),  # that the person wears; NULL = none known
    Column("place", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("present", Text, nullable=False),  # people expected there
    Column("risk", Text, nullable=False),  # the planner's own note; the register's stand in ``risk``
    Column("buddy", Text, nullable=False),  # who is told first
    Column("state", String(16), nullable=False),  # protocol visit states, by name
    Column("planned_ms", BigInteger),  # when it is to begin; NULL = it was started without a plan
    Column("expected_ms", BigInteger, nullable=False),  # how long it is expected to take, extensions included
    Column("check_in_ms", BigInteger, nullable=False),  # longest time between two check-ins; 0 = none are asked for
    Column("made_by", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("amber_ms", BigInteger),  # when its time is nearly up
    Column("due_ms", BigInteger),  # when it is overdue
    Column("next_check_in_ms", BigInteger),
    Column("contact_ms", BigInteger),  # last sign of the wearer: check-in, extension, or an authentic heartbeat
    Column("beat_ms", BigInteger),  # last authentic heartbeat of its device within it
    Column("contact_wait_ms", BigInteger, nullable=False),  # silence of its device that is a loss of contact; 0 = none
    Column("lost_ms", BigInteger),  # when that was told; NULL = in contact, as far as is known
    Column("low_battery_ms", BigInteger),  # when its device's battery was told of; once a visit
    Column("next_at_ms", BigInteger),  # when it has to be looked at again; NULL = never
    Column(
        "set_ms", BigInteger, nullable=False
    ),  # when it last was; a clock set back is noticed by it; 0 = never again
    Column("ended_ms", BigInteger),
    Column("ended_by", Text),
    Column("untold", Boolean, nullable=False),  # its device has not been told how it stands
    Index("ix_visit_state", "state"),
    Index("ix_visit_next_at_ms", "next_at_ms"),
    Index("ix_visit_person", "person", "state"),
    Index("ix_visit_device", "device", "state"),
    Index("ix_visit_ended_ms", "ended_ms"),
    Index("ix_visit_set_ms", "set_ms"),
    Index("ix_visit_untold", "untold"),
    # One that runs for each person at most.
    Index("ix_visit_running", "person", unique=True, sqlite_where=text("state IN ('active', 'amber', 'overdue')")),
)

visit_log = Table(
    "visit_log",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("visit", RowNumber, ForeignKey("visit.id"), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("step", String(32), nullable=False),
    Column("who", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_visit_log_visit", "visit", "id"),
)

visit_count = Table(
    "visit_count",  # what is remembered of visits that were disposed of: that there were so many, and of which team
    metadata,
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),  # the UTC hour in which they began
    Column("team", String(128), primary_key=True),
    Column("planned", Integer, nullable=False),
    Column("started", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("overdue", Integer, nullable=False),
    Column("contact_lost", Integer, nullable=False),
)

position = Table(
    "position",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("device", DeviceName, ForeignKey("device.device"), nullable=False),
    Column("boot", BigInteger, nullable=False),  # of the event, which is kept nowhere else
    Column("counter", BigInteger, nullable=False),
    Column("visit", RowNumber, ForeignKey("visit.id")),  # of these two at least one, and it was open
    Column("alarm_id", String(48), ForeignKey("alarm.id")),
    Column("measured_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("latitude_e7", Integer, nullable=False),  # degrees times ten million, WGS 84
    Column("longitude_e7", Integer, nullable=False),
    Column("accuracy_m", Integer),  # NULL = not known
    CheckConstraint("visit IS NOT NULL OR alarm_id IS NOT NULL", name="within"),
    Index("ix_position_visit", "visit", "id"),
    Index("ix_position_alarm", "alarm_id", "id"),
    Index("ix_position_received_ms", "received_ms"),
    Index("ix_position_device", "device", "boot", "counter", unique=True),
)

risk = Table(
    "risk",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("place", Text, nullable=False),  # as written; "" = it is about a person wherever they are
    Column("place_key", Text, nullable=False),  # the place without what people write differently, and the postcode
    Column("postcode", String(8), nullable=False),  # of the place; "" = none
    Column("about", Text, nullable=False),  # the person it is about; "" = the place itself
    Column("about_key", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("owner", Text, nullable=False),  # who answers for it
    Column("review_ms", BigInteger, nullable=False),  # when it has to be looked at again
    Column("made_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("ended_by", Text),
    Index("ix_risk_place_key", "place_key"),
    Index("ix_risk_postcode", "postcode"),
    Index("ix_risk_about_key", "about_key"),
)
