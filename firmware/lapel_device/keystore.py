"""The device's chain key and entropy pool, in two raw flash sectors (SPEC sections 4.2 and 4.3).

One sector holds an image (epoch, CK, P, check); a step writes the following epoch's image into the other one, reads it
back, zeroes and erases the first, and only then hands out the keys. Rules that hold at every power cut:

- there is a valid image, and its epoch was never handed out;
- once `load` or `step` has returned, no earlier chain key or pool is in either sector;
- `started` is programmed without an erase, so that an epoch burned by a power cut (consumed, nothing made with it) and
  a clip whose storage was taken away look different.

An image that was torn while being written may read well once and badly later, and so may a torn erase. Two more words
are programmed without an erase to notice it: BEGUN before the other sector is touched, TIDY once it is erased. Unless
they say "tidy, nothing begun", the next step wipes the other sector again, blank as it may look.
"""

import struct

from lapel_protocol.crypto import equal, sha256
from lapel_protocol.keys import EpochKeys, chain_next, pool_next
from lapel_protocol.limits import KEY_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Sectors

MARK_NONE = 0  # no epoch has been consumed since provisioning
MARK_BOOT = 1
MARK_CLIP = 2

_MAGIC = b"LKS1"
_DOMAIN = b"lapel/v1 keystore"
# magic, epoch, what the epoch before was consumed for, zero 3, CK, P | check over these 76 bytes
_LAYOUT = ">4sIB3s32s32s"
_CHECKED_BYTES = 76
_IMAGE_BYTES = _CHECKED_BYTES + 32
_STARTED_AT = 108
_TIDY_AT = 112
_BEGUN_AT = 116
_USED_BYTES = 128
_CLEAR = b"\0\0\0\0"
_BLANK = b"\xff\xff\xff\xff"
_BLANK_IMAGE = b"\xff" * _USED_BYTES
_LAST_EPOCH = 0xFFFFFFFE


class KeyStoreLost(Exception):
    """Neither sector holds a valid image: the device must be provisioned anew."""


class KeyStoreFault(Exception):
    """A sector does not take what is written or does not erase: no epoch can be consumed. Nothing was handed out."""


class Epoch:
    """A consumed epoch: its number, its keys and its pool (32 bytes, see `keys.pool_bytes`). Lives in RAM only."""

    def __init__(self, number: int, keys: EpochKeys, pool: bytes) -> None:
        self.number = number
        self.keys = keys
        self.pool = pool


def _image(epoch: int, mark: int, chain_key: bytes, pool: bytes) -> bytes:
    fields = struct.pack(_LAYOUT, _MAGIC, epoch, mark, bytes(3), chain_key, pool)
    return fields + sha256(_DOMAIN, fields)


def provision_sectors(sectors: "Sectors", chain_key: bytes, pool: bytes) -> None:
    """Make the sectors hold epoch 0: CK_0 and P_0, 32 bytes each. Whatever they held is erased first.

    Raises KeyStoreFault when the flash does not keep it, ValueError for keys of the wrong length.
    """
    if len(chain_key) != KEY_BYTES or len(pool) != KEY_BYTES:
        raise ValueError("a chain key and a pool have 32 bytes each")
    store = KeyStore(sectors)
    store.wipe(0)
    store.wipe(1)
    store.write(0, _image(0, MARK_NONE, chain_key, pool))
    store.finish(0)


class KeyStore:
    """The ratchet. `load` once at boot, then `step` for every boot and every clip.

    `epoch` is the next unused epoch. `last_mark` says what the most recently consumed epoch was consumed for, and
    `last_started` whether `started` was programmed for it (a boot counts as started at once).
    """

    def __init__(self, sectors: "Sectors") -> None:
        self._sectors = sectors
        self._buffer = bytearray(_USED_BYTES)
        self._active = 0
        self.epoch = 0
        self.last_mark = MARK_NONE
        self.last_started = False

    def load(self) -> None:
        """Find the valid image and finish what a power cut interrupted; at most one erase (50 ms), usually none.

        Raises KeyStoreLost when there is none, KeyStoreFault when the other sector cannot be wiped.
        """
        first = self._epoch_of(0)
        second = self._epoch_of(1)
        if first < 0 and second < 0:
            raise KeyStoreLost("no valid key image in either sector")
        self._active = 1 if second > first else 0
        image = self._read(self._active)
        self.epoch, self.last_mark = struct.unpack_from(">IB", image, 4)
        self.last_started = self.last_mark != MARK_CLIP or image[_STARTED_AT:_TIDY_AT] == _CLEAR
        if not self._is_blank(1 - self._active):
            # Programming the same bits again completes an image whose programming was cut while it already read well.
            self.write(self._active, bytes(self._read(self._active)[:_IMAGE_BYTES]))
            self.wipe(1 - self._active)
            self._mark(self._active, _TIDY_AT)
            self._forget()

    def step(self, mark: int, entropy: bytes, ticks: int) -> Epoch:
        """Consume the next epoch for a boot (MARK_BOOT) or a clip (MARK_CLIP); about 15 ms and one erase.

        `entropy` (up to 64 bytes) and `ticks` are mixed into the pool of the following epoch. Raises KeyStoreFault when
        the flash fails; the epoch is then not handed out.
        """
        if mark not in (MARK_BOOT, MARK_CLIP):
            raise ValueError("an epoch is consumed for a boot or for a clip")
        old = self._active
        new = 1 - old
        if self._epoch_of(old) != self.epoch or self.epoch >= _LAST_EPOCH:
            raise KeyStoreFault("the key image changed under the device")
        chain_key = bytes(self._buffer[12:44])
        pool = bytes(self._buffer[44:76])
        tidy = self._buffer[_TIDY_AT:_BEGUN_AT] == _CLEAR and self._buffer[_BEGUN_AT : _BEGUN_AT + 4] == _BLANK
        self._forget()
        if tidy:
            self._mark(old, _BEGUN_AT)
        else:  # an earlier step failed in this boot and left the other sector half written or not erased
            self.wipe(new)
        number = self.epoch
        self.write(new, _image(number + 1, mark, chain_next(chain_key), pool_next(pool, entropy, ticks)))
        self._active = new
        self.epoch = number + 1
        self.last_mark = mark
        self.last_started = mark == MARK_BOOT
        self.wipe(old)
        self._mark(new, _TIDY_AT)
        return Epoch(number, EpochKeys(chain_key), pool)

    def started(self) -> None:
        """Say that the clip of the last epoch is durably in the spool. Programmed without an erase, about 1 ms."""
        self._mark(self._active, _STARTED_AT)
        self.last_started = True

    def write(self, index: int, image: bytes) -> None:
        """Program an image and read it back; raises KeyStoreFault when it does not hold."""
        try:
            self._sectors.program(index, 0, image)
            held = equal(self._read(index)[:_IMAGE_BYTES], image)
        except OSError:
            held = False
        self._forget()
        if not held:
            raise KeyStoreFault("key sector %d does not hold what was written" % index)

    def wipe(self, index: int) -> None:
        """Zero the used part of a sector, then erase it: an erase that is cut leaves no key. Raises KeyStoreFault."""
        try:
            self._sectors.program(index, 0, bytes(_USED_BYTES))
            self._sectors.erase(index)
            blank = self._is_blank(index)
        except OSError:
            blank = False
        if not blank:
            raise KeyStoreFault("key sector %d does not erase" % index)

    def finish(self, index: int) -> None:
        """Say that the other sector is erased."""
        self._mark(index, _TIDY_AT)

    def _mark(self, index: int, at: int) -> None:
        try:
            self._sectors.program(index, at, _CLEAR)
        except OSError:
            raise KeyStoreFault("key sector %d takes no mark" % index)

    def _read(self, index: int) -> bytearray:
        self._sectors.read(index, 0, self._buffer)
        return self._buffer

    def _forget(self) -> None:
        for i in range(_USED_BYTES):
            self._buffer[i] = 0

    def _is_blank(self, index: int) -> bool:
        return self._read(index) == _BLANK_IMAGE

    def _epoch_of(self, index: int) -> int:
        """The epoch of a valid image, or -1."""
        image = self._read(index)
        if image[:4] != _MAGIC or not equal(
            sha256(_DOMAIN, image[:_CHECKED_BYTES]), image[_CHECKED_BYTES:_IMAGE_BYTES]
        ):
            return -1
        epoch: int = struct.unpack_from(">I", image, 4)[0]
        return epoch
