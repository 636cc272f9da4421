"""The GNSS receiver's driver on a model of the port, and NMEA read through it."""

from machine import UART, Pin

from lapel_device.boards.gnss_uart import UartGnss
from lapel_device.nmea import Nmea
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.judging import fails_with, within_ms
from lapel_sim.machine_models.uart import SerialPeer
from lapel_sim.machine_models.wiring import wiring

ENODEV = 19
FIX = b"$GNGGA,092725.00,5128.67400,N,00000.09000,W,1,08,1.01,50.0,M,48.0,M,,*68\r\n"
FILLER = b"$GPGSV,3,1,11,03,03,111,00,04,15,270,00,06,01,010,00,13,06,292,00*74\r\n"


class Receiver(SerialPeer):
    """Speaks every second while its power is on; `obeys` a request for another speed."""

    def __init__(self, obeys: bool) -> None:
        super().__init__(9600)
        self.obeys = obeys
        self.on = True
        wiring.parts["uart9"] = self
        self._speak()

    def _speak(self) -> None:
        self.powered = self.on and wiring.line(28).level == 1
        if not self.powered:
            self.baudrate = 9600
        self.say(FILLER + FIX)
        clock.at(1_000_000, self._speak)

    def heard(self, data: bytes) -> None:
        super().heard(data)
        if self.obeys and b"PUBX,41" in data:
            self.baudrate = 4800


def make_uart(baudrate: int) -> UART:
    return UART(1, baudrate=baudrate, tx=Pin(8), rx=Pin(9), rxbuf=512)


def driver() -> UartGnss:
    return UartGnss(make_uart, Pin(28, Pin.OUT, value=0))


def listen(gnss: UartGnss, nmea: Nmea, seconds: int, gap_us: int = 0) -> int:
    """Fixes heard in so many seconds, looking ten times a second, with a flash erase before each look."""
    fixes = 0
    buffer = memoryview(bytearray(128))
    last = nmea.age_ms(clock.now_us // 1000)
    for _ in range(10 * seconds):
        if gap_us:
            clock.without_interrupts(gap_us)
        clock.advance(100_000 - gap_us)
        for _ in range(4):
            size = within_ms(1, gnss.readinto, buffer)
            if size:
                nmea.feed(buffer[:size], clock.now_us // 1000)
            if size < 128:
                break
        age = nmea.age_ms(clock.now_us // 1000)
        fixes += 0 <= age < 100 and (last < 0 or age <= last)
        last = age
    return fixes


def a_receiver_is_slowed_down_and_loses_nothing_to_flash_erases() -> None:
    receiver = Receiver(obeys=True)
    gnss, nmea = driver(), Nmea()
    gnss.start()
    listen(gnss, nmea, 5)
    assert gnss.speed == 4800
    lost = receiver.lost
    assert listen(gnss, nmea, 20, 50_000) >= 19
    assert receiver.lost == lost
    assert nmea.latitude == 514779000


def a_receiver_that_stays_fast_is_listened_to_as_it_is() -> None:
    Receiver(obeys=False)
    gnss, nmea = driver(), Nmea()
    gnss.start()
    listen(gnss, nmea, 10)
    assert gnss.speed == 9600
    assert listen(gnss, nmea, 10) >= 9


def a_silent_receiver_is_an_error_after_a_while() -> None:
    receiver = Receiver(obeys=True)
    receiver.on = False
    gnss = driver()
    gnss.start()
    fails_with(ENODEV, listen, gnss, Nmea(), 20)
    gnss.stop()


def a_stopped_receiver_has_no_power_and_starts_again() -> None:
    Receiver(obeys=True)
    gnss, nmea = driver(), Nmea()
    gnss.stop()
    gnss.start()
    listen(gnss, nmea, 5)
    gnss.stop()
    assert wiring.line(28).level == 0
    assert gnss.readinto(bytearray(64)) == 0
    gnss.start()
    listen(gnss, nmea, 6)
    assert gnss.speed == 4800


def a_buffer_that_nobody_reads_overflows_and_does_no_harm() -> None:
    Receiver(obeys=True)
    gnss, nmea = driver(), Nmea()
    gnss.start()
    listen(gnss, nmea, 5)
    clock.advance(5_000_000)
    assert listen(gnss, nmea, 5) >= 3
