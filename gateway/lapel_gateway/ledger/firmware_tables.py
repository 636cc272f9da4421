"""The ledger's tables of firmware: releases, roll-outs, and what each device runs. See `schema` for the rules."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, false

from lapel_gateway.ledger.schema import DeviceName, RowNumber, metadata

firmware_release = Table(
    "firmware_release",
    metadata,
    Column("release", String(16), primary_key=True),  # its id: the first 8 bytes of its manifest's SHA-256, in hex
    Column("hardware", String(16), nullable=False),  # the kind of board that it is for
    Column("number", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("floor", BigInteger, nullable=False),
    Column("content_at", Integer, nullable=False),  # where the contents begin in the file
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),  # of the file
    Column("added_ms", BigInteger, nullable=False),
    Column("added_by", Text, nullable=False),
    Index("ix_firmware_release_number", "hardware", "number", unique=True),
)

rollout = Table(
    "rollout",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("release", String(16), ForeignKey("firmware_release.release"), nullable=False),
    Column("scope", String(8), nullable=False),  # device, team, all
    Column("target", Text, nullable=False),  # the device or the team; "" for all
    Column("state", String(8), nullable=False),  # running, paused, ended
    Column("made_by", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),  # when its state was last set: devices that gave up try anew
    Index("ix_rollout_state", "state"),
)

device_firmware = Table(
    "device_firmware",
    metadata,
    Column("device", DeviceName, ForeignKey("device.device"), primary_key=True),  # one whose loader says what it runs
    Column("hardware", String(16), nullable=False),  # all of these as its last hello said
    Column("number", BigInteger, nullable=False),
    Column("release", String(16), nullable=False),
    Column("trial", Boolean, nullable=False),
    Column("fixed", Boolean, nullable=False, server_default=false()),  # executed in place: only a cable changes it
    Column("told_ms", BigInteger, nullable=False),
    Column("wanted", String(16), nullable=False),  # the release last offered since that hello; "" = none
    Column("step", String(16), nullable=False),  # its newest word about an update; "" = none yet
    Column("step_release", String(16), nullable=False),
    Column("step_why", String(16), nullable=False),
    Column("step_ms", BigInteger, nullable=False),
    Column("step_boot", BigInteger, nullable=False),  # of the event that said so
    Column("step_counter", BigInteger, nullable=False),
    Index("ix_device_firmware_wanted", "wanted"),
)

given_up = Table(
    "given_up",
    metadata,
    Column("device", DeviceName, ForeignKey("device.device"), primary_key=True),
    Column("release", String(16), primary_key=True),  # one that the device gave up, or rolled back
    Column("at_ms", BigInteger, nullable=False),
)
