"""A whole board on the bench: every part that a board's data names, soldered to the pins that it names.

`Bench(BOARD, PINS)` makes the models; what a person does with the board (press, pull the card) is done here, and what
it shows is written down as it happens. Its flash is new: `put_files` makes the file system of the official image,
mounts it at / (the host's own is then at /host) and puts files there.
"""

import sys

import vfs

from lapel_sim.chips.arducam_mega import ArducamMegaChip
from lapel_sim.chips.i2c import I2CBus
from lapel_sim.chips.lis3dh import Lis3dhChip
from lapel_sim.chips.sdcard import SdCardChip

from .clock import clock
from .esp_camera import SensorPart
from .faults import Misuse
from .flash import NorFlash
from .i2s import MicrophonePart
from .modem import ModemPart
from .radio import AccessPoint, Air
from .uart import SerialPeer
from .wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FLASH_BYTES = 384 * 1024
_CARD_BLOCKS = 32768
_CARD_US = 60
"""A fast card: every poll of a busy one is a call."""
_MOTION_ADDRESS = 0x18
SSID, PASSWORD = "Depot", "depot-password"


class Bench:
    """`shown` has (ms, 0xRRGGBB as the light was driven, vibrating, Hz) of every change.

    The parts are attributes, None where the board has none: `card`, `camera` (an Arducam), `sensor` (an OV2640),
    `microphone`, `motion` (its bus), `receiver` (a serial peer), `modem`; `flash`, `point` (an access point) and
    `cell_mv` every board has.
    """

    def __init__(self, facts: "dict[str, Any]", pins: "dict[str, tuple[int | str, str, str]]") -> None:
        wiring.reset("esp32" if facts["chip"].startswith("esp32") else "rp2")
        self._pins = pins
        self.flash = NorFlash(_FLASH_BYTES // 4096)
        wiring.parts["flash"] = self.flash
        wiring.parts["partitions"] = {"vfs": self.flash}
        self.point = AccessPoint(PASSWORD)
        wiring.parts["air"] = Air(Depot=self.point)
        self.cell_mv = 3950
        divider = facts["battery_divider"]
        wiring.analogue_mv[self._number("battery")] = lambda: self.cell_mv * divider[1] // sum(divider)
        self.card = SdCardChip(_CARD_BLOCKS) if "card_sck" in pins else None
        self.camera = ArducamMegaChip() if "camera_cs" in pins else None
        if self.card is not None:
            self.card.busy_us = self.card.read_us = _CARD_US
        for part, chip in (("card", self.card), ("camera", self.camera)):
            if chip is not None:
                sck, mosi, miso, cs = [self._number("%s_%s" % (part, end)) for end in ("sck", "mosi", "miso", "cs")]
                wiring.attach_spi(sck, mosi, miso, cs, chip)
        self.sensor = SensorPart() if "camera_xclk" in pins else None
        self.microphone = MicrophonePart(_tone) if "microphone_sck" in pins else None
        if self.sensor is not None:
            wiring.parts["sensor"] = self.sensor
        if self.microphone is not None:
            wiring.parts["microphone"] = self.microphone
        self.motion: I2CBus | None = None
        if "motion_sda" in pins:
            self.motion = I2CBus()
            self.motion.attach(_MOTION_ADDRESS, Lis3dhChip(lambda: clock.now_us, lambda at_us: (0, 0, 1000)))
            wiring.parts["i2c%d" % self._number("motion_sda")] = self.motion
        self.receiver = self._peer("gnss_rx", 9600)
        self.modem: ModemPart | None = None
        if "modem_rx" in pins:
            self.modem = ModemPart(pins["modem_power"][0])
            wiring.parts["uart%d" % self._number("modem_rx")] = self.modem
        if "tamper" in pins:
            wiring.drive(pins["tamper"][0], 0)
        self.shown: list[tuple[int, int, bool, int]] = []
        self._last = (0, False, 0)

    def _number(self, name: str) -> int:
        number = self._pins[name][0]
        if not isinstance(number, int):
            raise TypeError("%s is a pin without a number" % name)
        return number

    def _peer(self, name: str, baudrate: int) -> "SerialPeer | None":
        if name not in self._pins:
            return None
        peer = SerialPeer(baudrate)
        wiring.parts["uart%d" % self._number(name)] = peer
        return peer

    def set(self, wanted: "dict[str, Any]") -> None:
        """Faults and conditions by name, as a test outside of this process sends them:
        `{"card": {"present": false}, "camera": {"never_done": true}, "cell_mv": 0}`. Misuse for a name that is none.
        """
        for name, value in wanted.items():
            if not isinstance(value, dict):
                _set(self, name, value)
                continue
            part = getattr(self, name, None)
            if part is None:
                raise Misuse("this board has no %s" % name)
            for attribute, setting in value.items():
                _set(part, attribute, setting)

    # -- what a person does -----------------------------------------------------------------------------------------

    def press(self, button: str, at_ms: int, for_ms: int) -> None:
        """Push "record_button" or "alarm_button" down, so many ms from now, for so long."""
        pin = self._pins[button][0]
        clock.at(at_ms * 1000, lambda: wiring.drive(pin, 0))
        clock.at((at_ms + for_ms) * 1000, lambda: wiring.drive(pin, None))

    def open_case(self, at_ms: int) -> None:
        """Take the lid off."""
        clock.at(at_ms * 1000, lambda: wiring.drive(self._pins["tamper"][0], None))

    # -- what it shows ----------------------------------------------------------------------------------------------

    def watch(self, every_ms: int = 5) -> None:
        """Look at light, motor and buzzer from now on."""

        def look() -> None:
            pixels = wiring.line(self._number("light")).pixels
            rgb = pixels[1] << 16 | pixels[0] << 8 | pixels[2] if len(pixels) >= 3 else 0
            hertz, loud = wiring.line(self._number("buzzer")).duty
            now = (rgb, bool(wiring.line(self._number("vibration")).duty[1]), hertz if loud else 0)
            if now != self._last:
                self._last = now
                self.shown.append((clock.now_us // 1000, now[0], now[1], now[2]))
            clock.at(every_ms * 1000, look)

        look()

    # -- files ------------------------------------------------------------------------------------------------------

    def put_files(self, files: "dict[str, bytes]") -> None:
        """Format the flash (and a card, with FAT) and put files into the flash's file system."""
        vfs.VfsLfs2.mkfs(self.flash, progsize=256)  # type: ignore[call-arg]
        vfs.umount("/")
        vfs.mount(vfs.VfsPosix("/"), "/host")
        sys.path[:] = [_moved(path) for path in sys.path]
        for module in list(sys.modules.values()):
            folder = getattr(module, "__path__", "")
            if isinstance(folder, str) and _moved(folder) != folder:
                module.__path__ = _moved(folder)  # type: ignore[assignment]
        vfs.mount(vfs.VfsLfs2(self.flash, progsize=256), "/")
        for path, content in files.items():
            with open(path, "wb") as out:
                out.write(content)
        if self.card is not None:
            vfs.VfsFat.mkfs(_Bare(self.card))


class _Bare:
    """A card's blocks without the bus, to format it."""

    def __init__(self, card: SdCardChip) -> None:
        self._card = card

    def readblocks(self, block: int, buffer: "bytearray | memoryview") -> None:
        for at in range(0, len(buffer), 512):
            buffer[at : at + 512] = self._card.content.get(block + at // 512, bytes(512))

    def writeblocks(self, block: int, buffer: "bytes | bytearray | memoryview") -> None:
        for at in range(0, len(buffer), 512):
            self._card.content[block + at // 512] = bytes(buffer[at : at + 512])

    def ioctl(self, operation: int, argument: int) -> int:
        return {4: self._card.blocks, 5: 512}.get(operation, 0)


def _set(part: object, name: str, value: object) -> None:
    if not hasattr(part, name):
        raise Misuse("%s has no %s" % (type(part).__name__, name))
    setattr(part, name, value)


def _moved(path: str) -> str:
    """Where a file of the host's is once the board has a file system of its own."""
    return "/host" + path if path[:1] == "/" and path[:4] != "/rom" else path


def _tone(number: int) -> int:
    """A triangle of 500 Hz at 16 kHz, 24 bits."""
    phase = number % 32
    return (phase if phase < 16 else 32 - phase) * 20_000 - 160_000
