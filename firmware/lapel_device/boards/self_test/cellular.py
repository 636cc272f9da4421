"""Self-test of the cellular modem: it answers, its SIM is open, it is in a network, and PPP gives it an address.

The driver lends its parts, and does nothing itself from then on. A wrong PIN is tried once: three of them lock a SIM.
Sources: 3GPP TS 27.007 (AT+CMEE 9.1, CPIN 8.3, CSQ 8.5, CEREG 10.1.22, CGDCONT 10.1.1, errors 9.2), 27.005, V.250.
"""

from . import absent, failed, feed, passed, pause, pins_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Outcome

_LOOK_MS = 50
_OFF_MS = 1500
_BOOT_MS = 20_000
_ANSWER_MS = 5000
_SIM_MS = 10_000
_REGISTER_MS = 60_000
_DIAL_MS = 20_000
_ADDRESS_MS = 30_000
_AGAIN_MS = 2000
_LINE_BYTES = 96
_WEAK_DBM = -105
"""Below this LTE gets slow and goes away indoors: 27.007's scale, which ends at -113."""

_SIM_ERRORS = {b"10": "sim_missing", b"13": "sim_broken", b"15": "sim_broken", b"12": "puk", b"16": "pin_wrong"}
_BUSY = b"14"


class _Dialogue:
    """A question, and the lines up to the modem's final word. `heard`: bytes that came in all."""

    def __init__(self, board: "Any", uart: "Any") -> None:
        self._board = board
        self._uart = uart
        self._piece = bytearray(64)
        self.heard = 0

    def ask(self, command: str, ms: int = _ANSWER_MS) -> "tuple[str, list[bytes]]":
        """One of "OK", "CONNECT", "ERROR", with the lines before it; "" when nothing final comes in time."""
        self._read()
        self._uart.write(command.encode() + b"\r")
        line = bytearray()
        lines: list[bytes] = []
        for _ in range(ms // _LOOK_MS):
            pause(self._board, _LOOK_MS)
            for byte in self._read():
                if byte not in (10, 13):
                    if len(line) < _LINE_BYTES:
                        line.append(byte)
                    continue
                told = bytes(line)
                line = bytearray()
                if told == b"OK" or told.startswith(b"CONNECT"):
                    return told[:7].decode().split(" ")[0], lines
                if told:
                    lines.append(told)
                if told in (b"ERROR", b"NO CARRIER", b"BUSY", b"NO ANSWER") or told.startswith(b"+CME ERROR"):
                    return "ERROR", lines
        return "", lines

    def _read(self) -> bytes:
        data = b""
        while self._uart.any():
            size = self._uart.readinto(self._piece) or 0
            self.heard += size
            data += bytes(self._piece[:size])
            feed(self._board)
        return data


def modem(board: "Any") -> "Outcome":
    """From power-on to an address. Takes up to two minutes where a network is looked for in vain."""
    if "modem_rx" not in pins_of(board):
        return absent()
    driver = getattr(board, "modem", None)
    if driver is None:
        return _without_driver(board)
    uart, power, make_ppp, account = driver.lend()
    try:
        power.value(0)
        pause(board, _OFF_MS)
        power.value(1)
        return _examine(board, _Dialogue(board, uart), uart, make_ppp, account)
    finally:
        power.value(0)


def _without_driver(board: "Any") -> "Outcome":
    import network

    if board.storage.size("/modem.json") < 0:
        return absent("no account is given to it: it is not used")
    if not hasattr(network, "PPP"):
        return failed("no_ppp", "this MicroPython has no PPP")
    return failed("account", "the account that is given to it cannot be used")


def _examine(board: "Any", dialogue: _Dialogue, uart: "Any", make_ppp: "Any", account: "dict[str, str]") -> "Outcome":
    for _ in range(_BOOT_MS // _AGAIN_MS):
        if dialogue.ask("AT", _AGAIN_MS)[0] == "OK":
            break
    else:
        if dialogue.heard:
            return failed("garbled", "%d bytes come, and no answer in them" % dialogue.heard)
        return failed("no_answer", "nothing comes")
    dialogue.ask("ATE0")
    dialogue.ask("AT+CMEE=1")
    found = _open_sim(board, dialogue, account)
    if found is not None:
        return found
    if dialogue.ask('AT+CGDCONT=1,"IP","%s"' % account["apn"])[0] != "OK":
        return failed("apn", "it refuses the access point's name")
    status = _register(board, dialogue)
    if status not in (b"1", b"5"):
        if status == b"3":
            return failed("denied", "the network refuses it")
        return failed("not_registered", "no network takes it within %d s" % (_REGISTER_MS // 1000))
    signal = _signal(dialogue)
    words = "registered" if status == b"1" else "registered, roaming"
    words += ", %d dBm" % signal if signal else ""
    carried = _carry(board, dialogue, uart, make_ppp, account, words)
    if carried[0] == "passed" and signal and signal < _WEAK_DBM:
        return failed("weak", words + "; it carries all the same")
    return carried


def _open_sim(board: "Any", dialogue: _Dialogue, account: "dict[str, str]") -> "Outcome | None":
    """None when the SIM is open."""
    pin = account.get("pin", "")
    for _ in range(_SIM_MS // _AGAIN_MS):
        final, lines = dialogue.ask("AT+CPIN?")
        if not (final == "ERROR" and _number(lines) == _BUSY):
            break
        pause(board, _AGAIN_MS)
    if final != "OK":
        fault = _SIM_ERRORS.get(_number(lines), "sim_missing")
        return failed(fault, "its SIM does not answer" if fault != "puk" else "its SIM is locked")
    state = b" ".join(lines)
    if b"PUK" in state:
        return failed("puk", "its SIM is locked and wants its PUK")
    if b"SIM PIN" not in state:
        return None
    if not pin:
        return failed("pin_missing", "its SIM wants a PIN, and none was given to it")
    final, lines = dialogue.ask("AT+CPIN=%s" % pin)
    if final == "OK":
        return None
    return failed(_SIM_ERRORS.get(_number(lines), "pin_wrong"), "its SIM refuses the PIN")


def _register(board: "Any", dialogue: _Dialogue) -> bytes:
    """The last state of its registration, empty for none."""
    status = b""
    for _ in range(_REGISTER_MS // _AGAIN_MS):
        for line in dialogue.ask("AT+CEREG?")[1]:
            if line.startswith(b"+CEREG: "):
                status = line[8:].split(b",")[1 if b"," in line else 0].strip()
        if status in (b"1", b"3", b"5"):
            break
        pause(board, _AGAIN_MS)
    return status


def _signal(dialogue: _Dialogue) -> int:
    """dBm, 0 = unknown."""
    for line in dialogue.ask("AT+CSQ")[1]:
        level = line[6:].split(b",")[0].strip()
        if line.startswith(b"+CSQ: ") and level.isdigit() and int(level) < 32:
            return 2 * int(level) - 113
    return 0


def _carry(
    board: "Any", dialogue: _Dialogue, uart: "Any", make_ppp: "Any", account: "dict[str, str]", words: str
) -> "Outcome":
    """Dial, and let PPP get an address."""
    if dialogue.ask("ATD*99#", _DIAL_MS)[0] != "CONNECT":
        return failed("no_context", words + "; it gets no data context")
    ppp = make_ppp(uart)
    active = getattr(ppp, "active", None)  # the ESP32's has it, lwIP's has not
    try:
        if active is not None:
            active(True)
        if account.get("user"):
            security = getattr(ppp, "SEC_PAP", 1)
            ppp.connect(security=security, user=account["user"], key=account.get("password", ""))
        else:
            ppp.connect()
        poll = getattr(ppp, "poll", None)
        for _ in range(_ADDRESS_MS // _LOOK_MS):
            if poll is not None:
                poll()
            if ppp.isconnected():
                return passed(words + ", it carries")
            pause(board, _LOOK_MS)
        return failed("no_address", words + "; it is dialled, and PPP gets no address")
    finally:
        ppp.disconnect()
        if active is not None:
            active(False)


def _number(lines: "list[bytes]") -> bytes:
    """Of a +CME ERROR, empty where there is none."""
    for line in lines:
        if line.startswith(b"+CME ERROR:"):
            return line[11:].strip()
    return b""
