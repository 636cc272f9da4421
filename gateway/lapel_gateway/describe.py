"""The ledger's rows in words: one form for the API, webhooks, sidecars, manifests and the command line.

Rules that hold here
- A number of the protocol becomes its name; a number without a name stays a number in words, never an error.
- Times are given in milliseconds and as RFC 3339 text; a device's time always with how far it can be believed.
- Bytes are hexadecimal. Nothing here is a secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lapel_gateway.alarms.kinds import kind_name
from lapel_gateway.devices import wanted
from lapel_protocol import names

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z: RFC 3339 knows no later time

Row = Mapping[str, Any] | sa.RowMapping


def clip_name(device: str, clip: int) -> str:
    """The one id of a clip in logs, file names and addresses."""
    return f"{device}-{clip}"


def parse_clip_name(name: str) -> tuple[str, int] | None:
    """(device, clip) of a clip's id in its one spelling; None for anything else."""
    device, _, number = name.partition("-")
    if len(device) != 16 or not number.isascii() or not number.isdigit() or len(number) > 10:
        return None
    return (device, int(number)) if clip_name(device, int(number)) == name and _is_hex(device) else None


def utc(time_ms: int | None) -> str | None:
    """RFC 3339 text of a Unix time in milliseconds; None for none, and for one that no calendar has."""
    if time_ms is None or not 0 <= time_ms <= _LAST_MS:
        return None
    text = (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def word(table: Sequence[str], number: int | None) -> str | None:
    """The name of a protocol number; None for none."""
    if number is None:
        return None
    return table[number] if 0 <= number < len(table) and table[number] else f"unknown ({number})"


def moment(time_ms: int | None, trust: int | None = None) -> dict[str, Any] | None:
    """A time; with ``trust`` a device's own, and how far it can be believed."""
    if time_ms is None:
        return None
    told: dict[str, Any] = {"ms": time_ms, "utc": utc(time_ms)}
    if trust is not None:
        told["trust"] = word(names.TRUST_NAMES, trust)
    return told


def clip_words(row: Row) -> dict[str, Any]:
    """A row of the clip table."""
    assembly = json.loads(row["assembly"]) if row["assembly"] else None
    return {
        "id": clip_name(row["device"], row["clip"]),
        "device": row["device"],
        "clip": row["clip"],
        "boot": row["boot"],
        "person": row["person"],
        "device_state": row["device_state"],
        "state": row["state"],
        "alarm": bool(row["alarm"]),
        "alarm_id": (
            f"{row['device']}-{row['alarm_boot']}-{row['alarm_counter']}" if row["alarm_boot"] is not None else None
        ),
        "started": moment(row["wall_ms"], row["trust"]),
        "started_mono_ms": row["mono_ms"],
        "ended": moment(row["end_wall_ms"], row["trust"]),
        "end_reason": word(names.CLIP_END_NAMES, row["end_reason"]),
        "cut": row["settled_by"] == "cut",
        "cut_reason": word(names.WHY_NAMES, row["cut_why"]) if row["settled_by"] == "cut" else None,
        "notice": {
            "outcome": word(names.NOTICE_NAMES, row["notice"]),
            "prompted_ms_before_start": row["prompted_ms"],
            "confirmed_ms_before_start": row["confirmed_ms"],
        },
        "segments": {
            "authentic": row["contiguous"],
            "settled": row["settled_segments"],
            "settled_by": row["settled_by"],
            "receipted": row["receipt_segments"],
        },
        "chain": {
            "position": row["chain"],
            "head": _hex(row["settled_head"] or row["head"]),
            "previous_clip": row["previous_clip"],
            "previous_head": _hex(row["previous_head"]),
        },
        "frames": {"captured": row["frames"], "dropped": row["frames_dropped"]},
        "duration_ms": row["duration_ms"],
        "organisation_key": _hex(row["key_id"]),
        "opening": row["opening"],
        "first_received": moment(row["first_ms"]),
        "verified": moment(row["verified_ms"]),
        "receipted": moment(row["receipt_ms"]),
        "missing_since": moment(row["missing_ms"]),
        "assembled": moment(row["assembled_ms"]),
        "assembly": assembly,
    }


def alarm_words(row: Row) -> dict[str, Any]:
    """A row of the alarm table."""
    return {
        "id": row["id"],
        "device": row["device"],
        "person": row["person"],
        "device_state": row["device_state"],
        "team": row["team"],
        "kind": kind_name(row["kind"]),
        "test": bool(row["test"]),
        "about": row["about"],
        "detail": row["detail"],
        "visit": row["visit"],
        "state": row["state"],
        "clip_id": clip_name(row["device"], row["clip"]) if row["clip"] else None,
        "raised": moment(row["raised_wall_ms"], row["trust"]),
        "raised_mono_ms": row["raised_mono_ms"],
        "sent_after_ms": row["sent_after_ms"],
        "sent_tries": row["sent_tries"],
        "received": moment(row["received_ms"]),
        "notified": moment(row["notified_ms"]),
        "cancelled_by_wearer": moment(row["cancelled_ms"]),
        "acknowledged": _act(row["acknowledged_ms"], row["acknowledged_by"]),
        "resolved": _act(row["resolved_ms"], row["resolved_by"]),
        "resolution": row["resolution"],
        "note": row["note"],
        "device_shows": row["device_shows"],
    }


def escalation_words(row: Row) -> dict[str, Any]:
    """A row of the escalation table."""
    return {"policy": row["policy"] or None, "steps_taken": row["taken"], "next_step": moment(row["next_at_ms"])}


def log_words(row: Row) -> dict[str, Any]:
    """A row of the alarm's log."""
    return {"at": moment(row["at_ms"]), "step": row["step"], "who": row["who"], "detail": row["detail"]}


def delivery_words(row: Row) -> dict[str, Any]:
    """A row of the delivery table with its channel."""
    return {
        "at": moment(row["at_ms"]),
        "channel": row["channel"],
        "outcome": row["outcome"],
        "detail": row["detail"],
    }


def one_line(text: str) -> str:
    """Text that a human sent, without control characters and line breaks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def device_words(row: Row) -> dict[str, Any]:
    """A row of the device table; never its key."""
    return {
        "device": row["device"],
        "name": row["name"],
        "person": row["person"],
        "state": row["state"],
        "provisioned": moment(row["provisioned_ms"]),
        "ended": moment(row["ended_ms"]),
        "cut_off": row["cut"] or None,
        "found": moment(row["found_ms"]),
        "follows": row["follows"],
        "contact": moment(row["contact_ms"]),
        "boot": row["boot"],
        "epoch": row["authenticated_epoch"],
        "status": json.loads(row["status"]) if row["status"] else None,
        "settings": wanted.settings_of(row["settings"]),
        "settings_told": wanted.version_of(row["settings"]) == row["settings_told"],
    }


def _act(time_ms: int | None, who: str | None) -> dict[str, Any] | None:
    return None if time_ms is None else {**(moment(time_ms) or {}), "by": who}


def _hex(value: bytes | None) -> str | None:
    return None if value is None else bytes(value).hex()


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)
