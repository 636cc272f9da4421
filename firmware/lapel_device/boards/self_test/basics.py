"""Self-tests of what needs no wire: cryptography, entropy, clocks, battery, and the identity that was given to it."""

from cryptolib import aes  # type: ignore[import-not-found,unused-ignore]

from lapel_protocol.crypto import AesCtr, Mac, equal, hkdf, sampled, sha256

from . import failed, feed, name_of, passed, pause, provisioned, since_ms, skipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Outcome

# FIPS 180-4 (the example "abc"), RFC 4231 section 4.2, RFC 5869 appendix A.1, FIPS 197 appendix C.3
_SHA256_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
_HMAC_1 = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
_HKDF_1 = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
_AES_PLAIN = "00112233445566778899aabbccddeeff"
_AES_CIPHER = "8ea2b7ca516745bfeafc49904b496089"
_ECB = 1
_LONGEST_BYTES = 80
_OFFSETS = (0, 4, 8, 12)

_ENTROPY_READS = 32
_ENTROPY_BYTES = 64
_REPETITIONS = 16
"""NIST SP 800-90B section 4.4.1: 1 + 30 / H in a row, of 2^-30 chance, at no less than H = 2 bits in each byte."""
_BITS = 8 * _ENTROPY_BYTES * _ENTROPY_READS
_BITS_OFF = 400
"""Six times the standard deviation of so many fair bits, 64."""

_CLOCK_MS = 300
_LEAST_MV = 3300


def cryptography(board: "Any") -> "Outcome":
    """Known answers through the code that the firmware runs."""
    wrong = []
    if sha256(b"a", b"bc") != bytes.fromhex(_SHA256_ABC):
        wrong.append("SHA-256")
    if Mac(b"\x0b" * 20).digest(b"Hi There") != bytes.fromhex(_HMAC_1):
        wrong.append("HMAC")
    salt = bytes(range(13))
    if hkdf(b"\x0b" * 22, salt, bytes(range(0xF0, 0xFA)), 42) != bytes.fromhex(_HKDF_1):
        wrong.append("HKDF")
    block = aes(bytes(range(32)), _ECB)
    if block.encrypt(bytes.fromhex(_AES_PLAIN)) != bytes.fromhex(_AES_CIPHER):
        wrong.append("AES-256")
    if not _counter_mode(board):
        wrong.append("counter mode")
    if not _samples():
        wrong.append("segment check")
    if wrong:
        return failed("wrong", "wrong answers of " + ", ".join(wrong))
    return passed("SHA-256, HMAC, HKDF, AES-256, counter mode at every length and alignment")


def _counter_mode(board: "Any") -> bool:
    """AES-CTR against its definition, over every length up to five blocks, at every word of a block."""
    key = bytes(range(1, 33))
    iv = bytearray(range(0x40, 0x4C))
    block = aes(key, _ECB)
    stream = b""
    for number in range(_LONGEST_BYTES // 16):
        stream += block.encrypt(bytes(iv) + number.to_bytes(4, "big"))
    cipher = AesCtr(key)
    place = bytearray(_LONGEST_BYTES + 32)
    for offset in _OFFSETS:
        feed(board)
        for size in range(_LONGEST_BYTES + 1):
            for at in range(len(place)):
                place[at] = at & 0xFF
            cipher.apply(iv, memoryview(place)[offset : offset + size])
            for at in range(len(place)):
                inside = offset <= at < offset + size
                if place[at] != (at & 0xFF) ^ (stream[at - offset] if inside else 0):
                    return False
    return True


def _samples() -> bool:
    """The words of a segment's check: those at multiples of 64."""
    data = bytearray(256)
    for at in range(len(data)):
        data[at] = at
    return bytes(sampled(memoryview(data))) == bytes(
        (0, 1, 2, 3, 64, 65, 66, 67, 128, 129, 130, 131, 192, 193, 194, 195)
    )


def entropy(board: "Any") -> "Outcome":
    """Whether the source is alive: no two readings alike, no byte again and again, as many ones as zeros."""
    last = -1
    row = longest = ones = 0
    before = b""
    for _ in range(_ENTROPY_READS):
        feed(board)
        data = board.entropy(_ENTROPY_BYTES)
        if len(data) != _ENTROPY_BYTES or equal(data, before):
            return failed("repeats", "two readings are alike")
        before = data
        for byte in data:
            row = row + 1 if byte == last else 1
            last = byte
            longest = max(longest, row)
            while byte:
                ones += byte & 1
                byte >>= 1
    if longest >= _REPETITIONS:
        return failed("repeats", "one byte comes %d times in a row" % longest)
    if abs(ones - _BITS // 2) > _BITS_OFF:
        return failed("biased", "%d of %d bits are ones" % (ones, _BITS))
    return passed(
        "%d bytes: %d of %d bits are ones, no byte more than %d times in a row" % (_BITS // 8, ones, _BITS, longest)
    )


def clock(board: "Any") -> "Outcome":
    """Whether the ticks go on. How fast they go, whoever has another clock compares (`times`)."""
    before = board.clock.ticks_ms()
    pause(board, _CLOCK_MS)
    moved_ms = since_ms(board, before)
    if not moved_ms:
        return failed("stands", "the tick counter stands")
    if moved_ms < _CLOCK_MS // 2:
        return failed("drifts", "%d ms are counted in %d ms" % (moved_ms, _CLOCK_MS))
    return passed("set" if board.clock.rtc_ms() else "it goes; not set yet, which the gateway does")


def times(board: "Any") -> "tuple[int, int]":
    """Ticks, and the real-time clock in Unix milliseconds, 0 = never set."""
    return board.clock.ticks_ms(), board.clock.rtc_ms()


def battery(board: "Any") -> "Outcome":
    """A reading that a cell can have."""
    try:
        percent, minutes = board.battery.read()
    except OSError as error:
        millivolts = getattr(board.battery, "millivolts", 0)
        return failed("absent", "the reading, %d mV, is no cell's (%s)" % (millivolts, name_of(error)))
    if not 0 <= percent <= 100:
        return failed("absent", "the gauge says %d %%" % percent)
    millivolts = getattr(board.battery, "millivolts", 0)
    found = "%d %%" % percent
    if millivolts:
        found += ", %d mV" % millivolts
    if getattr(board.battery, "charging", False) or minutes == 0xFFFF:
        return passed(found + ", on USB power")
    if 0 < millivolts < _LEAST_MV:
        return failed("empty", found)
    return passed(found + ", about %d minutes" % minutes)


def identity(board: "Any") -> "tuple[str, str, str, str]":
    """An outcome, and the device's id in hexadecimal digits, empty while it has none."""
    from lapel_device.configuration import load_config
    from lapel_device.settings import ConfigError

    if not provisioned(board):
        return skipped("not provisioned") + ("",)
    try:
        device = load_config(board.storage).device.hex()
    except ConfigError as error:
        return failed("damaged", str(error)) + ("",)
    return passed(device) + (device,)
