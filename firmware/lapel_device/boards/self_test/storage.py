"""Self-tests of what keeps things: the microSD card, the flash, and the two raw sectors of the keys.

The keys are never read out, and a sector that may hold some is never written: only a device without an identity and
without a valid key image has its sectors tried with a pattern, and left erased.
"""

from lapel_device.keystore import KeyStore, KeyStoreFault, KeyStoreLost

from . import absent, failed, feed, name_of, number_of, passed, pause, provisioned, since_ms, skipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Outcome

_SCRATCH = "selftest.tmp"
_PIECE_BYTES = 2048
_CARD_PIECES = 32
_FLASH_PIECES = 4
_SYNC_EVERY = 4
_BEGIN_MS = 3000
_MOUNT_MS = 7000
"""Longer than split_storage waits before it looks at a card again."""
_STEP_MS = 20
_EIO = 5
_ENODEV = 19
_ENOSPC = 28
_EROFS = 30
_ETIMEDOUT = 110
_MB = 1_000_000
_SAMPLE_BYTES = 2
_PATTERNS = (0x55, 0xAA)


def card(board: "Any") -> "Outcome":
    """The microSD card: there, mounted, writable, as fast as recording needs, without an error on the wire."""
    chip = getattr(board, "card", None)
    if chip is None:
        return absent()
    if not chip.ready:
        fault = _bring_up(board, chip)
        if fault is not None:
            return fault
    what = "%s, %d MB" % (chip.name or "a card", chip.capacity // _MB)
    if not _mounted(board):
        return failed("no_file_system", what + ", without a FAT or littlefs file system")
    if chip.write_protected:
        return failed("read_only", what + ", write protected")
    faults = chip.faults
    outcome = _try_out(board, board.storage, "/spool/" + _SCRATCH, _CARD_PIECES, _needed_bytes_s(board.profile))
    if not chip.ready:
        fault = _bring_up(board, chip)
        if fault is not None:
            return fault
    if chip.faults > faults and outcome[1] not in ("read_only", "full", "hangs"):
        return failed("bad_contact", "%s: %d transfers went wrong; %s" % (what, chip.faults - faults, outcome[2]))
    return outcome[0], outcome[1], "%s: %s" % (what, outcome[2])


def _bring_up(board: "Any", chip: "Any") -> "Outcome | None":
    """Wait until a card that is not in use yet is ready; why it is not, otherwise."""
    for _ in range(_BEGIN_MS // _STEP_MS):
        try:
            if chip.begin():
                return None
        except OSError as error:
            number = number_of(error)
            if number == _ENODEV:
                return failed("no_card", "no card answers")
            if number == _EIO:
                return failed("bad_contact", "the card answers with errors")
            return failed("hangs", "the card does not come up (%s)" % name_of(error))
        pause(board, _STEP_MS)
    return failed("hangs", "the card does not come up")


def _mounted(board: "Any") -> bool:
    for _ in range(_MOUNT_MS // _STEP_MS):
        if board.storage.mounted:
            return True
        try:
            board.storage.free_bytes()
        except OSError:
            pause(board, _STEP_MS)
    return bool(board.storage.mounted)


def _needed_bytes_s(profile: "Any") -> int:
    """What recording writes in a second: sound, and frames that fill half of the frame buffer."""
    frames: int = profile.max_frame_bytes // 2 * 1000 // profile.frame_interval_ms if profile.frame_width else 0
    return frames + int(profile.audio_rate_hz) * _SAMPLE_BYTES


def flash(board: "Any") -> "Outcome":
    """The file system of the board's own flash."""
    return _try_out(board, board.slots() or board.storage, "/" + _SCRATCH, _FLASH_PIECES, 0)


def _try_out(board: "Any", storage: "Any", path: str, pieces: int, needed_bytes_s: int) -> "Outcome":
    """Write a scratch file, read it back, remove it. `needed_bytes_s`: slower is a failure."""
    try:
        written_ms, longest_ms = _write(board, storage, path, pieces)
        read_ms = _read_back(board, storage, path, pieces)
    except OSError as error:
        number = number_of(error)
        fault = {_ENOSPC: "full", _EROFS: "read_only", _ETIMEDOUT: "hangs"}.get(number, "error")
        return failed(fault, "writing and reading ends with " + name_of(error))
    finally:
        try:
            storage.remove(path)
        except OSError:
            pass  # it was not made, or the medium is gone
    if read_ms < 0:
        return failed("corrupt", "it does not read back what was written")
    size = pieces * _PIECE_BYTES
    speed = size * 1000 // max(1, written_ms)
    found = "writes %d kB/s (longest pause %d ms), reads %d kB/s, %d MB of %d MB free" % (
        speed // 1000,
        longest_ms,
        size // max(1, read_ms),
        storage.free_bytes() // _MB,
        storage.total_bytes() // _MB,
    )
    if speed < needed_bytes_s:
        return failed("slow", found + ", and recording needs %d kB/s" % (needed_bytes_s // 1000))
    return passed(found)


def _write(board: "Any", storage: "Any", path: str, pieces: int) -> "tuple[int, int]":
    """Milliseconds for all of it, and for its slowest piece."""
    piece = bytearray(_PIECE_BYTES)
    for at in range(_PIECE_BYTES):
        piece[at] = at * 7 & 0xFF
    total_ms = longest_ms = 0
    file = storage.open(path, "wb")
    try:
        for number in range(pieces):
            piece[0] = number
            feed(board)
            begun = board.clock.ticks_ms()
            file.write(piece)
            if number % _SYNC_EVERY == _SYNC_EVERY - 1:
                file.flush()
            took_ms = since_ms(board, begun)
            total_ms += took_ms
            longest_ms = max(longest_ms, took_ms)
    except OSError:
        _let_go(file)
        raise
    file.close()
    return total_ms, longest_ms


def _let_go(file: "Any") -> None:
    """Close a file of which an error is told already."""
    try:
        file.close()
    except OSError:
        return


def _read_back(board: "Any", storage: "Any", path: str, pieces: int) -> int:
    """Milliseconds of reading, -1 where it is not what was written."""
    wanted = bytearray(_PIECE_BYTES)
    for at in range(_PIECE_BYTES):
        wanted[at] = at * 7 & 0xFF
    piece = bytearray(_PIECE_BYTES)
    total_ms = 0
    file = storage.open(path, "rb")
    try:
        for number in range(pieces):
            wanted[0] = number
            feed(board)
            begun = board.clock.ticks_ms()
            count = file.readinto(piece)
            total_ms += since_ms(board, begun)
            if count != _PIECE_BYTES or piece != wanted:
                return -1
    finally:
        file.close()
    return total_ms


def key_sectors(board: "Any") -> "Outcome":
    """A provisioned device: one valid image, about which nothing is told. Otherwise: the sectors take a pattern."""
    sectors = board.sectors
    known = provisioned(board)
    store = KeyStore(sectors)
    try:
        store.load()
    except OSError as error:
        if known:
            return failed("unreadable", "the sectors do not answer (%s)" % name_of(error))
        return skipped("no sectors are reserved yet, which provisioning does")
    except KeyStoreFault as error:
        return failed("does_not_hold", str(error))
    except KeyStoreLost:
        if known:
            return failed("no_image", "neither sector holds a valid key image")
        return _try_sectors(board, sectors)
    return passed("one valid key image, made for epoch %d" % store.epoch)


def _try_sectors(board: "Any", sectors: "Any") -> "Outcome":
    page = bytearray(64)
    for index in range(2):
        feed(board)
        sectors.erase(index)
        if not _holds(sectors, index, page, 0xFF):
            return failed("does_not_erase", "sector %d does not erase" % index)
        value = 0xFF
        for pattern in _PATTERNS:
            value &= pattern
            for offset in range(0, sectors.size_bytes, len(page)):
                sectors.program(index, offset, bytes([pattern]) * len(page))
            if not _holds(sectors, index, page, value):
                return failed("does_not_hold", "sector %d does not hold what was written" % index)
        sectors.erase(index)
        if not _holds(sectors, index, page, 0xFF):
            return failed("does_not_erase", "sector %d does not erase" % index)
    return passed("both erase and hold a pattern; they are empty")


def _holds(sectors: "Any", index: int, page: bytearray, value: int) -> bool:
    wanted = bytes([value]) * len(page)
    for offset in range(0, sectors.size_bytes, len(page)):
        sectors.read(index, offset, page)
        if page != wanted:
            return False
    return True
