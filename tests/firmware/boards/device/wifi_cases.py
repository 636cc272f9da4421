"""The Wi-Fi station, the modem and both as bearers, on models of the radio and of a modem."""

from machine import UART, Pin
from network import PPP, WLAN

from lapel_device.boards.bearers import Bearers
from lapel_device.boards.ppp_modem import PppModem
from lapel_device.boards.wifi import WifiStation
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.judging import within_ms
from lapel_sim.machine_models.modem import ModemPart
from lapel_sim.machine_models.radio import AccessPoint, Air
from lapel_sim.machine_models.wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_device.boards.wifi_networks import Network

DEPOT = ("Depot", "depot-password", "wpa2/wpa3")
YARD = ("Yard", "yard-password", "wpa3")
ACCOUNT = {"apn": "iot.example", "pin": "4711", "user": "crew", "password": "sim-secret"}


class Station:
    """A station in the air of a test, and what it logged."""

    def __init__(self, *networks: "Network") -> None:
        self.depot, self.yard = AccessPoint(DEPOT[1]), AccessPoint(YARD[1], "wpa3", -71)
        self.air = Air(Depot=self.depot, Yard=self.yard)
        wiring.parts["air"] = self.air
        self.lines: list[str] = []
        self.wifi = WifiStation(WLAN(0), list(networks), self.lines.append)

    def live(self, seconds: int) -> None:
        """Let the board look after it for so long."""
        for _ in range(100 * seconds):
            within_ms(1, self.wifi.poll)
            clock.advance(10_000)


def both_ports() -> "list[str]":
    return ["rp2", "esp32"]


def a_station_joins_the_network_that_it_prefers() -> None:
    for port in both_ports():
        wiring.reset(port)
        station = Station(DEPOT, YARD)
        station.live(5)
        assert station.wifi.up
        assert station.wifi.joined == 1
        assert station.wifi.rssi() == -60
        assert station.air.tries == ["Depot"]


def a_network_that_is_not_there_gives_way_to_the_next() -> None:
    for port in both_ports():
        wiring.reset(port)
        station = Station(DEPOT, YARD)
        station.depot.up = False
        station.live(10)
        assert (station.wifi.joined, station.wifi.rssi()) == (2, -71)
        assert "Wi-Fi network 1: not within reach" in station.lines


def a_wrong_password_is_said_once_and_nothing_of_it_is_logged() -> None:
    for port in both_ports():
        wiring.reset(port)
        station = Station(("Depot", "not the password", "wpa2"))
        station.live(120)
        assert not station.wifi.up
        assert station.lines == ["Wi-Fi network 1: wrong password"]


def a_round_in_vain_is_repeated_ever_more_slowly() -> None:
    station = Station(DEPOT, YARD)
    station.depot.up = station.yard.up = False
    station.live(600)
    assert 8 < len(station.air.tries) // 2 < 20
    tries = len(station.air.tries)
    station.live(60)
    assert len(station.air.tries) - tries <= 4
    station.depot.up = True
    station.live(70)
    assert station.wifi.up, "it is still looked for"


def a_network_that_vanishes_is_found_again_at_once() -> None:
    for port in both_ports():
        wiring.reset(port)
        station = Station(DEPOT, YARD)
        station.live(5)
        station.depot.up = False
        station.live(10)
        assert station.wifi.joined == 2
        assert "Wi-Fi network 1 lost" in station.lines
        station.yard.up = False
        station.depot.up = True
        station.live(10)
        assert station.wifi.joined == 1


def an_access_point_that_never_answers_is_given_up() -> None:
    station = Station(DEPOT, YARD)
    station.depot.deaf = True
    station.live(25)
    assert station.wifi.joined == 2


def a_network_of_the_wrong_security_is_not_joined() -> None:
    station = Station(("Depot", DEPOT[1], "wpa3"))
    station.live(30)
    assert not station.wifi.up, "the access point has WPA2 only"


def a_device_without_networks_stays_quiet() -> None:
    station = Station()
    station.live(60)
    assert station.air.tries == []
    assert station.lines == []


class Dialler:
    """A modem's driver, wanted, and what it logged."""

    def __init__(self) -> None:
        self.modem = ModemPart(27)
        wiring.parts["uart1"] = self.modem
        self.lines: list[str] = []
        uart = UART(0, baudrate=115200, tx=Pin(0), rx=Pin(1), rxbuf=4096)
        self.ppp: list[PPP] = []
        self.driver = PppModem(uart, Pin(27, Pin.OUT, value=0), self._make, ACCOUNT, self.lines.append)

    def _make(self, uart: UART) -> PPP:
        self.ppp.append(PPP(uart))
        return self.ppp[-1]

    def live(self, seconds: int) -> None:
        for _ in range(20 * seconds):
            within_ms(1, self.driver.poll)
            clock.advance(50_000)


def a_modem_dials_and_carries() -> None:
    dialler = Dialler()
    dialler.live(30)
    assert dialler.modem.boots == 0, "nobody wants it"
    dialler.driver.want(True)
    dialler.live(30)
    assert dialler.driver.up, dialler.lines
    assert dialler.driver.rssi == -71
    assert b'AT+CGDCONT=1,"IP","iot.example"' in dialler.modem.commands
    assert b"AT+CPIN=4711" not in dialler.modem.commands, "this SIM asks for none"
    assert dialler.ppp[0].credentials == ("crew", "sim-secret")  # type: ignore[attr-defined]
    dialler.driver.want(False)
    assert not dialler.driver.up
    assert wiring.line(27).level == 0
    assert not any("4711" in line or "secret" in line for line in dialler.lines)


def a_sim_that_asks_for_its_pin_gets_it() -> None:
    dialler = Dialler()
    dialler.modem.pin = "4711"
    dialler.driver.want(True)
    dialler.live(30)
    assert dialler.driver.up, dialler.lines
    assert dialler.modem.commands.count(b"AT+CPIN=4711") == 1


def a_refused_pin_is_not_tried_again_so_that_the_sim_is_not_locked() -> None:
    dialler = Dialler()
    dialler.modem.pin = "1234"
    for _ in range(4):
        dialler.driver.want(True)
        dialler.live(600)
        dialler.driver.want(False)
    assert dialler.modem.tries == 2
    assert dialler.lines == ["the SIM refuses its PIN: not tried again before a restart"]
    assert wiring.line(27).level == 0


def a_modem_that_says_nothing_is_switched_off_and_on() -> None:
    dialler = Dialler()
    dialler.modem.mute = True
    dialler.driver.want(True)
    dialler.live(120)
    assert dialler.lines == ["the modem says nothing"]
    dialler.modem.mute = False
    dialler.live(60)
    assert dialler.driver.up
    assert dialler.modem.boots == 2


def a_modem_without_a_network_is_asked_again_ever_more_slowly() -> None:
    dialler = Dialler()
    dialler.modem.register_after = 1 << 30
    dialler.driver.want(True)
    dialler.live(1800)
    assert set(dialler.lines) == {"the modem finds no network"}
    assert 4 < len(dialler.lines) < 12


def a_sim_that_does_not_answer_is_told_by_its_step() -> None:
    dialler = Dialler()
    dialler.modem.refuses = b"AT+CPIN"
    dialler.driver.want(True)
    dialler.live(15)
    assert dialler.lines == ["the modem refuses step 3"]


def a_lost_connection_is_dialled_again() -> None:
    dialler = Dialler()
    dialler.driver.want(True)
    dialler.live(30)
    dialler.modem.online = False
    dialler.live(60)
    assert dialler.driver.up
    assert "cellular lost" in dialler.lines


def a_radio_that_raises_is_said_once_and_restarts_nothing() -> None:
    """Each look ends, whatever `connect` raises, and however many networks there are."""

    class Dead(WLAN):
        def connect(self, *words: str, **options: object) -> None:
            raise OSError("Wifi Internal State Error")

    for port in both_ports():
        wiring.reset(port)
        station = Station(DEPOT, YARD)
        station.wifi = WifiStation(Dead(0), [DEPOT, YARD], station.lines.append)
        station.live(30)
        assert not station.wifi.up
        assert len([line for line in station.lines if "does not answer" in line]) == 1


def a_modem_is_dialled_when_wifi_was_away_for_a_while_and_hung_up_when_it_is_back() -> None:
    station = Station(DEPOT)
    dialler = Dialler()
    bearers = Bearers(station.wifi, dialler.driver)

    def live(seconds: int) -> None:
        for _ in range(20 * seconds):
            bearers.poll()
            clock.advance(50_000)

    live(30)
    assert bearers.is_up()
    station.depot.up = False
    live(15)
    assert dialler.modem.boots == 0, "a doorway does not make it dial"
    live(60)
    assert dialler.driver.up
    assert bearers.is_up()
    station.depot.up = True
    live(100)
    assert station.wifi.up
    live(70)
    assert not dialler.driver.up
    assert bearers.is_up()
