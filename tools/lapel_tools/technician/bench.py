"""One board, or a whole tray side by side, from its port to its result. A board that fails stops no other.

Rules that hold here:

- A device with a latched alarm, or that was recording, is not flashed unless that is asked for: it is started again,
  settles its clip and repeats its alarm.
- Whatever is refused or breaks, the board starts what it has; the result says what happened and what to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lapel_build.compiler import BuildError
from lapel_protocol.releasing import Release

from .condition import Condition, read_condition
from .firmware import FirmwareError, choose, hardware_of
from .flash import FlashError, install, make_plan, rom_blocks
from .holding import RETURN_TIMEOUT_S, hold
from .link import BoardError, BoardLink, LinkError
from .literals import PARSING
from .ports import BoardFacts, SerialPort, read_facts, wait_for_port
from .session import take_board
from .survey import survey

FLASHED = "flashed"
UNCHANGED = "unchanged"
REFUSED = "refused"
BROKEN = "broken off"

_AT_ONCE = 16
_START_TIMEOUT_S = 30.0
_RUNS = b"lapel: runs number"
_ENDINGS = (_RUNS, b"flash this device")


@dataclass(frozen=True)
class Order:
    """What shall be done to each board. `hardware`: empty = as each board says. `even_busy`: also one that records or
    has an alarm.
    """

    releases: Sequence[Release]
    modulus: bytes
    hardware: str = ""
    even_busy: bool = False


@dataclass(frozen=True)
class Result:
    """What became of one board. `before` and `after` are versions, empty where none ran."""

    port: str
    state: str
    message: str = ""
    machine: str = ""
    hardware: str = ""
    before: str = ""
    after: str = ""
    files: int = 0
    size_bytes: int = 0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.state in (FLASHED, UNCHANGED)


@dataclass(frozen=True)
class Step:
    """How far one board is. `size_bytes`: all that is to be written, 0 while that is not known."""

    port: str
    what: str
    done_bytes: int = 0
    size_bytes: int = 0


Report = Callable[[Step], None]


def flash_tray(ports: Sequence[SerialPort], order: Order, report: Report | None = None) -> list[Result]:
    """Flash every board, side by side; results in the order of the ports. `report` is called from several threads.

    Ctrl-C ends all of them between two writes.
    """
    ended = threading.Event()
    with ThreadPoolExecutor(max_workers=min(len(ports), _AT_ONCE) or 1) as pool:
        running = [pool.submit(flash_board, port, order, report, ended) for port in ports]
        try:
            return [one.result() for one in running]
        except KeyboardInterrupt:
            ended.set()
            raise


def flash_board(
    port: SerialPort, order: Order, report: Report | None = None, ended: threading.Event | None = None
) -> Result:
    """Flash one board; whatever goes wrong is in its result. `ended`: set it to break off between two writes."""
    work = _Work(port, order, report or (lambda step: None), ended or threading.Event())
    started = time.monotonic()
    try:
        return work.run(started)
    except (FirmwareError, FlashError, BuildError, _Busy) as error:
        return work.result(REFUSED, str(error), started)
    except _Ended:
        return work.result(BROKEN, "it was broken off here; flash it again", started)
    except BoardError as error:
        return work.result(BROKEN, f"MicroPython refused: {error}; flash it again", started)
    except LinkError as error:
        again = "; flash it again" if work.facts is not None else ""
        return work.result(BROKEN, f"{str(error).removeprefix(f'{port.device}: ')}{again}", started)


class _Ended(Exception):
    """Its technician does not want to go on."""


class _Busy(Exception):
    """The device is in use for what it is there for."""


class _Work:
    """One board on its way."""

    def __init__(self, port: SerialPort, order: Order, report: Report, ended: threading.Event) -> None:
        self.facts: BoardFacts | None = None
        self._port = port
        self._order = order
        self._tell = report
        self._ended = ended
        self._hardware = ""
        self._before = ""

    def run(self, started: float) -> Result:
        self._say("looking")
        with self._stopped() as link:
            try:
                take_board(link)
                _refuse_busy(read_condition(link), self._order)
                self.facts = facts = read_facts(link)
                self._hardware = hardware_of(facts, self._order.hardware)
                firmware = choose(self._order.releases, facts, self._hardware, self._order.modulus)
                self._say("comparing")
                link.stop(fresh=True)
                found = survey(link, len(rom_blocks(firmware.rom)))
                running = found.running_slot(self._hardware, firmware.target.code)
                self._before = "" if running is None else facts.slot_version(running)
                with PARSING:
                    plan = make_plan(firmware, facts, found)
                self._write(link, plan.size_bytes, lambda progress: install(link, plan, firmware, progress))
            except (FirmwareError, FlashError, BuildError, BoardError, _Busy, _Ended):
                link.reset()
                raise
            self._say("starting")
            try:
                lines = link.restart(_ENDINGS, _START_TIMEOUT_S)
            except LinkError:
                link.close()
                lines = self._hear_again()
        runs = [line for line in lines if _RUNS.decode() in line]
        if not runs:
            said = next((line for line in reversed(lines) if line.startswith("lapel:")), "nothing")
            raise FlashError(f"all files are there, but the device does not start them; it says: {said}")
        state = UNCHANGED if plan.empty else FLASHED
        return self.result(
            state, runs[-1], started, after=firmware.version, files=plan.files, size_bytes=plan.size_bytes
        )

    def _stopped(self) -> BoardLink:
        self._port, link = hold(self._port, fresh=False, remedy="hold it in its boot loader")
        return link

    def _hear_again(self) -> list[str]:
        """What it says after the watchdog of the stopped firmware cut its start short; it starts a second time then."""
        port = wait_for_port(self._port.serial_number, RETURN_TIMEOUT_S)
        if port is None:
            raise LinkError(f"{self._port.device}: all files are there, but the device went away while it started")
        self._port = port
        with BoardLink(port.device) as link:
            return link.listen(_ENDINGS, _START_TIMEOUT_S)

    def result(
        self, state: str, message: str, started: float, after: str = "", files: int = 0, size_bytes: int = 0
    ) -> Result:
        machine = self.facts.machine if self.facts else ""
        seconds = round(time.monotonic() - started, 1)
        before = self._before
        return Result(
            self._port.device, state, message, machine, self._hardware, before, after, files, size_bytes, seconds
        )

    def _write(self, link: BoardLink, size_bytes: int, work: Callable[[Callable[[int], None]], None]) -> None:
        done = 0

        def progress(added: int) -> None:
            nonlocal done
            done += added
            self._report(Step(self._port.device, "writing", done, size_bytes))

        self._report(Step(self._port.device, "writing", 0, size_bytes))
        work(progress)

    def _report(self, step: Step) -> None:
        if self._ended.is_set():
            raise _Ended
        self._tell(step)

    def _say(self, what: str) -> None:
        self._report(Step(self._port.device, what))


def _refuse_busy(condition: Condition, order: Order) -> None:
    if condition.objections and not order.even_busy:
        raise _Busy(
            f"{' and '.join(condition.objections)}; it was started again, and is left alone without --even-busy"
        )
