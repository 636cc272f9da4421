"""Self-tests of what sees, hears, feels and finds its place: camera, microphone, accelerometer, GNSS receiver.

Whether a picture shows anything, whoever fetches it judges (`piece`).
"""

import asyncio
from binascii import b2a_base64

from . import absent, failed, feed, name_of, number_of, passed, pause, pins_of, since_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Outcome

_CAPTURES = 3
_END_WITHIN = 64
"""A frame is padded to whole words, or whole bursts, behind its end mark."""
_EIO = 5
_ENODEV = 19

_LISTEN_MS = 1200
_SETTLE_MS = 400
"""A microphone's own filter starts with a thump."""
_LOOK_MS = 10
_EVERY = 4
"""Every fourth sample tells the level, and an RP2040 keeps up."""
_RATE_OFF_PERCENT = 5
_FULL = 32700
_MOST_CLIPPED_PERMILLE = 10
_MOST_DC = 8000

_STILL_MS = 1500
_LEAST_MG = 800
_MOST_MG = 1200

_NMEA_MS = 16000
_MAX_SENTENCE = 100
_SENTENCES = 3

_frame = b""


def camera(board: "Any") -> "Outcome":
    """Three frames, each a JPEG from its first mark to its last."""
    if not board.profile.frame_width:
        return absent()
    part = board.camera
    try:
        try:
            part.start(board.profile.frame_width, board.profile.frame_height)
        except OSError as error:
            return failed("absent", "no camera answers (%s)" % name_of(error))
        return asyncio.run(_capture(board, part))
    finally:
        try:
            part.stop()
        except OSError:
            pass  # it has been told above


async def _capture(board: "Any", part: "Any") -> "Outcome":
    global _frame
    sizes = []
    took = []
    for _ in range(_CAPTURES):
        feed(board)
        begun = board.clock.ticks_ms()
        try:
            frame, _, width, height = await part.capture()
        except OSError as error:
            number = number_of(error)
            if number == _ENODEV and not getattr(part, "sensor", ""):
                return failed("unknown", "the camera has no sensor that is known")
            if number == _EIO:
                return failed("no_jpeg", "what it gives is no JPEG")
            return failed("hangs", "no picture comes (%s)" % name_of(error))
        took.append(since_ms(board, begun))
        if not len(frame):
            return failed("too_large", "a picture is larger than %d bytes" % board.profile.max_frame_bytes)
        size = len(frame)
        if bytes(frame[:2]) != b"\xff\xd8" or b"\xff\xd9" not in bytes(frame[max(0, size - _END_WITHIN) :]):
            return failed("no_jpeg", "a picture of %d bytes does not begin and end as a JPEG does" % size)
        sizes.append(size)
    # A copy: an OV2640's own buffers go with its power.
    _frame = bytes(frame)
    name = getattr(part, "sensor", "")
    return passed(
        "%s%d pictures of %d x %d, %d to %d bytes, the slowest in %d ms"
        % (name + ": " if name else "", _CAPTURES, width, height, min(sizes), max(sizes), max(took))
    )


def piece(board: "Any", at: int, size: int) -> "tuple[int, bytes]":
    """Size of the last picture, and a piece of it as base64."""
    return len(_frame), b2a_base64(_frame[at : at + size]).strip()


def microphone(board: "Any") -> "Outcome":
    """Samples at the right rate, neither constant nor at the end of their range."""
    rate = board.profile.audio_rate_hz
    if not rate:
        return absent()
    part = board.microphone
    try:
        part.start(rate)
    except OSError as error:
        return failed("absent", "it cannot be started (%s)" % name_of(error))
    try:
        return _listen(board, part, rate)
    except OSError as error:
        return failed("absent", "it stops answering (%s)" % name_of(error))
    finally:
        part.stop()


def _listen(board: "Any", part: "Any", rate: int) -> "Outcome":
    block = memoryview(bytearray(board.profile.audio_block_bytes))
    _take(board, part, block, _SETTLE_MS)
    before = getattr(part, "overruns", 0)
    begun = board.clock.ticks_ms()
    count, total, squares, low, high, clipped = _take(board, part, block, _LISTEN_MS)
    took_ms = max(1, since_ms(board, begun))
    heard = count // _EVERY
    if not heard:
        return failed("no_samples", "no samples arrive")
    measured = count * 1000 // took_ms
    found = "%d samples a second" % measured
    if abs(measured - rate) * 100 > rate * _RATE_OFF_PERCENT:
        return failed("rate", found + " instead of %d" % rate)
    if low == high:
        return failed("silent", found + ", and all of them are %d" % low)
    mean = total // heard
    level = int((squares / heard - mean * mean) ** 0.5) if squares > mean * mean * heard else 0
    found += ", level %d, peak %d, offset %d" % (level, max(high, -low), mean)
    if clipped * 1000 > heard * _MOST_CLIPPED_PERMILLE:
        return failed("clipped", found + ": it is at the end of its range")
    if abs(mean) > _MOST_DC:
        return failed("offset", found)
    if getattr(part, "overruns", 0) > before:
        return failed("overruns", found + ", with gaps")
    return passed(found)


def _take(board: "Any", part: "Any", block: memoryview, ms: int) -> "tuple[int, int, int, int, int, int]":
    """Samples, and of every fourth: sum, sum of squares, lowest, highest, how many are at the end of their range."""
    count = total = squares = clipped = 0
    low, high = 32767, -32768
    begun = board.clock.ticks_ms()
    for _ in range(ms // _LOOK_MS):
        while True:
            size = part.readinto(block)
            for at in range(0, size - 1, 2 * _EVERY):
                value = block[at] | block[at + 1] << 8
                if value & 0x8000:
                    value -= 65536
                total += value
                squares += value * value
                low = min(low, value)
                high = max(high, value)
                if value > _FULL or value < -_FULL:
                    clipped += 1
            count += size // 2
            if size < len(block):
                break
        if since_ms(board, begun) >= ms:
            break
        pause(board, _LOOK_MS)
    return count, total, squares, low, high, clipped


def accelerometer(board: "Any") -> "Outcome":
    """The weight of a device that lies still, and the chip's own test of its moving mass."""
    try:
        part = board.accelerometer()
        if part is None:
            return absent()
        part.start()
    except OSError as error:
        return failed("absent", "no accelerometer answers (%s)" % name_of(error))
    try:
        felt = _feel(board, part)
    except OSError as error:
        return failed("error", "it stops answering (%s)" % name_of(error))
    finally:
        try:
            part.stop()
        except OSError:
            pass  # it has been told above
    if not felt:
        return failed("silent", "no readings come")
    weight = int((felt[0] * felt[0] + felt[1] * felt[1] + felt[2] * felt[2]) ** 0.5)
    found = "%d mg (%d, %d, %d)" % (weight, felt[0], felt[1], felt[2])
    if not _LEAST_MG <= weight <= _MOST_MG:
        return failed("weight", found + " instead of 1000 mg at rest")
    pins = pins_of(board)
    if "motion_sda" not in pins:
        return passed(found)
    return _own_test(board, pins, found)


def _feel(board: "Any", part: "Any") -> "tuple[int, int, int] | None":
    """The mean of what is felt, x, y and z in mg; None when nothing comes."""
    sums = [0, 0, 0]
    count = 0
    for _ in range(_STILL_MS // 20):
        pause(board, 20)
        for at in range(part.read()):
            count += 1
            for axis in range(3):
                sums[axis] += part.samples[3 * at + axis]
    return (sums[0] // count, sums[1] // count, sums[2] // count) if count else None


def _own_test(board: "Any", pins: "dict[str, Any]", found: str) -> "Outcome":
    from machine import I2C, Pin

    from lapel_device.boards.lis3dh_self_test import passed as good
    from lapel_device.boards.lis3dh_self_test import self_test

    sda, scl = pins["motion_sda"], pins["motion_scl"]
    bus = I2C(int(sda[1].split(" ")[0][-1]), scl=Pin(scl[0]), sda=Pin(sda[0]), freq=400_000)
    try:
        change = self_test(bus, lambda ms: pause(board, ms))
    except OSError as error:
        return failed("error", "its own test ends with " + name_of(error))
    if not good(change):
        return failed("own_test", "its own test moves it by %d, %d, %d digits" % change)
    return passed(found + ", its own test moves it by %d, %d, %d digits" % change)


def gnss(board: "Any") -> "Outcome":
    """Sentences whose checksum is right; a fix is not waited for, which indoors never comes."""
    try:
        part = board.gnss()
        if part is None:
            return absent()
        part.start()
    except OSError as error:
        return failed("silent", "the receiver does not start (%s)" % name_of(error))
    try:
        return _read_sentences(board, part)
    finally:
        part.stop()


def _read_sentences(board: "Any", part: "Any") -> "Outcome":
    buffer = bytearray(64)
    line = bytearray()
    good = heard = 0
    for _ in range(_NMEA_MS // _LOOK_MS // 2):
        try:
            size = part.readinto(buffer)
        except OSError:
            break
        heard += size
        for at in range(size):
            byte = buffer[at]
            if byte == 0x24:
                line = bytearray()
            elif byte in (10, 13):
                good += _is_sentence(line)
                line = bytearray()
            elif len(line) < _MAX_SENTENCE:
                line.append(byte)
        if good >= _SENTENCES:
            speed = getattr(part, "speed", 0)
            return passed("it speaks%s; a fix is not waited for" % (" at %d baud" % speed if speed else ""))
        if not size:
            pause(board, 2 * _LOOK_MS)
    if heard:
        return failed("garbled", "%d bytes come, and %d whole sentences" % (heard, good))
    return failed("silent", "nothing comes")


def _is_sentence(line: bytearray) -> bool:
    """NMEA 0183: the two hexadecimal digits behind the star are all bytes before it, exclusive or."""
    if len(line) < 6 or line[-3] != 0x2A:
        return False
    check = 0
    for at in range(len(line) - 3):
        check ^= line[at]
    return bytes(line[-2:]).upper() == b"%02X" % check
