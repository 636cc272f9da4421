"""A cellular modem on a UART: it boots, has a SIM or none, looks for its network, and dials (3GPP TS 27.007, V.250).

What is at fault with it is set by attributes. An error has a number only once that was asked for (AT+CMEE=1).
"""

from .clock import clock
from .uart import SerialPeer
from .wiring import wiring

_BOOT_US = 3_000_000
_NO_SIM = 10
_WRONG_PIN = 16


class ModemPart(SerialPeer):
    """`online`: in data mode, which is what PPP needs. `commands`: what it was told while it listened, in order."""

    def __init__(self, power_pin: "int | str") -> None:
        super().__init__(115200)
        self.online = False
        self.boots = 0
        self.mute = False
        self.sim = True
        self.pin = ""  # "" = the SIM wants none
        self.tries = 3  # of the PIN; at 0 the SIM wants its PUK
        self.register_after = 3  # questions that are answered with "not yet"
        self.denied = False
        self.roams = True
        self.signal = 21  # as in +CSQ: 0 to 31 stand for -113 to -51 dBm, 99 is unknown
        self.context = True  # the network gives a data context
        self.address = True  # and PPP an address
        self.refuses = b""
        self.commands: list[bytes] = []
        self._line = b""
        self._asked = 0
        self._open = False
        self._numbers = False
        self._awake_us = 0
        self._supply = wiring.line(power_pin)
        self._supply.watchers.append(self._power)

    def _power(self, level: int) -> None:
        self.online = False
        self._open = False
        self._numbers = False
        self._asked = 0
        self.boots += level
        self._awake_us = clock.now_us + _BOOT_US

    def heard(self, data: bytes) -> None:
        """Commands end with a carriage return; what comes while it boots is lost."""
        if self.online:
            return
        self._line += data
        while b"\r" in self._line:
            place = self._line.index(b"\r")
            command, self._line = self._line[:place], self._line[place + 1 :]
            if self._supply.level and clock.now_us >= self._awake_us and not self.mute:
                self.commands.append(command)
                self._answer(command)

    def _answer(self, command: bytes) -> None:
        if self.refuses and command.startswith(self.refuses):
            self._error(_NO_SIM)
        elif command.startswith(b"AT+CMEE="):
            self._numbers = command.endswith(b"1")
            self._ok()
        elif command == b"AT+CPIN?":
            self._tell_pin()
        elif command.startswith(b"AT+CPIN="):
            self._enter_pin(command[8:].decode())
        elif command.startswith(b"AT+CSQ"):
            self._ok(b"+CSQ: %d,99" % self.signal)
        elif command.startswith(b"AT+CEREG?"):
            self._asked += 1
            self._ok(b"+CEREG: 0,%d" % self._registration())
        elif command.startswith(b"ATD"):
            self.online = self.context and self.address
            self.say(b"\r\nCONNECT 150000000\r\n" if self.context else b"\r\nNO CARRIER\r\n")
        else:
            self._ok()

    def _registration(self) -> int:
        """3GPP TS 27.007 section 10.1.22: 1 at home, 2 looking, 3 denied, 5 roaming."""
        if not self.sim or (self.pin and not self._open):
            return 0
        if self.denied:
            return 3
        if self._asked <= self.register_after:
            return 2
        return 5 if self.roams else 1

    def _tell_pin(self) -> None:
        if not self.sim:
            self._error(_NO_SIM)
        elif self.pin and not self._open:
            self._ok(b"+CPIN: SIM PIN" if self.tries else b"+CPIN: SIM PUK")
        else:
            self._ok(b"+CPIN: READY")

    def _enter_pin(self, pin: str) -> None:
        if not self.sim:
            self._error(_NO_SIM)
        elif self.pin and not self._open and (pin != self.pin or not self.tries):
            self.tries -= self.tries > 0
            self._error(_WRONG_PIN)
        else:
            self._open = True
            self._ok()

    def _ok(self, line: bytes = b"") -> None:
        self.say((b"\r\n" + line + b"\r\n" if line else b"") + b"\r\nOK\r\n")

    def _error(self, number: int) -> None:
        self.say(b"\r\n+CME ERROR: %d\r\n" % number if self._numbers or self.refuses else b"\r\nERROR\r\n")
