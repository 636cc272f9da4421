"""Six months of three teams: alarms through the gateway's real cores, and a raw journal of what happened outside it.

The journal is written by those it happens to, as it happens, a JSON object a line: devices that are pressed, channels
that ring, people who answer. Nothing in it is read from the ledger, with one exception: the id of an alarm that the
gateway raised itself, which it tells when it raises it. `at` is true time in Unix milliseconds, the gateway's clock.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.core import OwnAlarm
from lapel_gateway.alarms.kinds import CONTACT_LOST, VISIT_OVERDUE
from lapel_gateway.alarms.own import Concern, raise_own
from lapel_gateway.alarms.policies import Policies, Policy, Step
from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.ledger import writing
from lapel_gateway.people import set_person
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.event import ALARM_RAISED, ALARM_SENDING, Event, peek_event, seal_event
from lapel_protocol.names import ALARM_KIND_NAMES, TRUST_NAMES
from lapel_protocol.reports import ALARM_DURESS, ALARM_MAN_DOWN, ALARM_PANIC, ALARM_TAMPER, AlarmRaised, AlarmSending
from tests.gateway.test_escalation import Desk, Line
from tests.support.device import Message, TrueDevice
from tests.support.pair import START_MS, DevicePair

INCIDENTS = 200
DAYS = 182
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
RESPONDERS = ("Sam", "Toni", "Uma")
TEAMS = {
    "Zoë Quinn": "housing",
    "Ann Archer": "housing",
    "Bo Chen": "paramedics",
    "Cem Demir": "paramedics",
    "Dan Evans": "repairs",
    "Eve Fox": "repairs",
    "Fay Grant": "",
}
POLICIES = Policies(
    [
        Policy("housing", (Step(("one",), 30_000), Step(("two", "three"), 60_000)), teams=frozenset({"housing"})),
        Policy("paramedics", (Step(("two",), 20_000),), repeat=1, teams=frozenset({"paramedics"})),
        Policy("no-team", (Step(("three",), 15_000), Step(("one",), 15_000)), teams=frozenset({""})),
    ],
    # Seldom, because some alarms are never answered in all this time.
    WEEK_MS,
)


class Journal:
    """The lines, in the order in which they are written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, at: int, what: str, **details: object) -> None:
        """Write down what happened."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": at, "what": what, **details}) + "\n")


class Bell(Line):
    """A channel that notes when it rings, and when it cannot."""

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name)
        self._journal = journal

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """Ring, or fail."""
        self._journal.note(now_ms, "dead" if self.error else "rang", channel=self.name, alarm=parcel.subject)
        super().deliver(parcel, now_ms)


class ControlRoom(Desk):
    """The desk with bells."""

    def __init__(self, pair: DevicePair, journal: Journal) -> None:
        self._journal = journal
        super().__init__(pair, POLICIES)

    def start(self) -> None:
        """As the desk, with bells for its lines."""
        self.lines = {name: Bell(name, self._journal) for name in self.lines}
        super().start()


class SixMonths:
    """Everything that happens, by a seed; `play` lets it happen."""

    def __init__(self, folder: Path, seed: int = 4) -> None:
        self.journal = Journal(folder / "journal.jsonl")
        self.pair = DevicePair(folder / "gateway", devices=0)
        self._chance = random.Random(seed)
        self._ways = random.Random(seed + 1)
        self._plan: list[tuple[int, int, Callable[[int], None]]] = []
        self._number = itertools.count()
        self._teams: dict[str, str] = {}
        self._busy_until = 0
        self._devices: dict[str, TrueDevice] = {}
        for person, team in TEAMS.items():
            self._move(person, team, START_MS)
            self._devices[person] = self.pair.provision(len(self._devices), person=person)
            self.pair.greet(self._devices[person])
        self.desk = ControlRoom(self.pair, self.journal)
        self.start_ms = self.pair.now_ms
        self.end_ms = self.start_ms + DAYS * DAY_MS
        self._plan_everything()

    def play(self) -> None:
        """Let all of it happen, in order; the deliver role takes what falls due in between, unless it is busy."""
        while self._plan:
            at, _, happen = heapq.heappop(self._plan)
            self._run_until(at)
            self.pair.now_ms = at
            happen(at)
        self._run_until(self.end_ms)

    # -- the plan ---------------------------------------------------------------------------------------------------

    def _plan_everything(self) -> None:
        ways = [self._press] * 41 + [self._drill] * 4 + [self._by_gateway] * 3 + [self._by_heartbeat] * 2
        for _ in range(INCIDENTS):
            at = self._chance.randrange(self.start_ms, self.end_ms - DAY_MS)
            self._chance.choice(ways)(at, self._chance.choice(list(TEAMS)))
        for _ in range(6):
            self._outage(self._chance.randrange(self.start_ms, self.end_ms - DAY_MS))
        middle = self.start_ms + DAYS // 2 * DAY_MS
        self._at(middle, lambda now: self._move("Eve Fox", "housing", now))

    def _at(self, at: int, happen: Callable[[int], None]) -> None:
        heapq.heappush(self._plan, (at, next(self._number), happen))

    def _press(self, at: int, person: str) -> None:
        """A wearer presses, repeats arrive, a cancel perhaps, answers perhaps."""
        device, chance = self._devices[person], self._chance
        kind = chance.choice([ALARM_PANIC] * 4 + [ALARM_DURESS, ALARM_MAN_DOWN, ALARM_TAMPER])
        clock = chance.choice(["gateway"] * 6 + ["ntp"] * 2 + ["rtc", "none"])
        skew = {"gateway": 80, "ntp": 2_000, "rtc": DAY_MS, "none": DAY_MS}[clock]
        says = at + chance.randint(-skew, skew)
        came = at + chance.choice([chance.randint(20, 60), chance.randint(60, 900), chance.randint(900, 20_000)])
        wants_cancel = chance.random() < 0.15
        cancel_at = max(at + 50, came + chance.randint(-2_000, 60_000))
        repeat_at = came + chance.randint(1, 5_000) if chance.random() < 0.25 else None
        name = self._answers(came, person)

        def press(now: int) -> None:
            alarm, identifier = seal_alarm(device, kind, says, clock)
            self.journal.note(
                now,
                "pressed",
                alarm=identifier,
                person=person,
                kind=ALARM_KIND_NAMES[kind],
                clock_says=says,
                clock_set_by=clock,
            )
            self._at(came, lambda then: self._came(alarm, identifier, then))
            name.append(identifier)
            self._tell_of_sending(device, alarm, identifier, at, came)
            if repeat_at is not None:
                self._at(repeat_at, lambda then: self._came(alarm, identifier, then))
            if wants_cancel:
                cancel = device.cancel(alarm)
                self._at(cancel_at, lambda then: self._cancelled(cancel, identifier, then))

        self._at(at, press)

    def _tell_of_sending(self, device: TrueDevice, alarm: Message, identifier: str, at: int, came: int) -> None:
        """The device says how the alarm left it: mostly once, sometimes never, or again with something else."""
        for _ in range(self._ways.choice([0, 1, 1, 1, 1, 2])):
            after_ms, tries = self._ways.randint(0, came - at), self._ways.randint(1, 4)

            def say(now: int, after_ms: int = after_ms, tries: int = tries) -> None:
                _, _, _, counter = peek_event(alarm[1])
                device.mono_ms += after_ms
                payload = AlarmSending(counter, after_ms, tries).encode()
                word = device.on_event_lane(device.event(ALARM_SENDING, payload))
                self.pair.ingest.handle([word], now)
                self.journal.note(now, "said sent", alarm=identifier, after=after_ms)

            self._at(came + self._ways.randint(1, 4_000), say)

    def _by_heartbeat(self, at: int, person: str) -> None:
        """A heartbeat shows an alarm that the gateway does not have; its record may still come."""
        device = self._devices[person]
        name = self._answers(at, person)
        late_ms = self._chance.choice([None, 90_000])

        def show(now: int) -> None:
            alarm, identifier = seal_alarm(device, ALARM_PANIC, now - 60_000, "gateway")
            self.journal.note(
                now - 60_000,
                "pressed",
                alarm=identifier,
                person=person,
                kind="panic",
                clock_says=now - 60_000,
                clock_set_by="gateway",
            )
            shown = (device.boot_number, device.counter, protocol_alarm.RECEIVED)
            self.pair.ingest.handle([device.heartbeat(alarm=shown)], now)
            self.journal.note(now, "shown", alarm=identifier)
            name.append(identifier)
            if late_ms is not None:
                self._at(now + late_ms, lambda then: self._came(alarm, identifier, then))

        self._at(at, show)

    def _by_gateway(self, at: int, person: str, drill: bool = False) -> None:
        """The gateway raises an alarm about a person."""
        kind, word = self._chance.choice([(VISIT_OVERDUE, "visit_overdue"), (CONTACT_LOST, "contact_lost")])
        name = self._answers(at, person)

        def overdue(now: int) -> None:
            concern = Concern(person, self._teams[person], test=drill)
            with writing(self.pair.engine) as connection:
                identifier = raise_own(connection, kind, f"visit {now}", "it is overdue", now, concern)
            self.journal.note(now, "raised", alarm=identifier, person=person, kind=word, drill=drill)
            name.append(str(identifier))

        self._at(at, overdue)

    def _drill(self, at: int, person: str) -> None:
        self._by_gateway(at, person, drill=True)

    def _answers(self, came: int, person: str) -> list[str]:
        """Plan who answers an alarm, and how; its id is put into the list that is returned, once there is one."""
        name: list[str] = []
        chance = self._chance
        quick = TEAMS[person] == "paramedics"
        after = chance.choice(
            [chance.randint(800, 9_999)] * (90 if quick else 55)
            + [1, 10_000, 10_000, 10_001, 10_001, 40_000, 40_000, 40_001, 40_001]
            + [chance.randint(10_002, 39_999)] * (0 if quick else 20)
            + [chance.randint(40_002, 3_600_000)] * 4
            + [None] * (1 if quick else 9)
        )
        if chance.random() < 0.2:
            self._at(came + chance.randint(100, 700), lambda now: self._acknowledge(name[0], person.upper(), now))
            self._at(came + chance.randint(100, 700), lambda now: self._resolve(name[0], person, "false", now))
        if after is not None:
            first = chance.choice(RESPONDERS)
            self._at(came + after, lambda now: self._acknowledge(name[0], first, now))
            if chance.random() < 0.2:
                self._at(came + after + chance.randint(1, 5_000), lambda now: self._acknowledge(name[0], "Vic", now))
        if chance.random() < (0.9 if after is not None else 0.5):
            ending = chance.choice(["true"] * 9 + ["false"] * 9 + ["test"] * 2)
            at = came + (after or 0) + chance.randint(60_000, 3_600_000)
            self._at(at, lambda now: self._resolve(name[0], "Sam", ending, now))
        self._at(came, self._busy_after)
        return name

    def _outage(self, at: int) -> None:
        """A channel is dead for some minutes in which somebody presses, and its link is found silent."""
        bell = self.desk.lines[self._chance.choice(["one", "two", "three"])]

        def fail(now: int) -> None:
            bell.error = DeliveryError("no route to host")
            self.desk.escalator.link(bell.name, "timed out", now)
            self.journal.note(now, "silent", channel=bell.name)

        def work_again(now: int) -> None:
            bell.error = None
            self.desk.escalator.link(bell.name, "", now)

        self._at(at, fail)
        for person in self._chance.sample(list(TEAMS), 2):
            self._press(at + self._chance.randint(1_000, 120_000), person)
        self._at(at + 240_000, work_again)
        self._at(at + 900_000, self._mend)

    # -- what happens -----------------------------------------------------------------------------------------------

    def _run_until(self, at: int) -> None:
        if self._busy_until <= at:
            self.pair.now_ms = max(self.pair.now_ms, self._busy_until)
            self.desk.run(at - self.pair.now_ms)

    def _busy_after(self, now: int) -> None:
        """The deliver role is busy when an alarm comes: for a moment, or longer than it should."""
        self._busy_until = now + self._chance.choice([0, 0, self._chance.randint(1, 400), 12_000])

    def _move(self, person: str, team: str, now: int) -> None:
        set_person(self.pair.engine, person, team, "", now)
        self._teams[person] = team
        self.journal.note(now, "moved", person=person, team=team)

    def _came(self, alarm: Message, identifier: str, now: int) -> None:
        assert self.pair.alarms.handle(*alarm, now).downlinks
        self.journal.note(now, "came", alarm=identifier)

    def _cancelled(self, cancel: Message, identifier: str, now: int) -> None:
        assert self.pair.alarms.handle(*cancel, now).downlinks
        self.journal.note(now, "cancelled", alarm=identifier)

    def _acknowledge(self, identifier: str, who: str, now: int) -> None:
        self.journal.note(now, "acknowledge", alarm=identifier, who=who)
        try:
            alarms.acknowledge(self.pair.engine, identifier, who, now)
        except OwnAlarm:
            self.journal.note(now, "refused", alarm=identifier, who=who)

    def _resolve(self, identifier: str, who: str, ending: str, now: int) -> None:
        self.journal.note(now, "resolve", alarm=identifier, who=who, ending=ending)
        try:
            alarms.resolve(self.pair.engine, identifier, who, ending, "", now)
        except OwnAlarm:
            self.journal.note(now, "refused", alarm=identifier, who=who)

    def _mend(self, now: int) -> None:
        """Somebody sees to whatever technical alarms there are."""
        for row in self.pair.rows("alarm", "about in ('one', 'two', 'three') AND resolved_ms IS NULL"):
            alarms.resolve(self.pair.engine, row["id"], "Sam", "true", "", now)
        self.journal.note(now, "mended")


def seal_alarm(device: TrueDevice, kind: int, clock_says: int, clock_set_by: str) -> tuple[Message, str]:
    """An alarm by a device whose clock says something; the message and the alarm's id."""
    device.counter += 1
    device.mono_ms += 10
    event = Event(
        ALARM_RAISED,
        device.device,
        device.boot_number,
        device.counter,
        clock_says,
        device.mono_ms,
        TRUST_NAMES.index(clock_set_by),
        AlarmRaised(kind, 77, 0).encode(),
    )
    message = device.on_alarm_lane(seal_event(device.keys, event))
    return message, f"{device.name}-{device.boot_number}-{device.counter}"


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines as they were written."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
