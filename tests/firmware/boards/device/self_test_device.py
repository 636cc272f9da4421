"""Runs on the real MicroPython: a board's own self-tests over models of its parts, one of which may be at fault.

`test_self_test.py` starts it. Arguments: the board's module, the fault ("" for none), the tests as "module.function",
with arguments after blanks, joined by commas, the path of the board's files as JSON {path: text}, and the key image's
two keys, or nothing.
"""

import json
import sys

from lapel_sim.machine_models import loop
from lapel_sim.machine_models.bench import Bench
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.i2s import I2S
from lapel_sim.machine_models.wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECTION = "lapel_device.boards.self_test."
_LOUD = 0x7FFFFF
_NMEA = b"$GPRMC,,V,,,,,,,,,,N*53\r\n"


def tell(**fields: object) -> None:
    """Print one line for the test."""
    print(json.dumps(fields))  # noqa: T201 - the console is how this device talks to its test


# -- faults of the parts, before the board is switched on -------------------------------------------------------------


def no_card(bench: Bench) -> None:
    bench.card.present = False  # type: ignore[union-attr]


def blank_card(bench: Bench) -> None:
    bench.card.content.clear()  # type: ignore[union-attr]


def read_only_card(bench: Bench) -> None:
    bench.card.write_protected = True  # type: ignore[union-attr]


def slow_card(bench: Bench) -> None:
    bench.card.busy_us = 4_000  # type: ignore[union-attr]


def dead_battery(bench: Bench) -> None:
    bench.cell_mv = 0


def empty_battery(bench: Bench) -> None:
    bench.cell_mv = 3200
    wiring.drive("WL_GPIO2", 0)


def no_camera(bench: Bench) -> None:
    part: Any = bench.camera or bench.sensor
    part.present = False


def strange_camera(bench: Bench) -> None:
    bench.camera.identity = 0x17  # type: ignore[union-attr]


def hanging_camera(bench: Bench) -> None:
    if bench.camera is not None:
        bench.camera.never_done = True
    else:
        bench.sensor.hangs = True  # type: ignore[union-attr]


def garbled_camera(bench: Bench) -> None:
    part: Any = bench.camera or bench.sensor
    part.frame = lambda number, width, height: bytes(3000)


def cut_camera(bench: Bench) -> None:
    part: Any = bench.camera or bench.sensor
    part.frame = lambda number, width, height: b"\xff\xd8" + bytes(3000)


def huge_camera(bench: Bench) -> None:
    part: Any = bench.camera or bench.sensor
    part.frame = lambda number, width, height: b"\xff\xd8" + bytes(60_000) + b"\xff\xd9"


def silent_microphone(bench: Bench) -> None:
    bench.microphone.present = False  # type: ignore[union-attr]


def clipped_microphone(bench: Bench) -> None:
    bench.microphone.sample = lambda number: _LOUD if number & 16 else -_LOUD  # type: ignore[union-attr]


def offset_microphone(bench: Bench) -> None:
    bench.microphone.sample = lambda number: 900_000 + number % 40 * 100  # type: ignore[union-attr]


def microphone_without_clock(bench: Bench) -> None:
    I2S._arrived = lambda self: 0  # type: ignore[method-assign]


def fast_microphone(bench: Bench) -> None:
    before = I2S.__init__

    def at_another_rate(self: "Any", id: int, **settings: "Any") -> None:
        settings["rate"] = settings["rate"] * 11 // 10
        before(self, id, **settings)

    I2S.__init__ = at_another_rate  # type: ignore[method-assign]


def stuck_button(bench: Bench) -> None:
    wiring.drive(bench._pins["alarm_button"][0], 0)


def dead_accelerometer(bench: Bench) -> None:
    bench.motion.fail()  # type: ignore[union-attr]


def stuck_accelerometer(bench: Bench) -> None:
    bench.motion._chips[0x18].self_test_mg = 0  # type: ignore[union-attr]


def weightless_accelerometer(bench: Bench) -> None:
    bench.motion._chips[0x18]._source = lambda at_us: (0, 0, 300)  # type: ignore[union-attr]


def silent_receiver(bench: Bench) -> None:
    bench.receiver.powered = False  # type: ignore[union-attr]


def wrong_password(bench: Bench) -> None:
    bench.point.password = "another-password"


def no_access_point(bench: Bench) -> None:
    bench.point.up = False


def deaf_access_point(bench: Bench) -> None:
    bench.point.deaf = True


def weak_signal(bench: Bench) -> None:
    bench.point.rssi = -88


def mute_modem(bench: Bench) -> None:
    bench.modem.mute = True  # type: ignore[union-attr]


def modem_at_another_speed(bench: Bench) -> None:
    modem: Any = bench.modem
    modem.baudrate = 9600

    def babble() -> None:
        modem.say(b"\r\nRDY\r\n")
        clock.at(2_000_000, babble)

    babble()


def no_sim(bench: Bench) -> None:
    bench.modem.sim = False  # type: ignore[union-attr]


def another_pin(bench: Bench) -> None:
    bench.modem.pin = "1234"  # type: ignore[union-attr]


def sim_with_a_pin(bench: Bench) -> None:
    bench.modem.pin = "4711"  # type: ignore[union-attr]


def locked_sim(bench: Bench) -> None:
    bench.modem.pin = "4711"  # type: ignore[union-attr]
    bench.modem.tries = 0  # type: ignore[union-attr]


def no_cell(bench: Bench) -> None:
    bench.modem.register_after = 1 << 20  # type: ignore[union-attr]


def no_cell_and_no_wifi(bench: Bench) -> None:
    no_cell(bench)
    no_access_point(bench)


def denied_sim(bench: Bench) -> None:
    bench.modem.denied = True  # type: ignore[union-attr]


def refused_apn(bench: Bench) -> None:
    bench.modem.refuses = b"AT+CGDCONT"  # type: ignore[union-attr]


def weak_cell(bench: Bench) -> None:
    bench.modem.signal = 2  # type: ignore[union-attr]


def no_data_booked(bench: Bench) -> None:
    bench.modem.context = False  # type: ignore[union-attr]


def no_address(bench: Bench) -> None:
    bench.modem.address = False  # type: ignore[union-attr]


# -- faults of a board that is switched on ----------------------------------------------------------------------------


def bad_contact(board: "Any", bench: Bench) -> None:
    bench.card.bad_writes = 1  # type: ignore[union-attr]


def noisy_wire(board: "Any", bench: Bench) -> None:
    bench.card.bad_reads = 2  # type: ignore[union-attr]


def dying_card(board: "Any", bench: Bench) -> None:
    bench.card.hangs = True  # type: ignore[union-attr]


def sector_that_does_not_program(board: "Any", bench: Bench) -> None:
    bench.flash.stuck.add(board.sectors.blocks[1])


def sector_that_does_not_erase(board: "Any", bench: Bench) -> None:
    board.sectors.program(0, 0, bytes(64))
    bench.flash.weak.add(board.sectors.blocks[0])


def broken_flash(board: "Any", bench: Bench) -> None:
    bench.flash.broken = True


def lost_keys(board: "Any", bench: Bench) -> None:
    for index in range(2):
        board.sectors.erase(index)


def constant_entropy(board: "Any", bench: Bench) -> None:
    board.entropy = lambda size: bytes(size)


def stuck_entropy(board: "Any", bench: Bench) -> None:
    count = [0]

    def read(size: int) -> bytes:
        count[0] += 1
        return bytes((count[0],)) * size

    board.entropy = read


def biased_entropy(board: "Any", bench: Bench) -> None:
    whole = board.entropy
    board.entropy = lambda size: bytes([byte | 0x11 for byte in whole(size)])


def standing_clock(board: "Any", bench: Bench) -> None:
    board.clock.ticks_ms = lambda: 12345


def slow_clock(board: "Any", bench: Bench) -> None:
    whole = board.clock.ticks_ms
    board.clock.ticks_ms = lambda: whole() >> 3


def broken_counter_mode(board: "Any", bench: Bench) -> None:
    from lapel_protocol import ctr_micropython

    module: Any = ctr_micropython
    whole = module.crypt

    def without_the_tail(text: "Any", blocks: "Any", iv: "Any", size: int, stream: "Any", encrypt: "Any") -> None:
        whole(text, blocks, iv, size & ~15, stream, encrypt)

    module.crypt = without_the_tail


def broken_hash(board: "Any", bench: Bench) -> None:
    from lapel_device.boards.self_test import basics

    module: Any = basics
    module.sha256 = lambda *parts: bytes(32)


def dead_light(board: "Any", bench: Bench) -> None:
    def set(rgb: int, vibrate: bool, buzzer_hz: int) -> None:
        raise OSError(5)

    board.indicator.set = set


# -- what a person does -----------------------------------------------------------------------------------------------


def pushed_alarm(board: "Any", bench: Bench) -> None:
    bench.press("alarm_button", 300, 400)


def held_alarm(board: "Any", bench: Bench) -> None:
    bench.press("alarm_button", 1700, 2600)


def held_alarm_too_short(board: "Any", bench: Bench) -> None:
    bench.press("alarm_button", 500, 1900)


def held_alarm_without_its_interrupt(board: "Any", bench: Bench) -> None:
    held_alarm(board, bench)
    board.buttons._alarm.irq(None)


_ARGUMENTS: "dict[str, tuple[object, ...]]" = {
    "radio.wifi": (40_000, True),
    "hands.show": (0x102030, False, 0, 200),
}


def main() -> None:
    """See above."""
    name, fault, tests, path = sys.argv[1:5]
    with open(path) as source:
        files = json.load(source)
    module = __import__("lapel_device.boards." + name, None, None, ("board",))
    bench = Bench(module.BOARD, module.PINS)
    bench.put_files({path: content.encode() for path, content in files.items()})
    from lapel_device.boards.key_sectors import board_flash, reserve

    sectors = reserve(board_flash(module.BOARD["chip"])[0])
    if len(sys.argv) > 5:
        from lapel_device.keystore import provision_sectors

        provision_sectors(sectors, bytes.fromhex(sys.argv[5]), bytes.fromhex(sys.argv[6]))
    wiring.drive("WL_GPIO2", 1)
    cause: Any = globals()[fault] if fault else None
    switched_on = fault in _LATER
    if cause is not None and not switched_on:
        cause(bench)
    board: Any = module.board()
    if switched_on:
        cause(board, bench)
    if bench.receiver is not None:
        _speak(bench)
    loop.install()
    from lapel_device.boards import self_test

    if tests == "gateway":
        from lapel_device.boards.self_test.gateway import RoundTrip

        self_test.run(RoundTrip(board).live, board, 40_000)
        return
    for named in tests.split(","):
        test, *arguments = named.split(" ")
        part, _, function = test.partition(".")
        section = __import__(_SECTION + part, None, None, (function,))
        begun_us = clock.now_us
        given = [int(text) if text.isdigit() else text for text in arguments] or _ARGUMENTS.get(test, ())
        self_test.run(getattr(section, function), board, *given)
        tell(test=named, ms=(clock.now_us - begun_us) // 1000)
    if bench.modem is not None:
        supply = wiring.line(module.PINS["modem_power"][0]).level
        left = [supply, bench.modem.online]
        tell(modem_left=left, modem_boots=bench.modem.boots, modem_tries=bench.modem.tries)
    tell(left=_left(board), resets=wiring.resets)


def _speak(bench: Bench) -> None:
    """A receiver that says one sentence each second."""

    def say() -> None:
        bench.receiver.say(_NMEA)  # type: ignore[union-attr]
        clock.at(1_000_000, say)

    say()


def _left(board: "Any") -> "list[str]":
    """Scratch files that are still there."""
    found = []
    for storage, folder in ((board.slots(), ""), (board.storage, "/spool")):
        try:
            found += [name for name in storage.listdir(folder) if name.endswith(".tmp")]
        except OSError:
            continue
    return found


_LATER = (
    "pushed_alarm",
    "held_alarm",
    "held_alarm_too_short",
    "held_alarm_without_its_interrupt",
    "bad_contact",
    "noisy_wire",
    "dying_card",
    "sector_that_does_not_program",
    "sector_that_does_not_erase",
    "broken_flash",
    "lost_keys",
    "constant_entropy",
    "stuck_entropy",
    "biased_entropy",
    "standing_clock",
    "slow_clock",
    "broken_counter_mode",
    "broken_hash",
    "dead_light",
)
