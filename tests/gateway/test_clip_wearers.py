"""Whose a clip is: of whoever had the device when it began, however late it comes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import handover
from lapel_protocol.clip import TRUST_GATEWAY, TRUST_NONE, seal_clip_header
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import NOW_MS, SealedClip, Site

MINUTE_MS = 60_000
PRESENT = "Zoë Quinn"
"""Who wears the device now."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_ledger(tmp_path) as engine:
        yield Site(tmp_path, engine)


def had(site: Site, person: str, from_min: int, to_min: int | None) -> None:
    """That somebody had the device, in minutes after the clip began."""
    ended = None if to_min is None else NOW_MS + to_min * MINUTE_MS
    values = {"person": person, "issued_ms": NOW_MS + from_min * MINUTE_MS, "issued_by": "Tess", "in_spite": ""}
    with writing(site.engine) as connection:
        connection.execute(
            sa.insert(handover).values(device=site.device, returned_ms=ended, returned_by="Tess", note="", **values)
        )


def whose(site: Site, sealed: SealedClip) -> tuple[str, int]:
    with reading(site.engine) as connection:
        row = connection.execute(sa.select(clips).where(clips.c.clip == sealed.clip)).one()
    return row.person, row.start_ms


def test_a_clip_that_comes_in_after_its_device_changed_hands_is_of_whoever_recorded_it(site: Site) -> None:
    had(site, "Ann Archer", -600, -60)
    had(site, "Ben Bow", -30, 10)
    had(site, PRESENT, 20, None)
    sealed = site.seal(b"plain" * 2000)

    site.hold(sealed, now_ms=NOW_MS + 30 * MINUTE_MS)

    assert whose(site, sealed) == ("Ben Bow", NOW_MS)


@pytest.mark.parametrize(("from_min", "to_min"), [(-60, -1), (1, 2), (-60, None)])
def test_a_clip_of_no_handover_that_is_over_is_of_the_present_wearer(
    site: Site, from_min: int, to_min: int | None
) -> None:
    had(site, "Ann Archer", from_min, to_min)
    sealed = site.seal(b"plain")

    site.hold(sealed)

    assert whose(site, sealed) == (PRESENT, NOW_MS)


@pytest.mark.parametrize(
    ("wall_ms", "trust"), [(NOW_MS, TRUST_NONE), (NOW_MS + 24 * 60 * MINUTE_MS, TRUST_GATEWAY), ((1 << 64) - 1, 1)]
)
def test_a_clock_that_cannot_be_believed_dates_no_clip_and_names_nobody(site: Site, wall_ms: int, trust: int) -> None:
    had(site, "Ann Archer", -600, 100_000)
    sealed = site.seal(b"plain")
    sealed.header.wall_ms, sealed.header.trust = wall_ms, trust
    sealed.header_record, _ = seal_clip_header(sealed.header, site.epoch_keys(sealed.clip), bytes(32))

    sealed.segments, sealed.end_record = [], b""

    site.hold(sealed)

    assert whose(site, sealed) == (PRESENT, NOW_MS + 4000)
