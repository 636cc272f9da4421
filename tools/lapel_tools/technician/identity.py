"""What makes a board a device of one gateway: put onto it over the cable, read back as hashes, and taken off it.

Rules that hold here:

- A secret passes the cable once, towards the board. Back comes SHA-256, computed there.
- The key sectors are reserved and programmed by the firmware's own driver, from the slot that the board runs; no key is
  ever a file of theirs.
- `/config.json` goes first and comes last, by a rename: from the first byte to the last a board says that it is not
  provisioned.
- Nothing here raises with what it was given: errors name the step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lapel_build.key_sectors import SECTOR_COUNT, key_sectors_image
from lapel_device.configuration import CONFIG_PATH
from lapel_device.slots import KEY_PATH, slot_folder
from lapel_gateway.registry import Package

from .link import BoardLink
from .modem_account import MODEM_PATH
from .networks import WIFI_PATH

_NEW = ".new"
_USED_BYTES = 128
"""Of each key sector; the rest stays erased (SPEC section 4.2)."""

KEPT = (
    "boot.py",
    "main.py",
    "lapel_board.py",
    "lapel_loader.mpy",
    KEY_PATH[1:],
    "slots.0",
    "slots.1",
    "keys.0",
    "keys.1",
    "keys.map",
    "modem.json",
    "a",
    "b",
    "lib",
)
"""What belongs to the board, its SIM's account included, or to its firmware, whichever device it is."""

_TREE = 0x4000
_REMOVE_CONFIG = f"""\
import os
try:os.remove({CONFIG_PATH!r})
except OSError as e:
 if e.errno!=2:raise
"""
_CLEAR = f"""\
{_REMOVE_CONFIG}
import vfs
def _d(p):
 for e in list(os.ilistdir(p)):
  q=p+'/'+e[0]
  if e[1]&{_TREE}:
   _d(q)
   os.rmdir(q)
  else:os.remove(q)
  if _w:_w.feed()
_m=[x[1] for x in vfs.mount()]
for e in list(os.ilistdir('/')):
 p='/'+e[0]
 if e[0] in {KEPT!r}:continue
 if e[1]&{_TREE}:
  if p not in _m:
   _d(p)
   os.rmdir(p)
 else:os.remove(p)
"""
_CLEAR_CLIPS = f"""\
import os
for e in list(os.ilistdir('/')):
 p='/'+e[0]+'/spool'
 if e[1]&{_TREE} and e[0] not in {KEPT!r}:
  try:
   for n in os.listdir(p):
    os.remove(p+'/'+n)
    if _w:_w.feed()
  except OSError as x:
   if x.errno!=2:raise
"""
_SECTORS = """\
import sys
sys.path.insert(0,{folder!r})
from lapel_device.boards.key_sectors import reserved_sectors
from lapel_device.keystore import provision_sectors
_k=reserved_sectors({chip!r})
"""
_BLANK = """\
from lapel_device.keystore import KeyStore
for _i in range({count}):KeyStore(_k).wipe(_i)
"""
_HASH = """\
import hashlib
_h=hashlib.sha256()
_u=bytearray({size})
for _i in range({count}):
 _k.read(_i,0,_u)
 _h.update(_u)
for _i in range({size}):_u[_i]=0
print(repr(_h.digest()))
"""

Say = Callable[[str], None]


class IdentityError(Exception):
    """The board does not keep what it was given; the message names what."""


@dataclass(frozen=True)
class Given:
    """What one device is given: its files by path, and what its key sectors begin with."""

    device: str
    files: dict[str, bytes] = field(repr=False)
    chain_key: bytes = field(repr=False)
    pool: bytes = field(repr=False)

    @property
    def sectors_digest(self) -> bytes:
        """SHA-256 of what the key sectors hold before the first boot."""
        image = key_sectors_image(self.chain_key, self.pool)
        size = len(image) // SECTOR_COUNT
        used = b"".join(image[at : at + _USED_BYTES] for at in range(0, len(image), size))
        return hashlib.sha256(used).digest()


def given_of(package: Package, bearers: Mapping[str, bytes]) -> Given:
    """What a package of the registry puts onto a board. ``bearers``: ``/wifi.json`` and ``/modem.json``, by path."""
    files = dict(bearers)
    identity = package.identity
    if identity is not None:
        files["/tls/ca.der"] = identity.ca_der
        files["/tls/cert.der"] = identity.certificate_der
        files["/tls/key.der"] = identity.key_der
    files[CONFIG_PATH] = json.dumps(dict(package.config)).encode()
    return Given(package.device.hex(), files, package.chain_key, package.pool)


def clear(link: BoardLink, slot: int, chip: str) -> None:
    """Take off a stopped board what it was until now: configuration first, then files, keys last.

    Its clips on a card are another step, `clear_clips`. Raises LinkError and BoardError.
    """
    link.run(_CLEAR)
    link.run(_sectors(slot, chip) + _BLANK.format(count=SECTOR_COUNT))


def withdraw(link: BoardLink) -> None:
    """Make a stopped board say again that it is not provisioned. Raises LinkError and BoardError."""
    link.run(_REMOVE_CONFIG)


def clear_clips(link: BoardLink) -> None:
    """Remove the clips of whoever the board was from what is mounted, before a soft reset unmounts it.

    Raises LinkError and BoardError.
    """
    link.run(_CLEAR_CLIPS)


def give(link: BoardLink, slot: int, chip: str, given: Given, say: Say = lambda what: None) -> str:
    """Put an identity onto a stopped board that has none, and read it back; its fingerprint, 64 hexadecimal digits.

    Raises LinkError, BoardError and IdentityError. Whatever it raised, the board has no configuration, unless it broke
    off in the very last step.
    """
    digests = {}
    for path, content in given.files.items():
        say(path)
        _make_folder(link, path)
        there = path + _NEW if path == CONFIG_PATH else path
        link.write_file(there, content)
        digests[path] = _same(link.hash_file(there), hashlib.sha256(content).digest(), path)
    say("key sectors")
    program = f"provision_sectors(_k,{given.chain_key!r},{given.pool!r})\n"
    link.run(_sectors(slot, chip))
    link.run(program)
    read = link.ask(_HASH.format(size=_USED_BYTES, count=SECTOR_COUNT))
    digests["keys"] = _same(read, given.sectors_digest, "the key sectors")
    link.run(f"import os\nos.rename({CONFIG_PATH + _NEW!r},{CONFIG_PATH!r})")
    # A network's password, or a PIN, could be guessed from a hash: it is compared, and no part of what is shown.
    shown = b"".join(digest for path, digest in sorted(digests.items()) if path not in (WIFI_PATH, MODEM_PATH))
    return hashlib.sha256(shown).hexdigest()


def _sectors(slot: int, chip: str) -> str:
    return _SECTORS.format(folder=slot_folder(slot), chip=chip)


def _same(read: object, wanted: bytes, what: str) -> bytes:
    if read != wanted:
        raise IdentityError(f"{what} does not read back as it was written: the board's flash is worn out")
    return wanted


def _make_folder(link: BoardLink, path: str) -> None:
    folder = path.rpartition("/")[0]
    if folder:
        link.run(f"import os\ntry:\n os.mkdir({folder!r})\nexcept OSError as e:\n if e.errno!=17:raise")
