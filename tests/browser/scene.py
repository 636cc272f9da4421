"""What the live page is looked at with: lone workers whose alarms, visits and positions came in as they really do."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.policies import Policies, Reach
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.ledger.visit_tables import position as positions
from lapel_gateway.overview.reader import Reader
from lapel_gateway.overview.surroundings import Surroundings
from lapel_gateway.people import set_person
from lapel_gateway.settings.visits import DEFAULT_RULES
from lapel_gateway.visits import plans
from lapel_protocol.clip import TRUST_GATEWAY
from lapel_protocol.event import ALARM_RAISED, Event, seal_event
from lapel_protocol.keys import EpochKeys, chain_next
from lapel_protocol.reports import ALARM_PANIC, ALARM_TEST, AlarmRaised
from lapel_protocol.topics import LANE_ALARM, topic
from tests.gateway.accounts.office import Office
from tests.gateway.sealed import BOOT, Site

DESK = "sms:desk"


@dataclass
class Worker:
    """Somebody with a device."""

    person: str
    device: str
    chain: bytes

    @property
    def keys(self) -> EpochKeys:
        """Of the device's boot."""
        chain = self.chain
        for _ in range(BOOT):
            chain = chain_next(chain)
        return EpochKeys(chain)


class Scene:
    """A gateway's people and what happens to them, at the office's time."""

    def __init__(self, folder: Path, office: Office) -> None:
        self.office = office
        self.engine = office.engine
        self.site = Site(folder, office.engine)
        self._made = 0

    @property
    def now_ms(self) -> int:
        return self.office.clock[0]

    def pass_time(self, ms: int) -> None:
        """The gateway's clock goes on."""
        self.office.clock[0] += ms

    def worker(self, person: str, team: str = "North", phone: str = "+44 20 7946 0018") -> Worker:
        """A new device, in contact."""
        self._made += 1
        now_ms = self.now_ms
        organisation = self.site.organisation
        package = self.site.registry.provision(
            f"camera {20 + self._made}", person, organisation, "broker", 1883, "broker", now_ms, now_ms
        )
        set_person(self.engine, person, team, phone, now_ms)
        worker = Worker(person, package.device.hex(), package.chain_key)
        self.contact(worker, battery=64)
        return worker

    def zoe(self) -> Worker:
        """The wearer of the site's own device, whose clips the site seals."""
        return Worker("Zoë Quinn", self.site.device, self.site.chain)

    def reader(self) -> Reader:
        """A reader of the picture of now; to be closed."""
        return Reader(self.engine, Surroundings())

    def contact(self, worker: Worker, battery: int) -> None:
        """The device was heard of."""
        status = json.dumps({"battery_percent": battery, "battery_minutes": battery * 6, "clips_held": 2})
        with writing(self.engine) as connection:
            mine = devices.c.device == worker.device
            connection.execute(sa.update(devices).where(mine).values(contact_ms=self.now_ms, status=status))

    def fleet(self, count: int) -> None:
        """So many devices more, every twentieth of them silent."""
        worker = self.worker("Wearer 0")
        with writing(self.engine) as connection:
            row = dict(connection.execute(sa.select(devices).where(devices.c.device == worker.device)).mappings().one())
            gone = sa.delete(devices).where(devices.c.device == self.site.device)
            connection.execute(gone)
            late_ms = self.now_ms - 3_600_000
            rows = [
                {
                    **row,
                    "device": f"{number:016x}",
                    "name": f"unit {number:04}",
                    "person": f"Wearer {number}",
                    "contact_ms": self.now_ms if number % 20 else late_ms,
                }
                for number in range(1, count + 1)
            ]
            connection.execute(sa.delete(devices).where(devices.c.device == worker.device))
            connection.execute(sa.insert(devices), rows)

    def visit(self, worker: Worker, expected_min: int = 45, check_in_min: int = 20) -> int:
        """A visit of theirs begins."""
        place, purpose = "4 High Street, back entrance", "Boiler inspection"
        wanted = plans.Wanted(
            worker.person, place, purpose, "the tenant", "dog", "Sam Ortega", expected_min, check_in_min
        )
        return plans.plan(self.engine, wanted, "Sam Ortega", self.now_ms, DEFAULT_RULES).visit

    def alarm(
        self, worker: Worker, counter: int = 2, kind: int = ALARM_PANIC, *, test: bool = False, clip: int = 0
    ) -> str:
        """They press; returns the alarm's id."""
        device = bytes.fromhex(worker.device)
        payload = AlarmRaised(kind, 61, clip, ALARM_TEST if test else 0).encode()
        event = Event(ALARM_RAISED, device, BOOT, counter, self.now_ms, 9_000, TRUST_GATEWAY, payload)
        core = AlarmCore(self.engine, self.site.registry)
        assert core.handle(topic(device, LANE_ALARM), seal_event(worker.keys, event), self.now_ms).downlinks
        Escalator(self.engine, Policies(), Reach({DESK: "Sam Ortega"})).advance(self.now_ms)
        return f"{worker.device}-{BOOT}-{counter}"

    def walk(self, worker: Worker, alarm: str, steps: int = 9) -> None:
        """Positions of an alarm, each a minute's walk from the last, the newest where they are now."""
        rows = []
        for step in range(steps):
            back = steps - 1 - step
            rows.append(
                {
                    "device": worker.device,
                    "boot": BOOT,
                    "counter": 100 + step,
                    "alarm_id": alarm,
                    "measured_ms": self.now_ms - back * 60_000,
                    "received_ms": self.now_ms - back * 60_000,
                    "latitude_e7": 515_007_000 + round(6_000 * math.sin(back / 2)) - 1_500 * back,
                    "longitude_e7": -1_246_000 - 8_000 * back,
                    "accuracy_m": 18,
                }
            )
        with writing(self.engine) as connection:
            connection.execute(sa.insert(positions), rows)
