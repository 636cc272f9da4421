"""Segment records that somebody without keys could have made: of any content, with the check that fits it."""

from __future__ import annotations

from lapel_protocol.crypto import segment_check


def with_check(record: bytes) -> bytes:
    """A whole segment record with the check field that it should have (SPEC 5.2)."""
    return record[:24] + segment_check(record).to_bytes(4, "big") + record[28:]
