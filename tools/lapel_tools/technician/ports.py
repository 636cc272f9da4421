"""What is plugged into this machine: serial ports with a board behind them, and boards in BOOTSEL.

Rules that hold here:

- Looking disturbs nothing: a board that runs a program is interrupted only where the caller says so.
- Every port is looked at within a bounded time, all at once; one that is busy or silent is said to be.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from serial.tools import list_ports

from lapel_device.slots import SLOTS, manifest_path, slot_folder
from lapel_protocol.release import RELEASE_HEADER_BYTES, Manifest, ReleaseError

from .chips import BOARD_USB, ESP_ROM_USB, KNOWN_USB, Chip, chip_named
from .link import BoardError, BoardLink, LinkError

READY = "ready"
"""MicroPython waits at its prompt."""
NO_ANSWER = "no answer"
"""It runs a program, or is no MicroPython."""
IN_USE = "in use"
ROM_LOADER = "boot loader"
BOOTSEL = "BOOTSEL"

ROM_BLOCK_BYTES = 4096
"""What is erased at once of a ROM partition, on the RP2 and on the ESP32."""

_AT_ONCE = 16
_HARDWARE = re.compile(rb'^HARDWARE = "(\w{1,16})"$', re.MULTILINE)
_PROBE = f"""\
import gc,os,sys
gc.collect()
def _r(p,n):
 try:
  with open(p,'rb') as f:return f.read(n)
 except OSError:return None
try:
 import machine
 _i=machine.unique_id().hex()
except Exception:
 _i=''
try:
 _u=os.uname()
 _n=(_u[4],_u[2])
except AttributeError:
 _n=(getattr(sys.implementation,'_machine',''),'.'.join(str(x) for x in sys.implementation[1][:3]))
_c=None
for _d in ['']+['/'+e[0] for e in os.ilistdir('/') if e[1]&0x4000]:
 _c=_c or _r(_d+'/config.json',4096)
_z=0
try:
 import vfs
 if vfs.rom_ioctl(1)>0:
  _p=vfs.rom_ioctl(2,0)
  if _p.ioctl(5,0)=={ROM_BLOCK_BYTES}:_z=_p.ioctl(4,0)*{ROM_BLOCK_BYTES}
except (ImportError,AttributeError,OSError):
 pass
print(repr((_n[0],_n[1],sys.implementation._mpy,_i,_r('/lapel_board.py',512),
 [_r(p,{RELEASE_HEADER_BYTES}) for p in {[manifest_path(slot) for slot in SLOTS]!r}],_c,_z)))
"""
_DEVICE = re.compile(rb'"device"\s*:\s*"([0-9a-f]{16})"')


@dataclass(frozen=True)
class BoardFacts:
    """What a board at its prompt says of itself. `slots`: the version that lies in each, by folder; unverified.

    `device` is the id that it was provisioned with, empty where it was not. `rom_bytes`: the size of its ROM partition,
    0 where its MicroPython has none.
    """

    machine: str
    release: str
    mpy: int
    unique_id: str
    hardware: str
    slots: dict[str, str]
    device: str
    rom_bytes: int = 0

    @property
    def chip(self) -> Chip | None:
        return chip_named(self.machine)

    def slot_version(self, slot: int) -> str:
        """The version that lies in a slot, unverified."""
        return self.slots.get(slot_folder(slot), "")


@dataclass(frozen=True)
class SerialPort:
    """A port as the operating system knows it. `usb`: vendor and product, None for one that is not on USB."""

    device: str
    usb: tuple[int, int] | None = None
    serial_number: str = ""
    description: str = ""

    @property
    def kind(self) -> str:
        """What the USB ids are known as, empty for those that are not."""
        return KNOWN_USB.get(self.usb, "") if self.usb else ""

    @property
    def in_rom(self) -> bool:
        """Whether this is the USB that an ESP32-S3 has without MicroPython."""
        return self.usb == ESP_ROM_USB


def is_board(port: SerialPort) -> bool:
    """Whether MicroPython boards show themselves like this; an adapter could lead to anything and must be named."""
    return port.usb in BOARD_USB


@dataclass(frozen=True)
class Found:
    """One thing that is plugged in. `board` only where it answered; `remark` says what can be done."""

    port: SerialPort
    state: str
    board: BoardFacts | None = None
    remark: str = field(default="")


def usb_ports() -> list[SerialPort]:
    """Every serial port on USB, by name."""
    found = []
    for info in sorted(list_ports.comports(), key=lambda info: info.device):
        if info.vid is not None and info.pid is not None:
            number, text = info.serial_number or "", info.product or info.description or ""
            found.append(SerialPort(info.device, (info.vid, info.pid), number, text))
    return found


def port_of(serial_number: str) -> SerialPort | None:
    """The port of a board that had another name before it started again."""
    return next((port for port in usb_ports() if serial_number and port.serial_number == serial_number), None)


def wait_for_port(serial_number: str, timeout_s: float) -> SerialPort | None:
    """The port of a board that starts again, as soon as there is one; None when it stays away."""
    end = time.monotonic() + timeout_s
    found = port_of(serial_number)
    while found is None and serial_number and time.monotonic() < end:
        time.sleep(0.1)
        found = port_of(serial_number)
    return found


def named_ports(names: Sequence[str]) -> list[SerialPort]:
    """The ports that a technician named: device files or USB serial numbers."""
    known = {port.device: port for port in usb_ports()}
    numbers = {port.serial_number: port for port in known.values()}
    return [known.get(name) or numbers.get(name) or SerialPort(name) for name in names]


def look(ports: Iterable[SerialPort], interrupt: bool = False) -> list[Found]:
    """Ask every port what is behind it. `interrupt`: also a board that runs, which then starts anew."""
    wanted = list(ports)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(lambda port: look_at(port, interrupt), wanted))


def look_at(port: SerialPort, interrupt: bool = False) -> Found:
    """Ask one port."""
    try:
        link = BoardLink(port.device)
    except LinkError as error:
        return Found(port, IN_USE, remark=_without_port(error, port))
    with link:
        try:
            idle = link.is_idle()
            if not idle and not interrupt:
                return _unasked(port)
            link.stop(fresh=False)
            facts = read_facts(link)
            if not idle:
                link.reset()
                return Found(port, READY, facts, "it was running, and starts again")
            return Found(port, READY, facts)
        except LinkError as error:
            return Found(port, NO_ANSWER, remark=_without_port(error, port))
        except BoardError as error:
            return Found(port, NO_ANSWER, remark=f"MicroPython refuses to answer: {error}")


def _unasked(port: SerialPort) -> Found:
    if port.in_rom:
        return Found(port, ROM_LOADER, remark="no MicroPython answers: lapel device flash --image FILE.bin")
    return Found(port, NO_ANSWER, remark="it runs a program, or is silent; --ask interrupts it and starts it again")


def read_facts(link: BoardLink) -> BoardFacts:
    """What a stopped board says of itself. Raises LinkError and BoardError."""
    answer = link.ask(_PROBE)
    try:
        machine, release, mpy, unique_id, board, heads, config, rom_bytes = answer
        hardware = _HARDWARE.search(board or b"")
        device = _DEVICE.search(config or b"")
        slots = {slot_folder(slot): _version(head) for slot, head in zip(SLOTS, heads, strict=True) if head}
        return BoardFacts(
            str(machine),
            str(release),
            int(mpy),
            str(unique_id),
            hardware[1].decode() if hardware else "",
            slots,
            device[1].decode() if device else "",
            int(rom_bytes),
        )
    except (TypeError, ValueError):
        raise LinkError(f"{link.port}: the board answers with what nobody asked for") from None


def _version(head: bytes) -> str:
    try:
        manifest = Manifest(head)
    except (ReleaseError, ValueError, TypeError):
        return "damaged"
    return f"{manifest.version} ({manifest.number})"


def _without_port(error: LinkError, port: SerialPort) -> str:
    return str(error).removeprefix(f"{port.device}: ")
