"""Makes a board of its data: what a board's own module names, and the drivers for it.

The data is plain, so that tools read it without MicroPython: `BOARD` (facts), `PINS` (name: pin, bus, where the wire
goes) and `PROFILE` (contract.Profile). A part is there if its pins are. Rules that hold here:

- Buttons come first, because a hold of ALARM counts from here on, and then the large buffers, while the heap is whole.
- Nothing that is missing or broken stops the board: a part that does not answer says so when it is used.
- `card`, `wifi` and `modem` are there for self-tests beside what the contract names; None where there is none.
"""

import os
import time

from machine import PWM, SPI, Pin, reset, unique_id

from .bearers import Bearers
from .buttons import PinButtons
from .indicator import MOTOR_HZ, Indicator
from .key_sectors import key_sectors, reserved_sectors
from .machine_clock import MachineClock
from .machine_watchdog import MachineWatchdog
from .net import SocketNetwork
from .vfs import VfsStorage
from .wifi import WifiStation
from .wifi_networks import load_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from machine import UART
    from network import PPP

    from . import contract
    from .indicator import Light
    from .ppp_modem import PppModem
    from .sdcard import SdCard

    Facts = dict[str, Any]
    Pins = dict[str, tuple[int | str, str, str]]

_BUZZER_HZ = 1000
_CARD_HZ = 20_000_000
_CAMERA_HZ = 8_000_000
_I2C_HZ = 400_000
_UART_BUFFER_BYTES = 512
_MODEM_BUFFER_BYTES = 4096
_MODEM_HZ = 115_200
_RP2_FULL_MV = 3300
_ESP32_FULL_MV = 3100
_MAX_ENTROPY_BYTES = 64
_EINVAL = 22


class Profile:
    """The board's fixed facts (contract.Profile)."""

    name: str
    hardware_id: str
    max_frame_bytes: int
    frame_width: int
    frame_height: int
    frame_interval_ms: int
    audio_rate_hz: int
    audio_block_bytes: int
    chunk_segments: int
    window_bytes: int
    storage_reserve_bytes: int
    sync_segments: int

    def __init__(self, name: str, figures: "dict[str, int]") -> None:
        self.name = name
        self.hardware_id = "".join(["%02x" % byte for byte in unique_id()])
        for figure, value in figures.items():
            setattr(self, figure, value)


class MachineBoard:
    """A real board; see contract.Board."""

    def __init__(self, facts: "Facts", pins: "Pins", profile: "dict[str, int]") -> None:
        self._facts = facts
        self._pins = pins
        self._esp32 = facts["chip"].startswith("esp32")
        self.profile: contract.Profile = Profile(facts["name"], profile)
        self.clock: contract.Clock = MachineClock()
        self.buttons: contract.Buttons = self._make_buttons()
        self.camera: contract.Camera = self._make_camera()
        self.microphone: contract.Microphone = self._make_microphone()
        self.indicator: contract.Indicator = self._make_indicator()
        self.battery: contract.Battery = self._make_battery()
        self.sectors: contract.Sectors = key_sectors(facts["chip"])
        self.card: SdCard | None = None
        self.storage: contract.Storage = self._make_storage()
        self.wifi = self._make_wifi()
        self.modem = self._make_modem()
        bearers = Bearers(self.wifi, self.modem)
        self.network: contract.Network = SocketNetwork(bearers.is_up)
        self.watchdog: contract.Watchdog = MachineWatchdog(bearers.poll)

    def accelerometer(self) -> "contract.Accelerometer | None":
        """See contract.Board."""
        if "motion_sda" not in self._pins:
            return None
        from machine import I2C

        from .lis3dh import Lis3dh

        bus = I2C(self._bus("motion_sda"), scl=self._pin("motion_scl"), sda=self._pin("motion_sda"), freq=_I2C_HZ)
        return Lis3dh(bus)

    def gnss(self) -> "contract.Gnss | None":
        """See contract.Board."""
        if "gnss_rx" not in self._pins:
            return None
        from .gnss_uart import UartGnss

        return UartGnss(self._gnss_uart, self._output("gnss_power") if "gnss_power" in self._pins else None)

    def slots(self) -> "contract.Storage | None":
        """The flash's own file system, card or not."""
        return VfsStorage("")

    def reserve_sectors(self) -> "contract.Sectors":
        """Make the key sectors, once, when the device is provisioned; harmless when they are there. Raises OSError."""
        self.sectors = reserved_sectors(self._facts["chip"])
        return self.sectors

    def entropy(self, size: int) -> bytes:
        """The chip's own; an RP2040's is weak (contract.Board)."""
        if not 1 <= size <= _MAX_ENTROPY_BYTES:
            raise OSError(_EINVAL)
        return os.urandom(size)

    def log(self, line: str) -> None:
        """To the USB console."""
        print(line)  # noqa: T201

    def reset(self) -> None:
        """Does not return."""
        reset()

    # -- pins -------------------------------------------------------------------------------------------------------

    def _bus(self, name: str) -> int:
        """The number at the end of a bus' name: "SPI1" is 1."""
        return int(self._pins[name][1].split(" ")[0][-1])

    def _pin(self, name: str) -> Pin:
        return Pin(self._pins[name][0])

    def _number(self, name: str) -> int:
        number = self._pins[name][0]
        return number if isinstance(number, int) else -1

    def _input(self, name: str) -> Pin:
        return Pin(self._pins[name][0], Pin.IN, Pin.PULL_UP)

    def _output(self, name: str, value: int = 0) -> Pin:
        return Pin(self._pins[name][0], Pin.OUT, value=value)

    def _pwm(self, name: str, freq: int) -> PWM:
        return PWM(self._pin(name), freq=freq, duty_u16=0)

    def _spi(self, part: str, baudrate: int) -> SPI:
        names = (part + "_sck", part + "_mosi", part + "_miso")
        sck, mosi, miso = [self._pin(name) for name in names]
        return SPI(self._bus(names[0]), baudrate=baudrate, polarity=0, phase=0, sck=sck, mosi=mosi, miso=miso)

    def _gnss_uart(self, baudrate: int) -> "UART":
        return self._uart("gnss", baudrate, _UART_BUFFER_BYTES)

    def _uart(self, part: str, baudrate: int, buffer_bytes: int) -> "UART":
        from machine import UART

        tx, rx = self._pin(part + "_tx"), self._pin(part + "_rx")
        return UART(self._bus(part + "_rx"), baudrate=baudrate, tx=tx, rx=rx, rxbuf=buffer_bytes, timeout=0)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _make_buttons(self) -> PinButtons:
        tamper = self._input("tamper") if "tamper" in self._pins else None
        return PinButtons(self._input("record_button"), self._input("alarm_button"), self.clock, tamper)

    def _make_camera(self) -> "contract.Camera":
        size = self.profile.max_frame_bytes
        if "camera_cs" in self._pins:
            from .arducam_mega import ArducamMega

            return ArducamMega(self._spi("camera", _CAMERA_HZ), self._output("camera_cs", 1), size)
        if "camera_xclk" in self._pins:
            from .esp_camera import EspCamera

            wires: dict[str, Any] = {"data_pins": [self._number("camera_d%d" % bit) for bit in range(8)]}
            for wire in ("pclk", "vsync", "href", "sda", "scl", "xclk"):
                wires[wire + "_pin"] = self._number("camera_" + wire)
            return EspCamera(wires, size)
        from .no_parts import NoCamera

        return NoCamera()

    def _make_microphone(self) -> "contract.Microphone":
        if "microphone_sck" not in self._pins:
            from .no_parts import NoMicrophone

            return NoMicrophone()
        from .i2s_microphone import I2sMicrophone

        sck, ws, sd = self._pin("microphone_sck"), self._pin("microphone_ws"), self._pin("microphone_sd")
        frame_bytes = 4 if self._esp32 else 8
        size = self._facts["microphone_buffer_bytes"]
        return I2sMicrophone(self._bus("microphone_sck"), sck, ws, sd, size, frame_bytes)

    def _make_indicator(self) -> Indicator:
        light: Light
        if "light" in self._pins:
            from .pixel_light import PixelLight

            light = PixelLight(self._output("light"))
        else:
            from .pwm_light import LIGHT_HZ, PwmLight

            red, green, blue = [self._pwm("light_" + colour, LIGHT_HZ) for colour in ("red", "green", "blue")]
            light = PwmLight(red, green, blue)
        return Indicator(light, self._pwm("vibration", MOTOR_HZ), self._pwm("buzzer", _BUZZER_HZ))

    def _make_battery(self) -> "contract.Battery":
        from machine import ADC

        from .battery_adc import AdcBattery

        pin = self._pin("battery")
        adc = ADC(pin, atten=ADC.ATTN_11DB) if self._esp32 else ADC(pin)
        full_mv = _ESP32_FULL_MV if self._esp32 else _RP2_FULL_MV
        usb_power = Pin(self._pins["usb_power"][0], Pin.IN) if "usb_power" in self._pins else None
        facts = self._facts
        return AdcBattery(adc, full_mv, facts["battery_divider"], facts["battery_minutes"], usb_power)

    def _make_storage(self) -> "contract.Storage":
        if "card_sck" not in self._pins:
            return VfsStorage("")
        from .sdcard import SdCard
        from .split_storage import SplitStorage

        self.card = SdCard(self._spi("card", 400_000), self._output("card_cs", 1), _CARD_HZ)
        storage = SplitStorage(self.card, self.log)
        storage.begin(time.sleep_ms)  # type: ignore[attr-defined,unused-ignore]
        return storage

    def _make_wifi(self) -> WifiStation:
        import network

        wlan = network.WLAN(network.STA_IF)
        networks = load_networks(self.storage, self.log)
        if networks:
            try:
                wlan.active(True)  # the radio chip takes most of a second for it: now, and not while the loops run
            except OSError as error:
                self.log("the radio does not start: %s" % error)
        return WifiStation(wlan, networks, self.log)

    def _make_modem(self) -> "PppModem | None":
        if "modem_rx" not in self._pins:
            return None
        from .modem_account import load_account

        account = load_account(self.storage, self.log)
        if account is None:
            return None
        import network

        make_ppp: type[PPP] | None = getattr(network, "PPP", None)
        if make_ppp is None:
            self.log("this MicroPython has no PPP: the modem is not used")
            return None
        from .ppp_modem import PppModem

        uart = self._uart("modem", _MODEM_HZ, _MODEM_BUFFER_BYTES)
        return PppModem(uart, self._output("modem_power"), make_ppp, account, self.log)
