"""A self-test of one board, from its port to its report.

Rules that hold here:

- A device with a latched alarm, or that was recording, is left alone. Whatever happens, the device is started again.
- Nothing on the way asks the board for a key, a password or a network's name, and its tests tell none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lapel_gateway.devices.self_tests import FAILED, PASSED, SKIPPED

from .condition import read_condition
from .holding import hold
from .link import BoardError, BoardLink, LinkError
from .ports import SerialPort, read_facts
from .self_test_board import BoardTests, text_of, verdict_of
from .self_test_hands import examine_hands
from .self_test_person import Person
from .self_test_picture import judge_picture
from .self_test_remedies import remedy
from .self_test_report import BoardReport, Finding
from .self_test_way import Verdict, Way, judge_broker, judge_gateway

Report = Callable[[str], None]
"""Told what is being tested."""

StateOf = Callable[[str], str | None]
"""What this gateway's ledger says of a device id: its state, "" = unknown to it, None = there is no ledger here."""

PARTS = (
    ("cryptography", "basics", "cryptography"),
    ("entropy", "basics", "entropy"),
    ("clock", "basics", "clock"),
    ("battery", "basics", "battery"),
    ("key sectors", "storage", "key_sectors"),
    ("flash", "storage", "flash"),
    ("microSD", "storage", "card"),
    ("camera", "senses", "camera"),
    ("microphone", "senses", "microphone"),
    ("accelerometer", "senses", "accelerometer"),
    ("GNSS", "senses", "gnss"),
    ("modem", "cellular", "modem"),
)
"""Tests in their order: name, module on the board, function."""

HANDS = ("buttons", "light", "buzzer", "vibration")
LINK = ("Wi-Fi", "broker", "gateway")

_LEAST_COMPARED_S = 2.0
_DRIFT_PERCENT = 2.0
_DRIFT_S = 0.5
"""What the question itself may take, over a slow port."""
_MOST_BEHIND_S = 300
_TICKS_PERIOD = 1 << 30
_WIFI_STEPS = 12
_WIFI_STEP_MS = 3000
_WAY_STEP_MS = 2000
_NETWORK_S = 20.0
_BROKER_S = 40.0
_WELCOME_S = 25.0
_ENOUGH_ATTEMPTS = 3
"""A broker that was just restarted is there by then."""


class SelfTestRefused(Exception):
    """The board was not tested; the message says why and what to do."""


def examine(port: SerialPort, person: Person, state_of: StateOf, report: Report | None = None) -> BoardReport:
    """Test one board; whatever breaks is in its report."""
    made = BoardReport(port.device)
    try:
        with stop_board(port) as link:
            try:
                _Test(link, made, person, state_of, report or (lambda what: None)).run()
            finally:
                link.reset()
    except (SelfTestRefused, LinkError) as error:
        made.refused = str(error).removeprefix(f"{port.device}: ")
    except BoardError as error:
        made.refused = f"MicroPython refused: {error}; flash it: lapel device flash"
    return made


def stop_board(port: SerialPort) -> BoardLink:
    """The board, interrupted, its heap fresh. Raises LinkError."""
    return hold(port, fresh=True, remedy="flash it")[1]


class _Test:
    """One board under test."""

    def __init__(
        self, link: BoardLink, report: BoardReport, person: Person, state_of: StateOf, progress: Report
    ) -> None:
        """Ask the board what it is. Raises LinkError, BoardError, SelfTestRefused."""
        facts = read_facts(link)
        report.serial, report.hardware, report.device = facts.unique_id, facts.hardware, facts.device
        if not facts.hardware:
            raise SelfTestRefused("there is no Lapel firmware on it: lapel device flash")
        self._link = link
        self._board = BoardTests(link, facts)
        self._report = report
        self._person = person
        self._state_of = state_of
        self._progress = progress

    def run(self) -> None:
        """All of it. Raises LinkError, BoardError, SelfTestRefused."""
        self._progress("firmware")
        whole, verdict = self._board.choose_firmware()
        self._report.hardware = self._board.hardware
        self._add("firmware", verdict)
        taken = whole and self._take_board()
        # Only now is all of its storage mounted, by drivers that begin anew.
        objections = read_condition(self._link).objections
        if objections:
            self._report.findings.clear()
            raise SelfTestRefused(f"{' and '.join(objections)}; it was started again, and is left alone")
        if not taken:
            why = "its firmware does not make the board" if whole else "no version on the board is whole"
            self._skip(["identity", *[name for name, _, _ in PARTS], *HANDS, *LINK], why)
            return
        provisioned = self._identity()
        self._parts()
        self._progress("buttons, light, buzzer, vibration")
        for name, found in examine_hands(self._board, self._person):
            self._add(name, found)
        joined = self._wifi()
        if not provisioned:
            self._skip(("broker", "gateway"), "it has no identity")
        elif not joined:
            self._skip(("broker", "gateway"), "no network is joined")
        else:
            self._way()

    def _take_board(self) -> bool:
        try:
            self._board.take()
        except BoardError as error:
            self._add("board", (FAILED, "error", f"its drivers do not start: {error}"))
            return False
        return True

    # -- tests that nobody is needed for ----------------------------------------------------------------------------

    def _identity(self) -> bool:
        told = self._board.call("basics", "identity", kinds=(str, str, str, str))
        self._report.device = text_of(told[3])
        verdict = verdict_of(told[:3])
        self._add("identity", verdict)
        return verdict[0] == PASSED

    def _parts(self) -> None:
        before = self._times()
        for name, section, function in PARTS:
            self._progress(name)
            verdict = self._test(section, function)
            if name == "clock" and verdict[0] == PASSED:
                verdict = self._compare_clock(before, verdict)
            if name == "camera" and verdict[0] == PASSED:
                verdict = self._look(verdict)
            self._add(name, verdict)

    def _test(self, section: str, function: str) -> Verdict:
        """How a test came out; firmware from before there was such a test has none of it."""
        try:
            return self._board.test(section, function)
        except BoardError as error:
            if "ImportError" not in str(error):
                raise
            return SKIPPED, "", "the firmware on it has no such test: flash a newer one"

    def _times(self) -> tuple[float, int, int]:
        """This machine's monotonic time, the board's ticks, and its real-time clock."""
        ticks, unix_ms = self._board.call("basics", "times", kinds=(int, int))
        return time.monotonic(), ticks, unix_ms

    def _compare_clock(self, before: tuple[float, int, int], verdict: Verdict) -> Verdict:
        """The device's ticks and real-time clock against this machine's."""
        time.sleep(max(0.0, _LEAST_COMPARED_S - (time.monotonic() - before[0])))
        after = self._times()
        counted_s = ((after[1] - before[1]) % _TICKS_PERIOD) / 1000
        passed_s = after[0] - before[0]
        if abs(counted_s - passed_s) > _DRIFT_S + passed_s * _DRIFT_PERCENT / 100:
            return FAILED, "drifts", f"it counts {counted_s:.1f} s in {passed_s:.1f} s"
        if not after[2]:
            return verdict
        behind_s = round(time.time() - after[2] / 1000)
        words = f"{abs(behind_s)} s {'behind' if behind_s > 0 else 'before'} this machine's clock"
        if abs(behind_s) > _MOST_BEHIND_S:
            return FAILED, "wrong_time", f"it is {words}"
        return PASSED, "", f"set, {words}"

    def _look(self, verdict: Verdict) -> Verdict:
        """Fetch the picture that was taken and see whether it is one."""
        jpeg = self._board.picture()
        picture = judge_picture(jpeg)
        if picture is None:
            return FAILED, "no_jpeg", f"a picture of {len(jpeg)} bytes cannot be decoded"
        self._report.picture = jpeg
        found = f"{verdict[2]}, brightness {picture.brightness} of 255"
        if picture.uniform:
            return FAILED, "uniform", f"{found}: the picture shows nothing"
        if self._person.sees(jpeg, self._board.feed) is False:
            return FAILED, "not_right", f"{found}: it does not show what is before the camera"
        return PASSED, "", found

    # -- the way to the gateway -------------------------------------------------------------------------------------

    def _wifi(self) -> bool:
        """Whether a network is joined."""
        self._progress("Wi-Fi")
        for step in range(_WIFI_STEPS):
            told = self._board.call("radio", "wifi", _WIFI_STEP_MS, step == _WIFI_STEPS - 1)
            if told is not None:
                break
        verdict = verdict_of(told)
        self._add("Wi-Fi", verdict)
        return verdict[0] == PASSED or verdict[1] == "weak"

    def _way(self) -> None:
        self._progress("broker and gateway")
        self._board.set_out()
        way = self._travel()
        self._report.boot = -1 if way.fault else way.boot
        self._add("broker", judge_broker(way))
        self._add("gateway", judge_gateway(way, self._state_of(self._report.device)))

    def _travel(self) -> Way:
        started = time.monotonic()
        online_at: float | None = None
        while True:
            try:
                way = Way.read(self._board.travel(_WAY_STEP_MS))
            except ValueError:
                raise self._board.nonsense() from None
            now = time.monotonic()
            if way.online_ms >= 0 and online_at is None:
                online_at = now
            if way.over or now - started > _allowed_s(way, started, online_at):
                return way

    # -- the report -------------------------------------------------------------------------------------------------

    def _add(self, name: str, verdict: Verdict) -> None:
        outcome, fault, found = verdict
        words = remedy(name, fault, self._report.hardware) if outcome == FAILED else ""
        self._report.findings.append(Finding(name, outcome, found, words))

    def _skip(self, names: Sequence[str], why: str) -> None:
        for name in names:
            self._add(name, (SKIPPED, "", why))


def _allowed_s(way: Way, started: float, online_at: float | None) -> float:
    """For how long in all a device may be on its way, by how far it has come."""
    if online_at is not None:
        return online_at - started + _WELCOME_S
    if way.attempts >= _ENOUGH_ATTEMPTS and way.error:
        return 0.0
    return _BROKER_S if way.attempts else _NETWORK_S
