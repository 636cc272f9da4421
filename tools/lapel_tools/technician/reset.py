"""A device as it was before it was provisioned: its keys erased through its own drivers, its files removed.

Rules that hold here:

- The keys go first: whatever breaks afterwards, the device is nobody's any more, and the same command ends it.
- The firmware and the loader stay; so does everything that Lapel did not write. A modem's account goes: it may have a
  PIN in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .link import BoardLink, LinkError
from .session import Stopped

_ERASE = """\
_k=board.sectors
_p=bytearray(256)
for _i in range(_k.count):
 _k.erase(_i)
 for _o in range(0,_k.size_bytes,256):
  _k.read(_i,_o,_p)
  if _p!=b'\\xff'*256:raise OSError('sector %d is not empty'%_i)
 if _w:_w.feed()
print(_k.count)
"""
_REMOVE = """\
_n=0
for _f in ('/config.json','/config.json.new','/wifi.json','/modem.json','/settings.0','/settings.1',
 '/alarm.0','/alarm.1','/visit.0','/visit.1','/epochs.0','/epochs.1','/time.0','/time.1'):
 if board.storage.size(_f)>=0:
  board.storage.remove(_f)
  _n+=1
for _d in ('/tls','/journal','/spool'):
 for _f in list(board.storage.listdir(_d)):
  board.storage.remove(_d+'/'+_f)
  _n+=1
  if _w:_w.feed()
print(_n)
"""
_HAS_CLIP_STORAGE = """\
try:
 board.storage.free_bytes()
 print(True)
except OSError:
 print(False)
"""


@dataclass(frozen=True)
class Wiped:
    """How many key sectors were erased, and how many files removed."""

    sectors: int
    files: int


def has_clip_storage(link: BoardLink) -> bool:
    """Whether the clips of a device, whose board was taken, can be counted: a card may be missing."""
    return bool(link.ask(_HAS_CLIP_STORAGE))


def wipe(device: Stopped) -> Wiped:
    """Erase the keys of a device whose board was taken, then its files. Raises LinkError and BoardError."""
    sectors, files = device.link.ask(_ERASE), device.link.ask(_REMOVE)
    if not isinstance(sectors, int) or not isinstance(files, int):
        raise LinkError(f"{device.port.device}: the board answers with what nobody asked for")
    return Wiped(sectors, files)
