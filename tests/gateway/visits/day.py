"""A lone worker, their device, and a gateway that watches over their visits, in simulated time."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.kinds import kind_name
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.visit_tables import visit as visit_table
from lapel_gateway.settings.visits import DAY_MS, DEFAULT_RULES, MINUTE_MS, VisitsSection
from lapel_gateway.visits import plans as visits
from lapel_gateway.visits.plans import Wanted
from lapel_gateway.visits.timers import VisitWatch
from lapel_protocol.command import VISIT_STATE
from lapel_protocol.event import HEARTBEAT, LOCATION, VISIT
from lapel_protocol.orders import VisitState
from lapel_protocol.reports import Heartbeat, Location, VisitNote
from tests.support.device import Message, TrueDevice
from tests.support.pair import DevicePair, bodies

ZOE, SAM = "Zoë Quinn", "Sam Ortega"
"""Who wears the first device, and their buddy."""

BEAT_MS = 80_000
"""Less often than a device does, which is often enough and saves time."""


class Day:
    """A working day: `pair` is the gateway with Zoë's device, and its clock."""

    def __init__(self, pair: DevicePair, rules: VisitsSection = DEFAULT_RULES) -> None:
        self.pair = pair
        self.rules = rules
        self.shown: list[VisitState] = []
        """What the device was told of its visits."""
        self.watch = VisitWatch(pair.engine, pair.registry, rules)
        self._beaten_ms = pair.now_ms

    @property
    def now_ms(self) -> int:
        return self.pair.now_ms

    def restart(self) -> None:
        """Kill the gateway and start it again."""
        self.pair.restart()
        self.watch = VisitWatch(self.pair.engine, self.pair.registry, self.rules)

    # -- time -------------------------------------------------------------------------------------------------------

    def pass_time(self, minutes: float, *, beats: bool = False, restarts: bool = False) -> None:
        """Let time pass from one thing that is due to the next, with heartbeats of the device or without."""
        end_ms = self.now_ms + round(minutes * MINUTE_MS)
        beat_ms = max(self.now_ms, min(self._beaten_ms, self.now_ms) + BEAT_MS) if beats else end_ms + 1
        while self.now_ms < end_ms:
            due_ms = min((row["next_at_ms"] for row in self.rows() if row["next_at_ms"] is not None), default=end_ms)
            self.pair.now_ms = max(self.now_ms + 1, min(end_ms, beat_ms, due_ms))
            if self.now_ms >= beat_ms:
                self.beat()
                beat_ms = self.now_ms + BEAT_MS
            if restarts:
                self.restart()
            self.poll()

    def poll(self) -> None:
        """What the alarms role does several times a second."""
        self._show(self.watch.turn(self.now_ms))

    def beat(self, battery: int = 79, minutes: int = 0) -> None:
        """The device's heartbeat."""
        self.tick()
        self._beaten_ms = self.now_ms
        message = self.pair.one.heartbeat()
        if (battery, minutes) != (79, 0):
            message = self._weak_beat(battery, minutes)
        self._show(self.pair.outcome(message).downlinks)

    def hello(self) -> None:
        """The device connects."""
        self.tick()
        self._show(self.pair.outcome(self.pair.one.hello()).downlinks)

    def tick(self) -> None:
        """The device's clock agrees with the gateway's."""
        self.pair.one.wall_ms = self.now_ms

    # -- people -----------------------------------------------------------------------------------------------------

    def start(self, expected_min: int = 60, check_in_min: int = 0, **more: Any) -> int:
        """Zoë's visit begins, entered by Sam; returns its number."""
        wanted = Wanted(
            **{"person": ZOE, "place": "4 High Street", "buddy": SAM, **more},
            expected_min=expected_min,
            check_in_min=check_in_min,
        )
        return visits.plan(self.pair.engine, wanted, SAM, self.now_ms, self.rules).visit

    def check_in(self, number: int = 1, who: str = SAM) -> None:
        visits.check_in_at(self.pair.engine, number, who, self.now_ms, self.rules)

    def extend(self, minutes: int, number: int = 1, who: str = SAM) -> None:
        visits.extend_by(self.pair.engine, number, minutes, who, self.now_ms, self.rules)

    def end(self, number: int = 1, who: str = SAM) -> None:
        visits.end(self.pair.engine, number, who, "", self.now_ms, self.rules)

    def resolve(self, who: str = SAM) -> None:
        """Every open alarm is answered and resolved."""
        for row in self.pair.rows("alarm", "resolved_ms IS NULL"):
            alarms.resolve(self.pair.engine, row["id"], who, "false", "", self.now_ms)

    # -- the device -------------------------------------------------------------------------------------------------

    def note(self, what: int, minutes: int = 0, visit: int = 0, said_ms: int | None = None) -> Message:
        """A word of the device about a visit, sealed at a time of its clock."""
        one = self.pair.one
        one.wall_ms = self.now_ms if said_ms is None else said_ms
        record = one.event(VISIT, VisitNote(what, minutes, visit).encode())
        self.tick()
        return one.on_event_lane(record)

    def say(self, what: int, minutes: int = 0, visit: int = 0, said_ms: int | None = None) -> None:
        """The same, received."""
        self._show(self.pair.outcome(self.note(what, minutes, visit, said_ms)).downlinks)

    def location(self, latitude: int, longitude: int, device: TrueDevice | None = None, /, **of: int) -> Message:
        """A location, 8 m near, 3 s old."""
        device = device or self.pair.one
        device.wall_ms = self.now_ms
        said = Location(latitude, longitude, 8, 3, **of)
        return device.on_event_lane(device.event(LOCATION, said.encode()))

    # -- what came of it --------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        query = sa.select(visit_table).where(visit_table.c.id > 0).order_by(visit_table.c.id)
        with reading(self.pair.engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def visit(self, number: int = 1) -> dict[str, Any]:
        return self.pair.row("visit", "id = :number", number=number)

    def state(self, number: int = 1) -> str:
        return str(self.visit(number)["state"])

    def raised(self) -> list[tuple[str, str]]:
        """(kind, whose) of every alarm."""
        return [(kind_name(row["kind"]), row["person"]) for row in self.pair.rows("alarm")]

    def steps(self, number: int = 1) -> list[tuple[str, str]]:
        rows = self.pair.rows("visit_log", "visit = :number", number=number)
        return [(row["step"], row["who"]) for row in rows]

    def amber(self) -> int:
        """How often wearer and buddy were told."""
        return self.pair.count("notice", "kind = 'visit_amber'")

    def _weak_beat(self, percent: int, minutes: int) -> Message:
        beat = Heartbeat()
        beat.challenge = self.pair.one.challenge
        beat.battery_percent, beat.battery_minutes = percent, minutes
        return self.pair.one.on_event_lane(self.pair.one.event(HEARTBEAT, beat.encode()))

    def _show(self, downlinks: list[Message]) -> None:
        if self.pair.device is None:
            return
        self.tick()
        self.shown += bodies(self.pair.one.take(downlinks), VISIT_STATE)


__all__ = ["BEAT_MS", "DAY_MS", "MINUTE_MS", "SAM", "ZOE", "Day"]
