"""Visits, risks and people in words: one form for the API, the command line and pages. See `describe`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lapel_gateway.describe import Row, moment
from lapel_gateway.people import Person
from lapel_gateway.settings.visits import MINUTE_MS
from lapel_gateway.visits.risk_register import Risk


def visit_words(row: Row) -> dict[str, Any]:
    """A row of the visit table."""
    return {
        "id": row["id"],
        "person": row["person"],
        "team": row["team"],
        "device": row["device"],
        "place": row["place"],
        "purpose": row["purpose"],
        "present": row["present"],
        "risk": row["risk"],
        "buddy": row["buddy"],
        "state": row["state"],
        "planned": moment(row["planned_ms"]),
        "expected_min": row["expected_ms"] // MINUTE_MS,
        "check_in_min": row["check_in_ms"] // MINUTE_MS,
        "made": {**(moment(row["made_ms"]) or {}), "by": row["made_by"]},
        "started": moment(row["started_ms"]),
        "due": moment(row["due_ms"]),
        "next_check_in": moment(row["next_check_in_ms"]),
        "contact": moment(row["contact_ms"]),
        "contact_lost": moment(row["lost_ms"]),
        "ended": None if row["ended_ms"] is None else {**(moment(row["ended_ms"]) or {}), "by": row["ended_by"]},
    }


def position_words(row: Row) -> dict[str, Any]:
    """A row of the position table: degrees, WGS 84."""
    return {
        "measured": moment(row["measured_ms"]),
        "received": moment(row["received_ms"]),
        "latitude": row["latitude_e7"] / 1e7,
        "longitude": row["longitude_e7"] / 1e7,
        "accuracy_m": row["accuracy_m"],
    }


def risk_words(risk: Risk) -> dict[str, Any]:
    """An entry of the risk register."""
    return {
        "id": risk.id,
        "place": risk.place,
        "about": risk.about,
        "note": risk.note,
        "owner": risk.owner,
        "review": moment(risk.review_ms),
        "review_overdue": risk.overdue,
        "made": moment(risk.made_ms),
        "ended": None if risk.ended_ms is None else {**(moment(risk.ended_ms) or {}), "by": risk.ended_by},
    }


def person_words(person: Person) -> dict[str, Any]:
    """A person with their team and telephone number."""
    return asdict(person)
