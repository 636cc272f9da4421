"""The ledger's tables: what the gateway knows, and nothing that only a process remembers.

Rules that hold here
- Every time is Unix milliseconds (UTC) unless the name says otherwise. ``*_mono_ms`` counts from the device's boot.
- A device is named by its 16 lower-case hex digits everywhere; a clip by (device, clip), an event or a device's alarm
  by (device, boot, counter). The readable names ``device-clip`` and ``device-boot-counter`` come from those. The
  gateway's own alarms are named ``gateway-time-number``.
- An event is unique by (device, boot, counter) for ever: rows may be disposed of, ``device.boot_floor`` stays.
- A clip's row never claims bytes that are not already durable in the vault.
- Whatever has to leave the gateway is an ``outbox`` row committed together with its cause.

Further tables on the same metadata: people's accounts in ``account_tables``, visits in ``visit_tables``, what devices
run in ``firmware_tables``.

A change of tables is a new file under ``migrations/versions`` and a new ``SCHEMA_REVISION``; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

SCHEMA_REVISION = "0015"
"""The revision that this code reads and writes; revisions are four digits and grow by one."""

LARGEST = (1 << 63) - 1
"""The largest number that a column holds. A device's times and sizes have 64 bits without a sign: one whose clock has
gone wild must still be able to raise an alarm, so `stored` brings them down to this; the sealed record keeps them."""


def stored(number: int) -> int:
    """A device's 64-bit number as the ledger can hold it."""
    return min(number, LARGEST)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only when the key is spelt INTEGER.
RowNumber = BigInteger().with_variant(Integer, "sqlite")
DeviceName = String(16)

# --- device.state ---
DEVICE_ACTIVE = "active"
DEVICE_RETIRED = "retired"
DEVICE_LOST = "lost"

# --- epoch.used_for ---
EPOCH_BOOT = "boot"
EPOCH_CLIP = "clip"
EPOCH_BURNED = "burned"
EPOCH_LOST = "lost"
EPOCH_UNKNOWN = "unknown"

# --- clip.settled_by: what fixed the number of segments ---
SETTLED_BY_END = "end"
SETTLED_BY_CUT = "cut"
SETTLED_BY_LOST = "lost"  # its device has lost it: what is here is all there will be

# --- clip.opening: whether the organisation's private key has proved the clip's key ---
OPENING_UNTRIED = "untried"
OPENING_PROVED = "proved"
OPENING_UNOPENABLE = "unopenable"

# --- clip.chain ---
CHAIN_UNKNOWN = "unknown"  # no header yet
CHAIN_FIRST = "first"  # the device's first clip
CHAIN_WAITING = "waiting"  # the clip before is not settled here yet
CHAIN_LINKED = "linked"  # its header names the head that the clip before settled with
CHAIN_UNSETTLED = "unsettled"  # the device did not know that head when this clip began
CHAIN_BROKEN = "broken"  # the heads differ

# --- outbox.state ---
OUTBOX_WAITING = "waiting"
OUTBOX_DONE = "done"
OUTBOX_FAILED = "failed"

# --- outbox.kind ---
OUTBOX_ALARM = "alarm"
OUTBOX_NOTICE = "notice"
OUTBOX_ASSEMBLE = "assemble"
OUTBOX_FORWARD = "forward"

device = Table(
    "device",
    metadata,
    Column("device", DeviceName, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("name", Text, nullable=False),  # the hardware's own name: what is printed on its case
    Column("person", Text, nullable=False),  # who wears it now; "" = nobody; copied into clips and alarms
    Column("minimum_suite", Integer, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),  # K_dev under the master key (keystore.py)
    Column("provisioned_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),  # when it was retired or marked lost
    Column(
        "authenticated_epoch", BigInteger, nullable=False
    ),  # newest epoch that a genuine record proved; 0 = none but CK_0
    Column("boot_floor", BigInteger, nullable=False),  # events of boots below this are refused for ever
    Column("ledger_to", BigInteger, nullable=False),  # every epoch below this one is accounted for
    Column("boot", BigInteger),  # the newest boot that a genuine record named; commands are sealed for it
    Column("hello_counter", BigInteger),  # counter of the newest hello within that boot; NULL = none said yet
    Column("nonce", LargeBinary),  # device's nonce of that hello; commands that change things carry it
    Column("command_counter", BigInteger, nullable=False),  # last counter given to a changing command
    Column("challenge", LargeBinary),  # the newest challenge sent; an answer to it is contact
    Column("challenge_ms", BigInteger),
    Column("last_challenge", LargeBinary),  # the one before, which a heartbeat on its way may still answer
    Column("contact_ms", BigInteger),  # last answer to a recent challenge
    Column("heartbeat_counter", BigInteger),  # counter of the newest heartbeat within that boot
    Column("status", Text, nullable=False),  # JSON: last hello/heartbeat in words (versions, storage, battery)
    Column("settings", Text, nullable=False),  # JSON: settings wanted on the device (devices/wanted.py)
    Column("cut", String(16), nullable=False, server_default=""),  # devices.cutting: what it is cut off from
    Column("certificate_serial", Text, nullable=False, server_default=""),  # hexadecimal; "" = it has no certificate
    Column("found_ms", BigInteger),  # when a lost one was in hand again
    Column("follows", DeviceName),  # what the same hardware was before it was provisioned anew
    Column("settings_told", Integer, nullable=False, server_default="0"),  # version that was last sent to it
    CheckConstraint("state in ('active', 'retired', 'lost')", name="state"),
    Index("ix_device_cut", "cut"),
)

self_test = Table(
    "self_test",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("device", DeviceName, ForeignKey("device.device")),  # none = hardware that is no device of ours yet
    Column("hardware", Text, nullable=False),  # the board's own serial number
    Column("at_ms", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("report", Text, nullable=False),  # JSON: what was tested, how it came out, what to do
    Index("ix_self_test_device", "device", "id"),
)

handover = Table(
    "handover",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("device", DeviceName, ForeignKey("device.device"), nullable=False),
    Column("person", Text, nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("issued_by", Text, nullable=False),
    Column("issued_battery", Integer),  # percent; none = not known
    Column("in_spite", Text, nullable=False),  # why it was issued although a check spoke against it; "" = none did
    Column("returned_ms", BigInteger),
    Column("returned_by", Text),
    Column("returned_battery", Integer),
    Column("note", Text, nullable=False),  # what was said at its return
    Index("ix_handover_device", "device", "id"),
    Index("ix_handover_person", "person", "id"),
)

device_health = Table(
    "device_health",
    metadata,
    Column("device", DeviceName, ForeignKey("device.device"), primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),  # the UTC hour, by the gateway's clock
    Column("battery_min", Integer),  # percent; NULL = not said
    Column("battery_max", Integer),
    Column("free_kib_min", BigInteger),  # of its storage
    Column("held_max", Integer),  # clips that were still on it; NULL = it was only heard to greet
    Column("heartbeats", Integer, nullable=False),
    Column("boots", Integer, nullable=False),  # how often it was switched on, or began anew
    Column("blocked", Boolean, nullable=False),  # it waited for leave to send
    Column("full", Boolean, nullable=False),  # its storage was full
    Index("ix_device_health_hour_ms", "hour_ms"),
)

epoch = Table(
    "epoch",
    metadata,
    Column("device", DeviceName, ForeignKey("device.device"), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("used_for", String(16), nullable=False),
    Column(
        "proved", Boolean, nullable=False
    ),  # by a record of the epoch itself, rather than by the device's later word
    Column("known_ms", BigInteger, nullable=False),
    CheckConstraint("used_for in ('boot', 'clip', 'burned', 'lost', 'unknown')", name="used_for"),
    Index("ix_epoch_unknown", "device", "epoch", sqlite_where=text("used_for = 'unknown'")),
)

clip = Table(
    "clip",
    metadata,
    Column("device", DeviceName, ForeignKey("device.device"), primary_key=True),
    Column("clip", BigInteger, primary_key=True, autoincrement=False),
    Column("boot", BigInteger),  # NULL until the header was verified, as are all columns that come from it
    Column("person", Text, nullable=False),
    Column("device_state", String(16), nullable=False),  # of the device when the header came
    Column("state", String(16), nullable=False),  # protocol custody states, by name
    Column("alarm", Boolean, nullable=False),
    Column("alarm_boot", BigInteger),  # the alarm that started it; NULL where none did
    Column("alarm_counter", BigInteger),
    Column("flags", Integer),
    Column("suite", Integer),
    Column("wall_ms", BigInteger),
    Column("mono_ms", BigInteger),
    Column("trust", Integer),
    Column("notice", Integer),  # notice outcome as in the header
    Column("prompted_ms", BigInteger),  # before the start
    Column("confirmed_ms", BigInteger),
    Column("codec", Integer),
    Column("key_id", LargeBinary),
    Column("previous_clip", BigInteger),  # NULL = none known
    Column("previous_head", LargeBinary),
    Column("chain", String(16), nullable=False),  # how it follows the clip before: CHAIN_...
    Column("opening", String(16), nullable=False),
    Column("contiguous", BigInteger, nullable=False),  # authentic segments from the first, without a gap
    Column("head", LargeBinary),  # head over the header and those segments
    Column("extents", LargeBinary, nullable=False),  # authentic segments beyond the gap: pairs of u32 BE (first, count)
    Column(
        "sealed_bytes", BigInteger, nullable=False
    ),  # length of the vault file as far as it has no gap, end included
    Column("settled_by", String(8)),  # NULL while recording or unsettled
    Column("settled_segments", BigInteger),
    Column("settled_head", LargeBinary),
    Column("cut_boot", BigInteger),  # the CUT event that settled it; a later one replaces it
    Column("cut_counter", BigInteger),
    Column("cut_why", Integer),
    Column("end_record", LargeBinary),  # waits here until it can follow the last segment in the vault
    Column("end_reason", Integer),
    Column("duration_ms", BigInteger),
    Column("plain_bytes", BigInteger),
    Column("end_wall_ms", BigInteger),
    Column("end_mono_ms", BigInteger),
    Column("frames", BigInteger),  # as the device counted them in the end record
    Column("frames_dropped", BigInteger),
    Column(
        "receipt_segments", BigInteger
    ),  # what the newest receipt named; fewer than settled = a shorter authentic prefix
    Column("receipt_ms", BigInteger),
    Column("first_ms", BigInteger, nullable=False),  # first authentic record received, or noticed missing
    # When it began, as people look for it: by its device's clock where that can be believed, else ``first_ms``.
    Column("start_ms", BigInteger, nullable=False, server_default="0"),
    Column("header_ms", BigInteger),
    Column("verified_ms", BigInteger),
    Column("missing_ms", BigInteger),  # named by the chain or the epoch ledger, its header not received yet
    Column("assembled_ms", BigInteger),
    Column("assembly", Text),  # JSON written by assembly: paths, frames, why sealed
    Index("ix_clip_state", "state"),
    Index("ix_clip_first_ms", "first_ms"),
    # For what is asked with every batch, heartbeat or hello: none of it may grow with the number of clips held.
    Index("ix_clip_device_state", "device", "state"),
    Index("ix_clip_device_verified", "device", "verified_ms"),
    Index("ix_clip_waiting", "device", "previous_clip", sqlite_where=text("chain = 'waiting'")),
    # For whoever looks for clips: the newest of all, of a person, of a device, of alarms, page by page.
    Index("ix_clip_start", "start_ms", "device", "clip"),
    Index("ix_clip_person", "person", "start_ms", "device", "clip"),
    Index("ix_clip_device_start", "device", "start_ms", "clip"),
    Index("ix_clip_alarm", "start_ms", "device", "clip", sqlite_where=text("alarm = 1")),
)

disclosure = Table(
    "disclosure",  # that a clip was passed on, to whom, and why
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("device", DeviceName, nullable=False),
    Column("clip", BigInteger, nullable=False),
    Column("passed_ms", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),  # of recipient: viewing/disclosures.py
    Column("recipient", Text, nullable=False),
    Column("reference", Text, nullable=False),  # theirs, of the case; "" = none was given
    Column("by", Text, nullable=False),
    Column("entered_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(["device", "clip"], ["clip.device", "clip.clip"], name="fk_disclosure_clip"),
    Index("ix_disclosure_clip", "device", "clip"),
    Index("ix_disclosure_passed_ms", "passed_ms"),
)

clip_view = Table(
    "clip_view",  # that somebody looked at a clip, and why; only ever added to (triggers)
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("device", DeviceName, nullable=False),
    Column("clip", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("how", String(8), nullable=False),  # session, token
    Column("session", RowNumber),  # number of the session; NULL = by a token
    Column("kind", String(16), nullable=False),  # of reason: viewing/looks.py
    Column("reason", Text, nullable=False),
    Column("reference", Text, nullable=False),  # of a case; "" = none was given
    ForeignKeyConstraint(["device", "clip"], ["clip.device", "clip.clip"], name="fk_clip_view_clip"),
    Index("ix_clip_view_clip", "device", "clip", "by", "at_ms"),
    Index("ix_clip_view_by", "by", "id"),
)

export_request = Table(
    "export_request",  # that somebody wants to export a clip, and who else agreed
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("device", DeviceName, nullable=False),
    Column("clip", BigInteger, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("reference", Text, nullable=False),  # of a case; "" = none was given
    Column("approved_ms", BigInteger),
    Column("approved_by", Text),  # whoever asked where one is enough
    Column("made_ms", BigInteger),  # its file; NULL = none was made yet
    Column("made_bytes", BigInteger),
    Column("made_sha256", Text),
    Column("trouble", Text, nullable=False, server_default=""),  # why it could not be made when that was last tried
    ForeignKeyConstraint(["device", "clip"], ["clip.device", "clip.clip"], name="fk_export_request_clip"),
    Index("ix_export_request_clip", "device", "clip", "id"),
    Index("ix_export_request_approved_ms", "approved_ms"),  # asked for every second
)

vault_mark = Table(
    "vault_mark",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("mark", LargeBinary, nullable=False),  # the one in the vault that agreed with this ledger at a start
    Column("outbox_id", BigInteger, nullable=False),  # the newest outbox row then
)

event = Table(
    "event",
    metadata,
    Column("device", DeviceName, ForeignKey("device.device"), primary_key=True),
    Column("boot", BigInteger, primary_key=True, autoincrement=False),
    Column("counter", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Integer, nullable=False),
    Column("wall_ms", BigInteger, nullable=False),
    Column("mono_ms", BigInteger, nullable=False),
    Column("trust", Integer, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # opened
    Column("record", LargeBinary, nullable=False),  # sealed, byte for byte as it came
    Index("ix_event_received_ms", "received_ms"),
)

alarm = Table(
    "alarm",
    metadata,
    Column("id", String(48), primary_key=True),  # device-boot-counter, or gateway-time-number for the gateway's own
    Column("device", DeviceName, ForeignKey("device.device")),  # NULL = of the gateway itself
    Column("boot", BigInteger),  # NULL where no device's record raised it
    Column("counter", BigInteger),
    Column("kind", Integer, nullable=False),  # alarms/kinds.py
    Column("about", Text, nullable=False),  # what a gateway's own alarm is about (a channel, a clip, a folder); else ""
    Column("detail", Text, nullable=False),  # what is wrong and what to do, of a gateway's own alarm; else ""
    Column("test", Boolean, nullable=False),  # a drill
    Column("state", String(16), nullable=False),  # protocol alarm states of the gateway, by name
    Column("person", Text, nullable=False),
    Column("team", Text, nullable=False),  # of that person when it came; "" = none
    Column("visit", RowNumber, ForeignKey("visit.id")),  # the visit that its person was on
    Column("device_state", String(16), nullable=False),  # of the device when it came: a lost device's alarm says so
    Column("clip", BigInteger),  # the clip recorded with it, once known
    Column("raised_wall_ms", BigInteger, nullable=False),
    Column("raised_mono_ms", BigInteger, nullable=False),
    Column("trust", Integer, nullable=False),
    Column("battery_percent", Integer),
    Column("received_ms", BigInteger, nullable=False),
    Column("notified_ms", BigInteger),  # when a channel first took it
    Column("cancelled_ms", BigInteger),  # the wearer's cancel as received; the alarm still wants a human
    Column("acknowledged_ms", BigInteger),
    Column("acknowledged_by", Text),
    Column("resolved_ms", BigInteger),
    Column("resolved_by", Text),
    Column("resolution", String(16)),  # true, false, test
    Column("note", Text),
    Column("device_shows", String(16)),  # what the device last said it shows; NULL = not said
    Column("untold", Boolean, nullable=False),  # acknowledged or resolved, and the device was not told yet
    Column("sent_after_ms", BigInteger),  # from the press until it had left the device, as that says; NULL = not said
    Column("sent_tries", Integer),  # how often it was sent until its receipt
    Index("ix_alarm_state", "state"),
    Index("ix_alarm_untold", "untold"),
    Index("ix_alarm_received_ms", "received_ms"),
    Index("ix_alarm_visit", "visit"),
    Index("ix_alarm_open", "kind", "about", sqlite_where=text("resolved_ms IS NULL")),
    Index("ix_alarm_device", "device", "boot", "counter", unique=True),
)

alarm_log = Table(
    "alarm_log",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("alarm_id", String(48), ForeignKey("alarm.id"), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("step", String(32), nullable=False),
    Column("who", Text, nullable=False),  # a user's name, "device", or the part of the gateway that acted
    Column("detail", Text, nullable=False),
    Index("ix_alarm_log_alarm", "alarm_id", "id"),
)

escalation = Table(
    "escalation",
    metadata,
    Column("alarm_id", String(48), ForeignKey("alarm.id"), primary_key=True),
    Column("policy", Text, nullable=False),  # its name when the alarm came
    Column("plan", Text, nullable=False),  # JSON: its steps then, so that a change of settings never skips one
    Column("taken", Integer, nullable=False),  # steps taken so far, repeats and the catch-all's rounds included
    Column("taken_ms", BigInteger, nullable=False),  # when the last of them was
    Column("next_at_ms", BigInteger),  # when the next one is due; NULL = answered, nothing is due any more
    Index("ix_escalation_next_at_ms", "next_at_ms"),
)

person = Table(
    "person",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("team", Text, nullable=False),
    Column("phone", Text, nullable=False),  # for who has to reach them; "" = not given
    Column("changed_ms", BigInteger, nullable=False),
)

notice = Table(
    "notice",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),  # unverified_alarm, unopenable, ...: what operators must be told
    Column("device", Text, nullable=False),  # as claimed: it may name no device of ours
    Column("subject", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_notice_at_ms", "at_ms"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column(
        "channel", String(64), nullable=False
    ),  # "" = every configured channel of the kind: the deliver role fans it out
    Column("key", String(160), nullable=False, unique=True),  # idempotency: the same cause never makes two rows
    Column("subject", Text, nullable=False),  # readable id of the alarm, clip or notice
    Column("payload", Text, nullable=False),  # JSON
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("leased_until_ms", BigInteger),  # a worker that died leaves a lease that runs out
    Column("done_ms", BigInteger),
    Column("withdrawn_ms", BigInteger),  # done without being delivered: its alarm was answered before
    Column("last_error", Text, nullable=False),
    Index("ix_outbox_due", "state", "next_at_ms"),
    CheckConstraint("state in ('waiting', 'done', 'failed')", name="state"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("outbox_id", RowNumber, ForeignKey("outbox.id"), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("took_ms", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),  # delivered, retry, refused, skipped
    Column("detail", Text, nullable=False),
    Index("ix_delivery_outbox", "outbox_id", "id"),
)

channel_health = Table(
    "channel_health",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("part", String(16), primary_key=True),  # delivery, or link where that is tested
    Column("good_ms", BigInteger),  # when it last worked
    Column("tried_ms", BigInteger, nullable=False),
    Column("failing_ms", BigInteger),  # since when it fails; none = it does not
    Column("error", Text, nullable=False),
)

role_progress = Table(
    "role_progress",
    metadata,
    Column("role", String(16), primary_key=True),  # one that runs, or died: in order it takes its row with it
    Column("started_ms", BigInteger, nullable=False),
    Column("turned_ms", BigInteger, nullable=False),  # when its own thread last came round
    Column("connected", Boolean),  # whether the broker has all its subscriptions; NULL = it has none
    Column("waiting_ms", BigInteger),  # since when the oldest message that it read waits to be taken; NULL = none does
    Column("backlog_bytes", BigInteger, nullable=False),  # read from the broker and not looked at yet
)

tally = Table(
    "tally",
    metadata,
    Column("device", DeviceName, primary_key=True),  # "" = nobody we know
    Column("reason", String(48), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
)
