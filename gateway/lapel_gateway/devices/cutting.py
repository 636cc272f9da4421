"""Devices that are cut off at the broker: lost ones, and those that are out of service.

Rules that hold here
- To cut a device off takes it the broker's lanes at once and its certificate at the broker's next start. What it sent
  before and still arrives is verified as ever, and labelled.
- A lost device may be left its alarm lane: somebody may be in need beside it. Whoever holds it can then raise alarms,
  and nothing else.
- The word on it is the ledger's. Whichever process looks after the broker sees it there and carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import device as devices

CUT_ALL = "all"
CUT_TO_ALARMS = "to alarms"


@dataclass(frozen=True)
class CutOff:
    """Who is cut off. Devices are named by 16 hex digits, certificates by their serial numbers."""

    devices: Mapping[str, str] = field(default_factory=dict)
    """Device to CUT_ALL or CUT_TO_ALARMS."""
    serials: tuple[int, ...] = ()
    """Of the certificates that are good for nothing any more."""


NOBODY = CutOff()

# Larger than, rather than other than: that is asked of the index, twice a second.
_CUT = sa.select(devices.c.device, devices.c.cut, devices.c.certificate_serial).where(devices.c.cut > "")


def read_cut_off(engine: sa.Engine) -> CutOff:
    """Who is cut off now, by the ledger."""
    with reading(engine) as connection:
        rows = connection.execute(_CUT.order_by(devices.c.device)).all()
    serials = (int(row.certificate_serial, 16) for row in rows if row.cut == CUT_ALL and row.certificate_serial)
    return CutOff({row.device: row.cut for row in rows}, tuple(serials))
