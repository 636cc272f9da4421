"""The battery gauge on a model of the converter."""

from machine import ADC, Pin

from lapel_device.boards.battery_adc import AdcBattery
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.judging import fails_with, within_ms
from lapel_sim.machine_models.wiring import wiring

EIO = 5
NO_END = 65535


class Cell:
    """A cell behind a divider of two equal resistors, with the radio's bursts on it."""

    def __init__(self, millivolts: int) -> None:
        self.millivolts = millivolts
        self.sag_mv = 0
        self._reads = 0
        wiring.analogue_mv[26] = self.pin_mv

    def pin_mv(self) -> int:
        self._reads += 1
        return (self.millivolts - (self.sag_mv if self._reads % 4 == 0 else 0)) // 2


def gauge(minutes: int = 600, usb: bool = False) -> AdcBattery:
    return AdcBattery(ADC(Pin(26)), 3300, (100, 100), minutes, Pin("WL_GPIO2", Pin.IN) if usb else None)


def a_cell_is_read_by_its_curve() -> None:
    cell = Cell(4200)
    battery = gauge()
    last = 101
    for millivolts, least, most in ((4200, 98, 100), (3980, 78, 81), (3790, 34, 37), (3690, 8, 11), (3000, 0, 0)):
        cell.millivolts = millivolts
        percent, _ = within_ms(50, battery.read)
        assert least <= percent <= most, (millivolts, percent)
        assert percent < last
        last = percent


def a_burst_of_the_radio_does_not_empty_the_battery() -> None:
    cell = Cell(3980)
    battery = gauge()
    quiet = battery.read()[0]
    cell.sag_mv = 500
    assert battery.read()[0] == quiet


def a_stuck_converter_is_an_error_and_not_an_empty_battery() -> None:
    battery = gauge()
    for pin_mv in (0, 3300, 1000):
        wiring.analogue_mv[26] = lambda pin_mv=pin_mv: pin_mv  # type: ignore[misc]
        fails_with(EIO, battery.read)
    Cell(3800)
    battery.read()


def a_run_time_is_the_nominal_one_until_it_is_known_better() -> None:
    cell = Cell(4200)
    battery = gauge(600)
    assert battery.read() == (100, 600)
    cell.millivolts = 4000
    clock.advance(30 * 60_000_000)
    percent, minutes = battery.read()
    assert percent < 90
    assert minutes == percent * 30 // (100 - percent), "it fell so far in half an hour"


def a_charger_has_no_end_and_begins_the_estimate_anew() -> None:
    wiring.drive("WL_GPIO2", 1)
    Cell(4000)
    battery = gauge(600, usb=True)
    assert battery.read()[1] == NO_END
    assert battery.charging
    wiring.drive("WL_GPIO2", 0)
    percent, minutes = battery.read()
    assert minutes == percent * 6
    assert not battery.charging


def an_esp32_reads_with_its_own_range() -> None:
    wiring.reset("esp32")
    wiring.analogue_mv[1] = lambda: 1990
    battery = AdcBattery(ADC(Pin(1), atten=ADC.ATTN_11DB), 3100, (100, 100), 600)
    assert 77 <= battery.read()[0] <= 81
