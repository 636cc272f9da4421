"""What lies on a stopped board: every file outside of its clips with its hash as read back, slots, and free space."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from lapel_device.slots import KEY_PATH, SLOTS, SlotState, manifest_path, slot_folder
from lapel_protocol.release import ReleaseError, entries, verify_manifest

from .link import BoardLink, LinkError
from .ports import ROM_BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

_FOLDER = 0x4000

_SURVEY = f"""\
import gc,hashlib,os
gc.collect()
_b=bytearray(1024)
_m=memoryview(_b)
def _h(p):
 h=hashlib.sha256()
 with open(p,'rb') as f:
  while True:
   n=f.readinto(_b)
   if not n:return h.digest()
   h.update(_m[:n])
def _s(d):
 for e in os.ilistdir(d):
  p=d+'/'+e[0]
  if e[1]&{_FOLDER}:
   print(repr((p,-1,b'')))
   _s(p)
  else:
   print(repr((p,os.stat(p)[6],_h(p))))
  if _w:_w.feed()
for _d in {[slot_folder(slot) for slot in SLOTS]!r}:
 try:_s(_d)
 except OSError:pass
for _e in os.ilistdir('/'):
 if not _e[1]&{_FOLDER}:
  _p='/'+_e[0]
  if _p[-4:] in ('.key','.new','.mpy') or _p[-3:]=='.py':print(repr((_p,os.stat(_p)[6],_h(_p))))
_v=os.statvfs('/')
print(repr(('',_v[0]*_v[3],bytes([_v[0]>>12 or 1]))))
"""

_SURVEY_ROM = f"""\
import hashlib,vfs
_p=vfs.rom_ioctl(2,0)
_b=bytearray({ROM_BLOCK_BYTES})
for _i in range({{blocks}}):
 _p.readblocks(_i,_b)
 print(repr(hashlib.sha256(_b).digest()))
 if _w:_w.feed()
"""


@dataclass(frozen=True)
class Survey:
    """`files`: (size, SHA-256) by path; `folders`: those inside slots; `block_bytes`: what the smallest file takes.

    `rom`: the SHA-256 of each block of the ROM partition that was asked for.
    """

    files: dict[str, tuple[int, bytes]]
    folders: frozenset[str]
    free_bytes: int
    block_bytes: int
    state: SlotState
    manifests: dict[int, bytes]
    key: bytes
    rom: tuple[bytes, ...] = ()

    def holds(self, slot: int, files: dict[str, tuple[int, bytes]]) -> int:
        """How many of these files (by path in the slot) lie in it as they should."""
        folder = slot_folder(slot) + "/"
        return sum(self.files.get(folder + path) == fact for path, fact in files.items())

    def in_slot(self, slot: int) -> list[str]:
        """Every file of a slot, by absolute path."""
        folder = slot_folder(slot) + "/"
        return [path for path in self.files if path.startswith(folder)]

    def runs(self, slot: int, hardware: str, code: tuple[int, int, int]) -> bool:
        """Whether the board's own loader would find this slot whole."""
        try:
            file = BytesIO(self.manifests[slot])
            manifest = verify_manifest(file, self.key)
            manifest.check_for(hardware, code, self.state.floor)
            wanted = {path: (size, digest) for path, size, digest in entries(file, manifest)}
        except (KeyError, ReleaseError, ValueError):
            return False
        return self.holds(slot, wanted) == len(wanted) and len(self.in_slot(slot)) == len(wanted) + 1

    def running_slot(self, hardware: str, code: tuple[int, int, int]) -> int | None:
        """The slot that the board falls back to, or runs; None when it has nothing to run."""
        order = sorted(SLOTS, key=lambda slot: slot != self.state.active)
        return next((slot for slot in order if self.runs(slot, hardware, code)), None)


class LinkFiles:
    """A board's files as the firmware's own modules use a `Storage`, one small file at a time."""

    def __init__(self, link: BoardLink) -> None:
        self._link = link

    def size(self, path: str) -> int:
        """Bytes in a file, -1 when there is none."""
        content = self._link.read_file(path)
        return -1 if content is None else len(content)

    def open(self, path: str, mode: str) -> BytesIO:
        """Open for reading or for writing anew. Raises OSError."""
        if mode == "wb":
            return _Written(self._link, path)
        content = self._link.read_file(path)
        if content is None:
            raise FileNotFoundError(path)
        return BytesIO(content)

    def listdir(self, path: str) -> Iterable[str]:
        """The names in a folder."""
        return [str(name) for name in self._link.ask(f"import os\nprint(os.listdir({path!r}))")]


class _Written(BytesIO):
    def __init__(self, link: BoardLink, path: str) -> None:
        super().__init__()
        self._link = link
        self._path = path

    def close(self) -> None:
        if not self.closed:
            self._link.write_file(self._path, self.getvalue())
        super().close()


def survey(link: BoardLink, rom_blocks: int = 0) -> Survey:
    """Look at a stopped board, and at this many blocks of its ROM partition. Raises LinkError and BoardError."""
    files: dict[str, tuple[int, bytes]] = {}
    folders = set()
    free = block = 0
    try:
        for path, size, digest in link.ask_lines(_SURVEY):
            if not path:
                free, block = int(size), digest[0] << 12
            elif size < 0:
                folders.add(str(path))
            else:
                files[str(path)] = (int(size), bytes(digest))
    except (TypeError, ValueError, IndexError):
        raise LinkError(f"{link.port}: the board answers with what nobody asked for") from None
    if not block:
        raise LinkError(f"{link.port}: the board did not say all that lies on it")
    state = SlotState(LinkFiles(link))  # type: ignore[arg-type]
    state.load()
    manifests = {}
    for slot in SLOTS:
        content = link.read_file(manifest_path(slot)) if manifest_path(slot) in files else None
        if content is not None:
            manifests[slot] = content
    key = (link.read_file(KEY_PATH) or b"") if KEY_PATH in files else b""
    rom = link.ask_lines(_SURVEY_ROM.format(blocks=rom_blocks)) if rom_blocks else []
    if len(rom) != rom_blocks or not all(isinstance(digest, bytes) for digest in rom):
        raise LinkError(f"{link.port}: the board did not say all that lies on it")
    return Survey(files, frozenset(folders), free, block, state, manifests, key, tuple(rom))
