"""Frames of ANSI/SIA DC-09: bytes from fields and fields from bytes. No sockets, no clock; randomness is an argument.

    LF crc 0LLL "id" seq [Rrcvr] Lpref #acct [data] [x…extended…]* _timestamp CR

Rules that hold here
- CRC and length cover what is between them and CR. The CRC is CRC-16 with the polynomial 0x8005, reflected, from 0
  (DC-07 appendix B).
- With a key, everything after the first "[" is AES-CBC from a zero vector, as hexadecimal digits. What comes first
  there is random, a whole block of it or more, so that equal messages do not look equal; "|" ends it.
- With a key there is a timestamp, always: it is all that keeps a recorded frame from being sent again.
- A frame that would be too long is refused. Nothing is ever cut.
- Whatever a receiver sends is read or refused with a reason of our own words, and never repeated in an error.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SIA_DCS = "SIA-DCS"
ADM_CID = "ADM-CID"
NULL = "NULL"
ACK = "ACK"
NAK = "NAK"
DUH = "DUH"

MAX_FRAME_BYTES = 999
"""LF and CR included. Receivers read into buffers of 1,000 or 1,024 bytes."""

MAX_SEQUENCE = 9999
LINK_TEST_SEQUENCE = 0
"""Link tests and NAKs are not counted."""

KEY_BYTES = (16, 24, 32)


def _crc_of(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


_CRC_OF = tuple(map(_crc_of, range(256)))
_BLOCK_BYTES = 16
_PAD_VALUES = bytes(value for value in range(256) if value not in b"|[]")
_TOKEN = re.compile(r"[A-Z0-9-]{1,8}")
_ACCOUNT = re.compile(r"[0-9A-F]{3,16}")
_NUMBER = re.compile(r"[0-9A-F]{1,6}")
_PLAIN_TEXT = re.compile(rb"[ -Z\\^-~]*")
"""What data and extended data may hold: printable ASCII without the brackets that end them."""

_FRAME = re.compile(
    rb'([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})("(\*?)([A-Z0-9-]{1,8})"(\d{4})([0-9A-Za-z]{0,20})(#[0-9A-Fa-f]{1,16})?\[.*)',
    re.S,
)
_ADDRESS = re.compile(rb"(?:R([0-9A-Fa-f]{1,6}))?L([0-9A-Fa-f]{1,6})")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{32})+")
_TAIL = re.compile(rb"((?:\[[^\[\]]*\])*)(?:_(\d\d):(\d\d):(\d\d),(\d\d)-(\d\d)-(\d{4}))?", re.S)
_YEARS = range(1970, 2200)


class FrameTooLong(Exception):
    """What was to be sent does not fit into a frame, and is not cut."""


class BadFrame(Exception):
    """What came is no frame, or not the answer to what was sent; the message says in which way."""


@dataclass(frozen=True)
class Sender:
    """How a centre knows the premises that send: hexadecimal digits in capitals, as the centre gave them."""

    account: str  # 3 to 16 digits
    receiver: str = ""  # 1 to 6 digits; "" leaves it out
    line: str = "0"  # 1 to 6 digits

    def __post_init__(self) -> None:
        if not _ACCOUNT.fullmatch(self.account):
            raise ValueError("an account has 3 to 16 hexadecimal digits, in capitals")
        for number in (self.line, self.receiver) if self.receiver else (self.line,):
            if not _NUMBER.fullmatch(number):
                raise ValueError("a line and a receiver have 1 to 6 hexadecimal digits, in capitals")


@dataclass(frozen=True)
class Frame:
    """One frame, open. ``stamp_s`` is Unix time in seconds."""

    token: str
    sequence: int  # 0 to 9999
    receiver: str
    line: str
    account: str
    data: bytes = b""  # between the brackets, without padding
    extended: tuple[bytes, ...] = ()  # without their brackets
    stamp_s: int | None = None
    encrypted: bool = False


def crc16(data: bytes) -> int:
    """CRC-16 with the polynomial 0x8005, reflected, from 0 (DC-07 appendix B)."""
    crc = 0
    for value in data:
        crc = crc >> 8 ^ _CRC_OF[(crc ^ value) & 0xFF]
    return crc


def time_text(unix_s: int) -> str:
    """Unix time as DC-09 writes it (section 5.5.1.9), in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M:%S,%m-%d-%Y")


def encode_frame(
    token: str,
    sequence: int,
    sender: Sender,
    data: bytes,
    *,
    stamp_s: int | None,
    extended: Sequence[bytes] = (),
    key: bytes | None = None,
    entropy: Callable[[int], bytes],
) -> bytes:
    """The bytes to send. Raises FrameTooLong.

    ``key`` has 16, 24 or 32 bytes and needs ``stamp_s``; ``entropy`` gives as many random bytes as it is asked for.
    Data and extended data are printable ASCII without square brackets.
    """
    if not _TOKEN.fullmatch(token) or not 0 <= sequence <= MAX_SEQUENCE:
        raise ValueError("a token has 1 to 8 capitals, and a sequence number is 0 to 9999")
    if not all(_PLAIN_TEXT.fullmatch(part) for part in (data, *extended)):
        raise ValueError("data and extended data are printable ASCII without square brackets")
    stamp = b"" if stamp_s is None else f"_{time_text(stamp_s)}".encode()
    content = data + b"]" + b"".join(b"[%b]" % part for part in extended) + stamp
    if key is not None:
        if stamp_s is None:
            raise ValueError("an encrypted frame needs a timestamp")
        content = _sealed(key, content, entropy).hex().upper().encode()
    star = "" if key is None else "*"
    receiver = f"R{sender.receiver}" if sender.receiver else ""
    head = f'"{star}{token}"{sequence:04d}{receiver}L{sender.line}#{sender.account}['
    body = head.encode() + content
    frame = b"\n%04X%04X%b\r" % (crc16(body), len(body), body)
    if len(frame) > MAX_FRAME_BYTES:
        raise FrameTooLong(f"a frame of {len(frame)} bytes: {MAX_FRAME_BYTES} are the most that a receiver takes")
    return frame


def decode_frame(raw: bytes, key: bytes | None = None) -> Frame:
    """Take a frame apart; ``key`` opens an encrypted one. Raises BadFrame."""
    if len(raw) > MAX_FRAME_BYTES:
        raise BadFrame(f"longer than {MAX_FRAME_BYTES} bytes")
    if raw[:1] != b"\n" or raw[-1:] != b"\r" or b"\r" in raw[1:-1] or b"\n" in raw[1:]:
        raise BadFrame("not one frame from LF to CR")
    parts = _FRAME.fullmatch(raw, 1, len(raw) - 1)
    if parts is None:
        raise BadFrame("not in the form of a frame" if len(raw) > 2 else "an empty frame")
    crc, length, body, star, token, sequence, address, account = parts.groups()
    if int(length, 16) != len(body):
        raise BadFrame("its length is not the one that it names")
    if int(crc, 16) != crc16(body):
        raise BadFrame("wrong CRC")
    content = body[body.index(b"[") + 1 :]
    if star:
        content = _opened(key, content)
    end = content.find(b"]")
    if end < 0:
        raise BadFrame("it does not open with this key" if star else "its data have no end")
    tail = _TAIL.fullmatch(content, end + 1)
    if tail is None:
        raise BadFrame("something else than extended data and a timestamp after its data")
    extended = tuple(tail[1][1:-1].split(b"][")) if tail[1] else ()
    numbers = _ADDRESS.fullmatch(address)
    return Frame(
        token.decode(),
        int(sequence),
        (numbers[1] or b"").decode() if numbers else "",
        numbers[2].decode() if numbers else "",
        (account or b"")[1:].decode(),
        content[:end],
        extended,
        _stamp(tail),
        bool(star),
    )


@dataclass(frozen=True)
class Answer:
    """What a receiver said: ACK, NAK or DUH, and its time if it gave one (Unix seconds)."""

    kind: str
    stamp_s: int | None


def read_answer(raw: bytes, sender: Sender, sequence: int, key: bytes | None = None) -> Answer:
    """The answer to the frame with this sequence number. Raises BadFrame for everything that is none.

    The ACK of an encrypted frame is encrypted and carries the receiver's time: a plain one may be anybody's. NAK and
    DUH are plain, whatever they answer, and a NAK names neither frame nor account.
    """
    frame = decode_frame(raw, key)
    if frame.token == NAK:
        return Answer(NAK, frame.stamp_s)
    if frame.token not in (ACK, DUH):
        raise BadFrame("neither ACK nor NAK nor DUH")
    if frame.sequence != sequence:
        raise BadFrame("the answer to another frame")
    if frame.account.upper().lstrip("0") != sender.account.lstrip("0"):
        raise BadFrame("the answer to another account")
    if frame.token == ACK and key is not None:
        if not frame.encrypted:
            raise BadFrame("a plain answer to an encrypted frame")
        if frame.stamp_s is None:
            raise BadFrame("an encrypted answer without a time")
    return Answer(frame.token, frame.stamp_s)


def _sealed(key: bytes, content: bytes, entropy: Callable[[int], bytes]) -> bytes:
    padding = _BLOCK_BYTES + -(len(content) + 1 + _BLOCK_BYTES) % _BLOCK_BYTES
    pad = bytes(_PAD_VALUES[value % len(_PAD_VALUES)] for value in entropy(padding))
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(_BLOCK_BYTES))).encryptor()
    return cipher.update(pad + b"|" + content) + cipher.finalize()


def _opened(key: bytes | None, digits: bytes) -> bytes:
    """What stands between the brackets and after them, without the padding."""
    if key is None:
        raise BadFrame("encrypted, and there is no key for it")
    if not _HEX.fullmatch(digits):
        raise BadFrame("its encrypted part is no whole number of blocks")
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(_BLOCK_BYTES))).decryptor()
    content = cipher.update(bytes.fromhex(digits.decode())) + cipher.finalize()
    # Without data, some leave out the "|" as well.
    bar, end = content.find(b"|"), content.find(b"]")
    return content[bar + 1 :] if 0 <= bar < end else content[max(end, 0) :]


def _stamp(tail: re.Match[bytes]) -> int | None:
    if tail[2] is None:
        return None
    hour, minute, second, month, day, year = (int(tail[number]) for number in range(2, 8))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise BadFrame("a time that no clock shows") from None
    if year not in _YEARS:
        raise BadFrame("a time that no clock shows")
    return calendar.timegm(moment.timetuple())
