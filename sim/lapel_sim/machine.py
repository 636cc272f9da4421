"""One simulated device: its hardware, which outlives power cuts, and the MicroPython process, which does not."""

import json
import random
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from . import launcher
from .camera import CameraModel, MicrophoneModel
from .chips.i2c import I2CBus
from .chips.lis3dh import Lis3dhChip
from .disk import BlockDisk
from .gnss import GnssModel
from .hardware import Hardware
from .hostile import Loot, read_memory
from .hosttime import TICKS_PERIOD, DeviceTicks, host_ms
from .journal import Journal
from .link import LinkProxy, LinkThread
from .memory import HeapReader
from .motion import Motion
from .panel import ButtonModel, IndicatorModel
from .power import Power, PowerLost
from .sectors import SectorFlash
from .server import BatteryModel, Bench, FileTasks, RequestServer

FIRMWARE = "lapel_sim.board.run_firmware"
_FILES = "lapel_sim.board.run_files"
# Ticks begin this long before their wrap, so that every run of half a minute meets it.
TICKS_BEFORE_WRAP_MS = 15_000
_CONSOLE_LINE_MAX = 500
_ACCELEROMETER_ADDRESS = 0x18


class DeviceFailed(Exception):
    """The device did not do what only a working device does; the message has the end of its console."""


class Machine:
    """Hardware, power and the process of one device. `SimDevice` adds what people do with it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        hardware: Hardware,
        journal: Journal,
        links: LinkThread,
        rng: random.Random,
        footage: Path,
        cost_scale: float = 0.0,
        broker: tuple[str, int] | None = None,
        seeded_entropy: bool = False,
        heap_bytes: int = launcher.HEAP_BYTES,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder
        self.hardware = hardware
        self.journal = journal
        self.heap_bytes = heap_bytes
        self.ticks = DeviceTicks(0)
        self.boots = 0
        self.module = FIRMWARE
        self.address: tuple[str, int] | None = None  # the broker that its package names
        self.extra_path: Path | None = None
        self.clock_start_s: int | None = (
            None  # what its clock shows at power-on, also to TLS; None: TLS uses the host's
        )
        self.ticks_before_wrap_ms = TICKS_BEFORE_WRAP_MS
        self._rng = rng
        self._cost_scale = cost_scale
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        self._console: list[str] = []
        self._heap = HeapReader()
        self._acted_ms = 0
        self._fed_ms = 0
        self._restarting = False
        self._switching = threading.RLock()
        self._kind = "power"
        self.link = LinkProxy(links, random.Random(rng.random()), self.note)
        self.power = Power(rng, self._power_lost)
        self.buttons = ButtonModel(self.note)
        self.indicator = IndicatorModel(self.note)
        self.camera = CameraModel(footage, name, hardware.frame_interval_ms, hardware.max_frame_bytes, self.note)
        self.microphone = MicrophoneModel(footage, self.note)
        self.battery = BatteryModel()
        self.motion = Motion(f"motion of {name}")
        self.gnss = GnssModel()
        self.i2c = I2CBus()
        self.accelerometer = Lis3dhChip(lambda: host_ms() * 1000, self.motion.at)
        self.i2c.attach(_ACCELEROMETER_ADDRESS, self.accelerometer)
        self.sectors = SectorFlash(folder / "sectors.img", hardware.sectors)
        kind = hardware.disk
        self.disk = BlockDisk(folder / "disk.img", kind.blocks, kind.block_bytes, kind.write_cache)
        self.bench = Bench(
            hardware=hardware,
            power=self.power,
            buttons=self.buttons,
            indicator=self.indicator,
            camera=self.camera,
            microphone=self.microphone,
            battery=self.battery,
            i2c=self.i2c,
            gnss=self.gnss,
            sectors=self.sectors,
            disk=self.disk,
            link=self.link,
            cost_scale=cost_scale,
            entropy=random.Random(rng.random()) if seeded_entropy else None,
            note=self.note,
            broker=broker,
            feed=self._feed,
            reset=self._reset,
        )

    def note(self, kind: str, **fields: Any) -> None:
        """Write to the world's journal under this device's name and ticks."""
        self.journal.write(kind, device=self.name, ticks_ms=self.ticks.now(), **fields)

    # -- power --

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def power_on(self, module: str | None = None, arguments: tuple[str, ...] = ()) -> None:
        """Start the firmware (or another `module` of the board's code). Raises RuntimeError when the power is on
        already.
        """
        if self.power.on:
            raise RuntimeError(f"{self.name} is switched on already")
        self._join()
        self._load_senses()
        with self._switching:
            self._boot(module or self.module, arguments, None)

    def _load_senses(self) -> None:
        if self.hardware.frame_width:
            self.camera.load(self.hardware.frame_width, self.hardware.frame_height)
        if self.hardware.audio_rate_hz:
            self.microphone.load(self.hardware.audio_rate_hz)

    def _power_up(self, module: str) -> None:
        """Power for everything but the processor."""
        self.power.restore()
        self._acted_ms = host_ms()
        self.ticks = DeviceTicks(TICKS_PERIOD - self.ticks_before_wrap_ms)
        self.camera.power_on(self.ticks)
        self.microphone.power_on()
        self.accelerometer.power_on()
        self.buttons.power_on(self.ticks)
        self.gnss.power(False, host_ms())
        self.indicator.power_on()
        self._fed_ms = 0
        self._heap = HeapReader()
        self.note(self._kind, on=True, boot=self.boots, module=module)

    def _boot(self, module: str, arguments: tuple[str, ...], files: FileTasks | None) -> "subprocess.Popen[bytes]":
        self._kind = "files" if files is not None else "power"
        self.boots += files is None
        self._power_up(module)
        ours, theirs = socket.socketpair()
        try:
            process = launcher.start(
                module,
                (str(theirs.fileno()), *arguments),
                (theirs.fileno(),),
                heap_bytes=self.heap_bytes,
                extra_path=self.extra_path,
                clock_start_s=self.clock_start_s,
            )
        except Exception:
            ours.close()
            self.power.cut("no program")
            raise
        finally:
            theirs.close()
        self._process = process
        server = RequestServer(self.bench, self._options(), files)
        self._threads = [
            threading.Thread(
                target=self._serve, args=(server, ours, process), name=f"{self.name}-requests", daemon=True
            ),
            threading.Thread(target=self._listen, args=(process,), name=f"{self.name}-console", daemon=True),
        ]
        if files is None:
            self._threads.append(
                threading.Thread(target=self._guard, args=(process,), name=f"{self.name}-watchdog", daemon=True)
            )
        for thread in self._threads:
            thread.start()
        return process

    def _options(self) -> bytes:
        """What the board reads at its start; see board.wire.read_options."""
        hardware = self.hardware
        options = {
            "profile": hardware.profile(hardware_id=f"sim-{self.name}"),
            "base_ms": self.ticks.base_ms,
            "sectors": hardware.sectors,
            "filesystem": hardware.disk.filesystem,
            "blocks": hardware.disk.blocks,
            "block_bytes": hardware.disk.block_bytes,
            "unit_bytes": hardware.disk.unit_bytes,
            "world_entropy": self.bench.entropy is not None,
            "tls_clock": self.clock_start_s is not None,
            "send_buffer_bytes": hardware.send_buffer_bytes,
            "costs": hardware.costs.on_board(self._cost_scale) if self._cost_scale else {},
        }
        return json.dumps(options, separators=(",", ":")).encode()

    def cut_power(self) -> None:
        """Cut the power at this moment: the process is killed, unsynced writes are lost or torn. Raises RuntimeError
        when it is off.
        """
        with self._switching:
            lost = self.power.cut("cut")
        if not lost:
            raise RuntimeError(f"{self.name} has no power that could be cut")
        self._join()

    def cut_power_at(self, step: str, after: int = 1) -> None:
        """Arm a cut in the middle of the `after`-th next step: sector_erase, sector_program, block_write, block_erase
        or block_sync.
        """
        self.power.arm(step, after)

    def steal(self, running: bool = False) -> Loot:
        """Take the device as it is at this moment and read out its media: a power cut, unless it is off already.

        `running`: the thief freezes it first and reads its memory too. Raises RuntimeError when that is wanted of a
        device that is off.
        """
        with self._switching:
            memory = b""
            if running:
                if self._process is None or not self.power.on:
                    raise RuntimeError(f"{self.name} is off: there is no memory to read")
                self._process.send_signal(signal.SIGSTOP)
                memory = read_memory(self._process.pid)
            if self.power.on:
                self.power.cut("stolen")
        self._join()
        self.note("stolen", running=running)
        return Loot(self.name, self.sectors.image(), self.disk.path.read_bytes(), memory)

    def wait_off(self, timeout_s: float = 30.0) -> None:
        """Wait until the device has no power (an armed cut). Raises DeviceFailed after `timeout_s`."""
        if not self.power.wait_off(timeout_s):
            raise DeviceFailed(f"{self.name} still has power after {timeout_s} s\n{self.console_tail()}")
        self._join()

    def switch_off(self) -> None:
        """Take the power away if there is any, letting the disk finish first (for the end of a run, not as a test of
        cuts).
        """
        with self._switching:
            self.power.cut("switched off", before=self.disk.sync)
        self._join()

    def _power_lost(self, reason: str) -> None:
        self.link.abandon()
        self._kill()
        kept, lost = self.disk.settle(self._rng)
        self.note(self._kind, on=False, reason=reason, pages_kept=kept, pages_lost=lost)

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _join(self) -> None:
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=10)
        self._threads = []

    # -- threads of one boot --

    def _serve(self, server: RequestServer, connection: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        try:
            server.run(connection)
        except PowerLost:
            return
        if self._restarting:
            self._restarting = False
            self._restart("reset by the firmware", process)
            return
        code = process.wait()
        with self._switching:  # a reset that is under way has this process still in its books
            if self.power.on and process is self._process:
                self.note("exit", code=code)
                self.power.cut("the program ended", before=self.disk.sync)

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        if process.stdout is None:
            return
        with process.stdout as console:
            for raw in console:
                line = raw.decode("utf-8", "replace").rstrip()[:_CONSOLE_LINE_MAX]
                if self._heap.take(line):
                    state = self._heap.latest
                    if state is not None and not self._heap.open:
                        self.note(
                            "heap", live=state.live_bytes, free=state.free_bytes, largest_free=state.largest_free_bytes
                        )
                    continue
                self._console.append(line)
                self.note("console", line=line)

    def _guard(self, process: "subprocess.Popen[bytes]") -> None:
        """The watchdog: armed by the first feed, as on hardware."""
        while not self.power.wait_off(0.2) and process is self._process:
            if self._fed_ms and host_ms() - self._fed_ms > self.hardware.watchdog_ms:
                self.note("watchdog", silent_ms=host_ms() - self._fed_ms)
                self._restart("watchdog", process)
                return

    def _feed(self) -> bool:
        self._fed_ms = host_ms()
        return self._heap.asked()

    def _reset(self) -> None:
        self._restarting = True
        self._kill()

    def _restart(self, reason: str, process: "subprocess.Popen[bytes]") -> None:
        """A reset: the power stays, so the card finishes its writes; the processor begins anew.

        Not when somebody switched off, or on again, in the meantime.
        """
        with self._switching:
            if process is self._process and self.power.cut(reason, before=self.disk.sync):
                self._boot(self.module, (), None)

    def do_files(self, tasks: FileTasks, timeout_s: float = 60.0) -> dict[str, bytes]:
        """Carry out file tasks on the real file system, by the real MicroPython, while the firmware is off.

        Raises DeviceFailed when it reports an error, RuntimeError when the power is on.
        """
        if self.power.on:
            raise RuntimeError(f"{self.name} is running: its files are its own now")
        self._join()
        with self._switching:
            process = self._boot(_FILES, (), tasks)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
            code = -1
        self._join()
        self.power.cut("files done")
        if code:
            raise DeviceFailed(f"file work on {self.name} failed (exit {code})\n{self.console_tail()}")
        return tasks.results

    # -- what it said --

    def console_tail(self, lines: int = 15) -> str:
        """The last lines that the device printed."""
        return "\n".join(self._console[-lines:])

    def console_has(self, text: str) -> bool:
        """Whether any line of any boot so far has `text` in it."""
        return any(text in line for line in self._console)

    def close(self) -> None:
        """Switch off, write the console to console.log in the device's folder and let go of the images."""
        self.switch_off()
        self.link.close()
        self.sectors.close()
        self.disk.close()
        (self.folder / "console.log").write_text("\n".join(self._console) + "\n", encoding="utf-8")
