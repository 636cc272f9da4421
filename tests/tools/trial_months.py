"""Six months of a trial: four cameras in three teams, through the gateway's real cores, and a raw journal beside it.

The journal is written by those it happens to, as it happens; nothing in it is read from the ledger. `at` is true time
in Unix milliseconds, which is the gateway's clock; what a device notes carries what its own clock says, and who set it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from pathlib import Path

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.kinds import VISIT_OVERDUE
from lapel_gateway.alarms.own import Concern, raise_own
from lapel_gateway.devices import handover
from lapel_gateway.devices.self_tests import keep_self_test
from lapel_gateway.disposal import Disposal
from lapel_gateway.ledger import writing
from lapel_gateway.people import set_person
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.viewing.disclosures import Disclosure, enter_disclosure
from lapel_gateway.visits import plans as visits
from lapel_gateway.visits.timers import VisitWatch
from lapel_protocol.clip import (
    NOTICE_CONFIRMED,
    NOTICE_CONTINUED,
    NOTICE_NO_TIME,
    NOTICE_PROMPTED,
    TRUST_GATEWAY,
    TRUST_NTP,
    TRUST_RTC,
)
from lapel_protocol.event import RECORDING_NOTE, STORAGE_NOTE, UPDATE_NOTE
from lapel_protocol.names import NOTICE_NAMES
from lapel_protocol.reports import (
    NOTE_CANCELLED,
    NOTE_CONFIRMED,
    NOTE_PROMPTED,
    NOTE_REFUSED,
    WHY_NONE,
    RecordingNote,
    StorageNote,
)
from lapel_protocol.updating import UPDATE_GOOD, UPDATE_ROLLED_BACK, UpdateNote
from tests.support.device import TrueDevice
from tests.support.pair import START_MS, DevicePair
from tests.tools.six_months import Journal

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
DAYS = 182
CLIP_MS = 3000
"""How long a device says that each of its clips is."""

TEAMS = {
    "Zoë Quinn": "housing",
    "Ann Archer": "housing",
    "Bo Chen": "paramedics",
    "Cem Demir": "paramedics",
    "Dan Evans": "repairs",
    "Eve Fox": "repairs",
    "Fay Grant": "",
}
ALL_IS_HEARD = VisitsSection(contact_lost_s=7200)
"""No visit here lasts so long that silence is noticed."""

SILENCE = VisitsSection(contact_lost_s=120)
CLOCKS = {"gateway": TRUST_GATEWAY, "ntp": TRUST_NTP, "rtc": TRUST_RTC}


class TrialMonths:
    """Everything that happens, by a seed; `play` lets it happen."""

    def __init__(self, folder: Path, seed: int = 6) -> None:
        self.journal = Journal(folder / "journal.jsonl")
        self.pair = DevicePair(folder / "gateway", devices=0)
        self._chance = random.Random(seed)
        self._plan: list[tuple[int, int, Callable[[int], None]]] = []
        self._number = itertools.count()
        self._watch = VisitWatch(self.pair.engine, self.pair.registry, ALL_IS_HEARD)
        self._disposal_ms = START_MS
        self._disposal = Disposal(self.pair.engine, ALL_IS_HEARD, lambda: self._disposal_ms)
        self._teams: dict[str, str] = {}
        for person, team in TEAMS.items():
            self._move(person, team, START_MS)
        self._cameras = [self.pair.provision(number, person="") for number in range(4)]
        for camera in self._cameras:
            self.journal.note(START_MS, "provisioned", camera=camera.name, person="")
        # The first one is never handed out: it was somebody's from the beginning.
        own = self.pair.provision(9, person="Fay Grant")
        self.journal.note(START_MS, "provisioned", camera=own.name, person="Fay Grant")
        self._had: dict[str, TrueDevice] = {"Fay Grant": own}
        self._free = list(self._cameras)
        self._booted: set[str] = set()
        self._lost: set[str] = set()
        self.start_ms = self.pair.now_ms
        self.end_ms = self.start_ms + DAYS * DAY_MS
        for day in range(DAYS):
            self._plan_day(self.start_ms + day * DAY_MS)
        self._at(self.start_ms + DAYS // 2 * DAY_MS, lambda now: self._move("Eve Fox", "housing", now))
        self._at(self.end_ms - 20 * DAY_MS, self._lose)

    def play(self) -> None:
        """Let all of it happen, in order."""
        while self._plan:
            at, _, happen = heapq.heappop(self._plan)
            self.pair.now_ms = max(self.pair.now_ms, at)
            happen(at)

    # -- the plan ---------------------------------------------------------------------------------------------------

    def _plan_day(self, morning: int) -> None:
        chance = self._chance
        for _ in range(chance.choice([0, 1, 1, 2])):
            self._at(morning + chance.randrange(HOUR_MS), self._hand_out)
        for _ in range(chance.choice([0, 1, 1, 2, 3])):
            what = chance.choice(
                [self._record] * 5 + [self._switch_on] * 3 + [self._trouble] + [self._alarm] * 2 + [self._visit] * 3
            )
            self._at(morning + chance.randrange(2 * HOUR_MS, 20 * HOUR_MS), what)
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            self._at(morning + chance.randrange(21 * HOUR_MS, 23 * HOUR_MS), self._take_back)
        if chance.random() < 0.1:
            self._at(morning + 23 * HOUR_MS, self._self_test)
        self._at(morning + 23 * HOUR_MS + 30 * MINUTE_MS, self._look_after_visits)

    def _at(self, at: int, happen: Callable[[int], None]) -> None:
        heapq.heappush(self._plan, (at, next(self._number), happen))

    def _somebody(self) -> tuple[str, TrueDevice] | None:
        """Somebody with a camera that can be switched on; none now and then."""
        here = sorted(self._had)
        if not here:
            return None
        person = self._chance.choice(here)
        return person, self._had[person]

    # -- cameras ----------------------------------------------------------------------------------------------------

    def _hand_out(self, now: int) -> None:
        without = sorted(set(TEAMS) - set(self._had))
        if not self._free or not without:
            return
        camera, person = self._free.pop(0), self._chance.choice(without)
        self.journal.note(now, "handed out", camera=camera.name, person=person)
        handover.issue(self.pair.engine, camera.name, person, "Tess", now, in_spite="nothing was looked at")
        self._had[person] = camera

    def _take_back(self, now: int) -> None:
        person = self._chance.choice(sorted(self._had))
        if person == "Fay Grant":
            return
        camera = self._had.pop(person)
        self.journal.note(now, "taken back", camera=camera.name)
        handover.take_back(self.pair.engine, camera.name, "Tess", now)
        self._booted.discard(camera.name)
        self._free.append(camera)

    def _lose(self, now: int) -> None:
        person = next(name for name in sorted(self._had) if name != "Fay Grant")
        camera = self._had.pop(person)
        self.journal.note(now, "lost", camera=camera.name, person=person)
        self.pair.registry.mark_lost(camera.name, now)
        self._lost.add(camera.name)

    def _switch_on(self, now: int) -> None:
        found = self._somebody()
        if found is not None:
            self._boot(found[1], now)

    def _boot(self, camera: TrueDevice, now: int) -> None:
        camera.wall_ms, camera.trust = now, TRUST_GATEWAY
        camera.boot()
        camera.take(self.pair.ingest.handle([camera.hello()], now).downlinks)
        self._booted.add(camera.name)
        self.journal.note(now, "switched on", camera=camera.name)

    def _ready(self, now: int) -> tuple[str, TrueDevice] | None:
        """Somebody with a camera that is on; its clock was set by something."""
        found = self._somebody()
        if found is None:
            return None
        person, camera = found
        if camera.name not in self._booted:
            self._boot(camera, now)
        clock = self._chance.choice(["gateway"] * 6 + ["ntp", "rtc"])
        camera.trust = CLOCKS[clock]
        camera.wall_ms = now - (0 if clock == "gateway" else self._chance.randint(-HOUR_MS, 40 * DAY_MS))
        return person, camera

    def _said(self, camera: TrueDevice, now: int, what: str, **details: object) -> None:
        clock = clock_of(camera)
        self.journal.note(now, what, camera=camera.name, clock_says=camera.wall_ms, clock_set_by=clock, **details)

    def _note(self, camera: TrueDevice, now: int, what: int) -> None:
        record = camera.event(RECORDING_NOTE, RecordingNote(what, WHY_NONE, 0, 0).encode())
        self.pair.ingest.handle([camera.on_event_lane(record)], now)

    # -- recordings -------------------------------------------------------------------------------------------------

    def _record(self, now: int) -> None:
        """The prompt perhaps, a recording perhaps, which comes at once or days later, whole or not."""
        found = self._ready(now)
        if found is None:
            return
        person, camera = found
        way = self._chance.choice(
            [NOTICE_CONFIRMED] * 6 + [NOTICE_PROMPTED, NOTICE_NO_TIME, NOTICE_NO_TIME, NOTICE_CONTINUED, None]
        )
        if way in (NOTICE_CONFIRMED, NOTICE_PROMPTED, None):
            self._note(camera, now, NOTE_PROMPTED)
            self._said(camera, now, "prompted")
        if way is None:
            self._note(camera, now, NOTE_CANCELLED)
            self._said(camera, now, "prompt given up")
            return
        self._note(camera, now, NOTE_CONFIRMED)
        self._said(camera, now, "noted")
        clip = camera.record(1, notice=way)
        ending = self._chance.choice(["end"] * 6 + ["none", "cut"])
        messages = clip.messages(end=ending == "end")
        if ending == "cut":
            messages = [*clip.messages(end=False), camera.cut(clip, 1)]
        self._said(camera, now, "recorded", clip=clip.clip, person=person, notice=NOTICE_NAMES[way], ending=ending)
        clock = {"clock_says": camera.wall_ms, "clock_set_by": clock_of(camera)}

        def arrive(then: int) -> None:
            if camera.name in self._lost:
                return
            self.pair.ingest.handle(messages, then)
            self.journal.note(then, "clip came", camera=camera.name, clip=clip.clip)
            if ending == "cut":
                self.journal.note(then, "cut came", camera=camera.name, **clock)

        # A boot's events end with it; only what needs no event of that boot may come after the next.
        if ending == "end" and self._chance.random() < 0.3:
            self._at(now + self._chance.randint(1, 5) * DAY_MS, arrive)
        else:
            arrive(now + 1)
        if self._chance.random() < 0.2:
            self._at(now + 6 * DAY_MS, lambda then: self._pass_on(camera, clip.clip, then))

    def _pass_on(self, camera: TrueDevice, clip: int, now: int) -> None:
        if camera.name in self._lost:
            return
        for _ in range(self._chance.choice([1, 1, 2])):
            kind = self._chance.choice(["police", "police", "court", "subject"])
            self.journal.note(now, "passed on", camera=camera.name, clip=clip, kind=kind)
            entry = Disclosure(kind, "somebody", "", now)
            enter_disclosure(self.pair.engine, (camera.name, clip), entry, "Vic", now)
            now += DAY_MS

    def _trouble(self, now: int) -> None:
        found = self._ready(now)
        if found is None:
            return
        _, camera = found
        which = self._chance.choice(["refused", "storage", "rolled back", "updated"])
        kind, payload = {
            "refused": (RECORDING_NOTE, RecordingNote(NOTE_REFUSED, 3, 0, 0).encode()),
            "storage": (STORAGE_NOTE, StorageNote(3, 0, 100).encode()),
            "rolled back": (UPDATE_NOTE, UpdateNote(UPDATE_ROLLED_BACK, 10, 7, bytes(8)).encode()),
            "updated": (UPDATE_NOTE, UpdateNote(UPDATE_GOOD, 0, 7, bytes(8)).encode()),
        }[which]
        record = camera.event(kind, payload)
        self.pair.ingest.handle([camera.on_event_lane(record)], now)
        self._said(camera, now, which)

    def _self_test(self, now: int) -> None:
        camera = self._chance.choice(self._cameras)
        outcome = self._chance.choice(["passed", "failed"])
        report = [{"name": "camera", "outcome": outcome, "found": "", "remedy": ""}]
        keep_self_test(self.pair.engine, camera.name, "board 1", report, "Tess", now)
        self.journal.note(now, "self-test", camera=camera.name, outcome=outcome)

    # -- alarms and visits ------------------------------------------------------------------------------------------

    def _alarm(self, now: int) -> None:
        """Somebody presses, or drills; somebody answers, or nobody does."""
        found = self._ready(now)
        if found is None:
            return
        person, camera = found
        if self._chance.random() < 0.2:
            with writing(self.pair.engine) as connection:
                about = f"drill {now}"
                concern = Concern(person, self._teams[person], test=True)
                name = str(raise_own(connection, VISIT_OVERDUE, about, "a drill", now, concern))
            self.journal.note(now, "drilled", alarm=name, person=person)
        else:
            message = camera.alarm()
            name = f"{camera.name}-{camera.boot_number}-{camera.counter}"
            self.pair.alarms.handle(*message, now)
            self._said(camera, now, "pressed", alarm=name, person=person)
            if self._chance.random() < 0.4:
                clip = camera.record(1, alarm=message)
                self.pair.ingest.handle(clip.messages(), now + 1)
                self._said(
                    camera, now, "recorded", clip=clip.clip, person=person, notice="alarm", ending="end", alarm=name
                )
                self.journal.note(now + 1, "clip came", camera=camera.name, clip=clip.clip)
        self._answer(name, now)

    def _answer(self, name: str, now: int) -> None:
        if self._chance.random() < 0.85:
            at = now + self._chance.choice([5_000, 10_000, 10_001, 39_000, 40_000, 40_001, 600_000])
            alarms.acknowledge(self.pair.engine, name, "Sam", at)
            self.journal.note(at, "acknowledged", alarm=name)
        if self._chance.random() < 0.85:
            ending = self._chance.choice(["true", "true", "false", "test"])
            at = now + 3_600_000
            alarms.resolve(self.pair.engine, name, "Sam", ending, f"as {ending} as can be", at)
            self.journal.note(at, "resolved", alarm=name, ending=ending)

    def _visit(self, now: int) -> None:
        """A visit that was planned or not, that ends in time or not, or is never begun."""
        chance = self._chance
        person = chance.choice(sorted(TEAMS))
        if self.pair.rows("visit", "person = :person AND state IN ('active', 'amber', 'overdue')", person=person):
            raise AssertionError("every visit here ends before the next one of its person")
        planned = chance.random() < 0.5
        begins = now + 30 * MINUTE_MS if planned else now
        wanted = visits.Wanted(person, "4 High Street", expected_min=60, planned_ms=begins if planned else None)
        silent = (
            not planned and person in self._had and self._had[person].name in self._booted and chance.random() < 0.5
        )
        rules = SILENCE if silent else ALL_IS_HEARD
        number = visits.plan(self.pair.engine, wanted, "Sam", now, rules).visit
        self.journal.note(now, "visit", number=number, person=person, begins=begins, planned=planned)
        if planned and chance.random() < 0.3:
            visits.take_back(self.pair.engine, number, "Sam", "", now + MINUTE_MS, rules)
            self.journal.note(now + MINUTE_MS, "visit cancelled", number=number)
            return
        if planned:
            begins += chance.randint(0, 50) * MINUTE_MS
            visits.start(self.pair.engine, number, "Sam", begins, rules)
        self.journal.note(begins, "visit begun", number=number)
        if silent:
            self._watch_with(rules, begins + 20 * MINUTE_MS)
            self.journal.note(begins + 20 * MINUTE_MS, "contact lost", number=number, person=person)
        if not silent and chance.random() < 0.3:
            late = begins + 61 * MINUTE_MS
            self._watch_with(rules, late)
            self.journal.note(late, "visit overdue", number=number, person=person)
        for row in self.pair.rows("alarm", "visit = :number AND boot IS NULL", number=number):
            # The gateway names its own alarms; here is all that the journal takes from it.
            raised = begins + (20 if silent else 61) * MINUTE_MS
            self.journal.note(raised, "raised", alarm=row["id"], person=person)
            if chance.random() < 0.7:
                alarms.resolve(self.pair.engine, row["id"], "Sam", "false", "", raised + MINUTE_MS)
                self.journal.note(raised + MINUTE_MS, "resolved", alarm=row["id"], ending="false")
        visits.end(self.pair.engine, number, "Sam", "", begins + 62 * MINUTE_MS, rules)
        self.journal.note(begins + 62 * MINUTE_MS, "visit ended", number=number)

    def _look_after_visits(self, now: int) -> None:
        self._watch.turn(now)
        self._disposal_ms = now
        while self._disposal.portion():
            pass

    def _watch_with(self, rules: VisitsSection, now: int) -> None:
        VisitWatch(self.pair.engine, self.pair.registry, rules).turn(now)

    def _move(self, person: str, team: str, now: int) -> None:
        set_person(self.pair.engine, person, team, "", now)
        self._teams[person] = team
        self.journal.note(now, "moved", person=person, team=team)


def clock_of(camera: TrueDevice) -> str:
    """Who set a camera's clock."""
    return next(name for name, trust in CLOCKS.items() if trust == camera.trust)
