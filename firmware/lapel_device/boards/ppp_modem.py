"""A cellular modem on a UART as the second bearer, where MicroPython has `network.PPP` (AT commands of 3GPP TS 27.007).

Rules that hold here:

- `poll` reads what is there and does one step. Every answer has its time; a dialogue that does not come to its end is
  begun again with the modem switched off and on, after a pause that doubles up to ten minutes.
- A PIN is sent only to a SIM that asks for it; one that was refused is not sent again, as the third wrong one locks it.
- Lines are cut at 96 bytes, and only compared. The PIN and the account's password are never logged.
"""

from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from machine import UART, Pin
    from network import PPP

PAUSE_MS = 10_000
MAX_PAUSE_MS = 600_000
_LINE_BYTES = 96
_ANSWER_MS = 5000
_AGAIN_MS = 2000
_REGISTER_MS = 90_000
_PPP_MS = 60_000
_POWER_OFF_MS = 1500
_BOOT_MS = 5000

_OFF = 0
_BOOTING = 1
_TALKING = 2
_DIALLED = 3
_UP = 4
_PAUSED = 5

_NOT_ASKED = 0
_ASKED = 1
_SENT = 2


class PppModem:
    """`want` it or not. `up` while it carries; `rssi` in dBm as it told when it dialled, 0 = unknown."""

    def __init__(
        self,
        uart: "UART",
        power: "Pin",
        make_ppp: "Callable[[UART], PPP]",
        account: "dict[str, str]",
        log: "Callable[[str], None]",
    ) -> None:
        """`power`: high = on. `account`: apn, and if it needs them pin, user and password; see `fault_of_account`."""
        self._uart = uart
        self._power = power
        self._make_ppp = make_ppp
        self._account = account
        self._log = log
        self._wanted = False
        self._over = False
        self._pin = _NOT_ASKED
        self._state = _OFF
        self._since = ticks_ms()
        self._asked = self._since
        self._step = 0
        self._line = bytearray()
        self._piece = bytearray(64)
        self._ppp: PPP | None = None
        self._pause_ms = PAUSE_MS
        self.rssi = 0

    @property
    def up(self) -> bool:
        """Whether it carries."""
        return self._state == _UP

    def want(self, wanted: bool) -> None:
        """Dial, or hang up and switch off."""
        if wanted == self._wanted or self._over:
            return
        self._wanted = wanted
        self._pause_ms = PAUSE_MS
        if wanted:
            self._boot()
        else:
            self._hang_up()
            self._to(_OFF)

    def lend(self) -> "tuple[UART, Pin, Callable[[UART], PPP], dict[str, str]]":
        """What it is made of, for a self-test: it hangs up, and does nothing itself from now on."""
        self.want(False)
        self._over = True
        return self._uart, self._power, self._make_ppp, self._account

    def poll(self) -> None:
        """One step; call as often as you like. Never raises."""
        if not self._wanted:
            return
        try:
            self._go_on(ticks_diff(ticks_ms(), self._since))
        except (OSError, ValueError, RuntimeError):
            self._give_up("the modem failed")

    def _go_on(self, passed_ms: int) -> None:
        state = self._state
        if state == _PAUSED:
            if passed_ms >= self._pause_ms:
                self._pause_ms = min(2 * self._pause_ms, MAX_PAUSE_MS)
                self._boot()
        elif state == _BOOTING:
            if passed_ms >= _POWER_OFF_MS:
                self._power.value(1)
            if passed_ms >= _POWER_OFF_MS + _BOOT_MS:
                self._step = 0
                self._pin = _NOT_ASKED
                self._to(_TALKING)
                self._ask()
        elif state == _TALKING:
            self._talk(passed_ms)
        else:
            self._carry(passed_ms)

    # -- the dialogue -----------------------------------------------------------------------------------------------

    def _command(self) -> str:
        account = self._account
        return (
            "AT",
            "ATE0",
            self._pin_command(),
            "AT+CSQ",
            'AT+CGDCONT=1,"IP","%s"' % account["apn"],
            "AT+CEREG?",
            "ATD*99#",
        )[self._step]

    def _pin_command(self) -> str:
        pin = self._account.get("pin")
        if not pin:
            return "AT"
        if self._pin == _NOT_ASKED:
            return "AT+CPIN?"
        self._pin = _SENT
        return "AT+CPIN=%s" % pin

    def _ask(self) -> None:
        self._line = bytearray()
        self._asked = ticks_ms()
        self._uart.write(self._command().encode() + b"\r")

    def _talk(self, passed_ms: int) -> None:
        while self._uart.any():
            size = self._uart.readinto(self._piece) or 0
            for at in range(size):
                byte = self._piece[at]
                if byte in (10, 13):
                    if self._line:
                        line, self._line = bytes(self._line), bytearray()
                        self._hear(line)
                        if self._state != _TALKING:
                            return
                elif len(self._line) < _LINE_BYTES:
                    self._line.append(byte)
        waited_ms = ticks_diff(ticks_ms(), self._asked)
        if self._step in (0, 5):
            # A modem that boots says nothing; one that looks for its network says so for a while.
            if passed_ms > _REGISTER_MS:
                self._give_up("the modem says nothing" if not self._step else "the modem finds no network")
            elif waited_ms > _AGAIN_MS:
                self._ask()
        elif waited_ms > _ANSWER_MS + (_PPP_MS if self._step == 6 else 0):
            self._give_up("the modem does not answer")

    def _hear(self, line: bytes) -> None:
        if line.startswith(b"+CSQ: "):
            level = line[6:].split(b",")[0]
            self.rssi = 2 * int(level) - 113 if level.isdigit() and int(level) < 32 else 0
        elif self._step == 5:
            # +CEREG: n,stat: 1 = at home, 5 = roaming (section 10.1.22)
            if line.startswith(b"+CEREG: ") and line[8:].split(b",")[-1].strip() in (b"1", b"5"):
                self._advance()
        elif self._step == 2 and line == b"+CPIN: SIM PIN":
            self._pin = _ASKED
        elif line == b"OK":
            if self._step == 2 and self._pin == _ASKED:
                self._ask()
            else:
                self._advance()
        elif self._step == 6 and line.startswith(b"CONNECT"):
            ppp = self._ppp = self._make_ppp(self._uart)
            _active(ppp, True)
            user = self._account.get("user", "")
            if user:
                ppp.connect(security=getattr(ppp, "SEC_PAP", 1), user=user, key=self._account.get("password", ""))
            else:
                ppp.connect()
            self._to(_DIALLED)
        elif line in (b"ERROR", b"NO CARRIER") or line.startswith(b"+CME ERROR"):
            self._refused()

    def _refused(self) -> None:
        if self._step == 2 and self._pin == _SENT:
            self._give_up("the SIM refuses its PIN: not tried again before a restart")
            self._wanted = False
            self._over = True
        else:
            self._give_up("the modem refuses step %d" % (self._step + 1))

    def _advance(self) -> None:
        if self._step < 6:
            self._step += 1
            self._ask()

    # -- carrying ---------------------------------------------------------------------------------------------------

    def _carry(self, passed_ms: int) -> None:
        ppp = self._ppp
        if ppp is None:
            self._give_up("the modem failed")
            return
        poll = getattr(ppp, "poll", None)
        if poll is not None:
            poll()
        if ppp.isconnected():
            if self._state != _UP:
                self._to(_UP)
                self._pause_ms = PAUSE_MS
                self._log("cellular joined")
        elif self._state == _UP:
            self._give_up("cellular lost")
        elif passed_ms > _PPP_MS:
            self._give_up("cellular does not let us in")

    def _boot(self) -> None:
        self._power.value(0)
        self._to(_BOOTING)

    def _give_up(self, why: str) -> None:
        self._log(why)
        self._hang_up()
        self._to(_PAUSED)

    def _hang_up(self) -> None:
        if self._ppp is not None:
            try:
                self._ppp.disconnect()
                _active(self._ppp, False)
            except OSError:
                pass  # it is switched off in any case
            self._ppp = None
        self._power.value(0)

    def _to(self, state: int) -> None:
        self._state = state
        self._since = ticks_ms()


def _active(ppp: "PPP", on: bool) -> None:
    """The ESP32's wants it, lwIP's has no such method."""
    active = getattr(ppp, "active", None)
    if active is not None:
        active(on)
