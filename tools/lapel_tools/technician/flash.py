"""Puts the firmware onto a board so that a break at any byte can be repeated and ends whole.

Rules that hold here:

- What the board runs is never written to. A release goes into the other slot; its manifest is written last of it, and
  only then, when all was read back, is the board told to run it.
- A ROM partition there is only one of. Its first block goes first and comes last: without it there is no slot in it,
  and the board says that it has no firmware.
- A board that has nothing to run gets its loader first: from its first file on it says that it has no firmware.
- A file outside of the slots is written beside its place, read back, and renamed.
- Only what differs is written, by what the board reads back, whoever wrote it and however that ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from lapel_device.slots import (
    KEY_PATH,
    NO_SLOT,
    SLOT_A,
    SLOT_B,
    SLOT_ROM,
    UNDECIDED,
    SlotState,
    manifest_path,
    slot_folder,
)
from lapel_protocol.release import code_of

from .firmware import Firmware
from .link import BoardLink
from .ports import ROM_BLOCK_BYTES, BoardFacts
from .survey import LinkFiles, Survey

_NEW = ".new"
_ATTEMPTS = 2
_ROM_PIECE_BYTES = 1024
_ROM_OPEN = f"import hashlib,vfs\n_p=vfs.rom_ioctl(2,0)\n_b=bytearray({ROM_BLOCK_BYTES})"
_ROM_ERASE = "_p.ioctl(6,{block})"
_ROM_WRITE = """\
_p.ioctl(6,{block})
_p.writeblocks({block},_b,0)
_p.readblocks({block},_b)
print(repr(hashlib.sha256(_b).digest()))"""
_SPARE_BLOCKS = 4
"""littlefs writes folders anew before it lets go of the old."""

Progress = Callable[[int], None]


class FlashError(Exception):
    """The firmware cannot be put onto this board; nothing that it runs was changed. The message says what to do."""


@dataclass
class Plan:
    """What is to be done to one board. `writes`: (path, content) of the slot in order, its manifest last; `rom`:
    (block, content) of its ROM partition in order, its first block last.
    """

    slot: int
    base: dict[str, bytes] = field(default_factory=dict)
    base_first: bool = False
    removals: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    writes: list[tuple[str, bytes]] = field(default_factory=list)
    rom: list[tuple[int, bytes]] = field(default_factory=list)
    choose: bool = False

    @property
    def size_bytes(self) -> int:
        """What is to be written."""
        return sum(map(len, self.base.values())) + sum(len(content) for _, content in [*self.writes, *self.rom])

    @property
    def files(self) -> int:
        """How many files are to be written; an image counts as one."""
        return len(self.base) + len(self.writes) + bool(self.rom)

    @property
    def empty(self) -> bool:
        """Whether the board is as it shall be."""
        return not (self.base or self.removals or self.writes or self.rom or self.choose)


def make_plan(firmware: Firmware, facts: BoardFacts, found: Survey) -> Plan:
    """Compare a board with what it shall carry. Raises FlashError when it cannot carry it."""
    manifest = firmware.release.manifest
    hardware, code = firmware.target.hardware, code_of(facts.mpy)
    if manifest.number < found.state.floor:
        raise FlashError(
            f"this device takes no release below number {found.state.floor}; this one is number {manifest.number}"
        )
    wanted = {path: _fact(content) for path, content in firmware.release.files.items()}
    wanted["manifest"] = _fact(firmware.release.signed_manifest)
    running = found.running_slot(hardware, code)
    slot, running = (SLOT_ROM, running) if firmware.in_rom else _slot_for(wanted, found, running)
    plan = Plan(slot, base_first=running is None)
    plan.base = {path: text for path, text in firmware.base.items() if found.files.get(path) != _fact(text)}
    if firmware.in_rom:
        plan.rom = _rom_writes(rom_blocks(firmware.rom), found.rom)
    else:
        _fill_slot(plan, firmware, found)
    plan.removals += [path + _NEW for path in firmware.base if path + _NEW in found.files]
    state = found.state
    plan.choose = (state.active, state.trial) != (slot, NO_SLOT) or state.floor < manifest.floor
    _check_room(plan, found)
    return plan


def _slot_for(wanted: dict[str, tuple[int, bytes]], found: Survey, running: int | None) -> tuple[int, int | None]:
    """The slot of the file system to write to, and the one that runs meanwhile."""
    slots = (SLOT_A, SLOT_B)
    for slot in slots:
        if found.holds(slot, wanted) == len(wanted) == len(found.in_slot(slot)):
            return slot, running
    if running in slots:
        return SLOT_A + SLOT_B - running, running
    # Where a break left most of it, so that the rest is little.
    return max(slots, key=lambda slot: found.holds(slot, wanted)), running


def rom_blocks(image: bytes) -> list[bytes]:
    """An image in blocks of a ROM partition, the last one filled up as erased flash is."""
    padded = image + b"\xff" * (-len(image) % ROM_BLOCK_BYTES)
    return [padded[at : at + ROM_BLOCK_BYTES] for at in range(0, len(padded), ROM_BLOCK_BYTES)]


def _rom_writes(blocks: list[bytes], there: tuple[bytes, ...]) -> list[tuple[int, bytes]]:
    """The blocks that differ, and the first one after them: with any of the others it is written anew."""
    changed = [
        (number, content)
        for number, content in enumerate(blocks)
        if number and hashlib.sha256(content).digest() != there[number]
    ]
    if changed or hashlib.sha256(blocks[0]).digest() != there[0]:
        changed.append((0, blocks[0]))
    return changed


def _fill_slot(plan: Plan, firmware: Firmware, found: Survey) -> None:
    folder = slot_folder(plan.slot)
    contents = {f"{folder}/{path}": content for path, content in firmware.release.files.items()}
    last = manifest_path(plan.slot)
    changed = {path: content for path, content in contents.items() if found.files.get(path) != _fact(content)}
    manifest_differs = found.files.get(last) != _fact(firmware.release.signed_manifest)
    strangers = [path for path in found.in_slot(plan.slot) if path not in contents and path != last]
    if (changed or manifest_differs) and last in found.files:
        plan.removals.append(last)
    plan.removals += strangers
    needed = {path[:at] for path in contents for at in range(len(folder), len(path)) if path[at] == "/"} | {folder}
    plan.folders = sorted(needed - found.folders)
    plan.writes = sorted(changed.items())
    if changed or manifest_differs:
        plan.writes.append((last, firmware.release.signed_manifest))


def _check_room(plan: Plan, found: Survey) -> None:
    def blocks(size: int) -> int:
        return -(-size // found.block_bytes) or 1

    freed = sum(blocks(found.files[path][0]) for path in plan.removals)
    freed += sum(blocks(found.files[path][0]) for path, _ in plan.writes if path in found.files)
    taken = sum(blocks(len(content)) for _, content in plan.writes) + 2 * len(plan.folders)
    taken += sum(blocks(len(content)) for content in plan.base.values()) + _SPARE_BLOCKS
    short = taken * found.block_bytes - found.free_bytes - freed * found.block_bytes
    if short > 0:
        raise FlashError(f"there is no room for a second version: {-(-short // 1024)} KiB are missing; remove files")


def install(link: BoardLink, plan: Plan, firmware: Firmware, progress: Progress | None = None) -> None:
    """Carry a plan out on a stopped board. `progress` is told how many bytes were added.

    Raises LinkError, BoardError and FlashError; whatever it raised, the same plan made anew ends it.
    """
    if plan.base_first:
        _put_base(link, plan, progress)
    for path in plan.removals:
        _remove(link, path)
    for folder in plan.folders:
        _make_folder(link, folder)
    for path, content in plan.writes:
        _put(link, path, content, progress)
    if plan.rom:
        _put_rom(link, plan.rom, progress)
    if not plan.base_first:
        _put_base(link, plan, progress)
    if plan.choose:
        _choose(link, plan, firmware)


def _put_base(link: BoardLink, plan: Plan, progress: Progress | None) -> None:
    for path, content in plan.base.items():
        _put(link, path + _NEW, content, progress)
    # One after the other, the key first: with a new key only what was just written is run.
    for path in sorted(plan.base, key=lambda path: path != KEY_PATH):
        link.run(f"import os\nos.rename({path + _NEW!r},{path!r})")


def _put(link: BoardLink, path: str, content: bytes, progress: Progress | None) -> None:
    """Write a file and read it back; once more where it is not what was written."""
    for _ in range(_ATTEMPTS):
        link.write_file(path, content, progress)
        progress = None
        if link.hash_file(path) == hashlib.sha256(content).digest():
            return
    raise FlashError(f"{path} does not read back as it was written: the board's flash is worn out or the cable is bad")


def _put_rom(link: BoardLink, blocks: list[tuple[int, bytes]], progress: Progress | None) -> None:
    link.run(_ROM_OPEN)
    link.run(_ROM_ERASE.format(block=0))
    for number, content in blocks:
        _put_block(link, number, content, progress)


def _put_block(link: BoardLink, number: int, content: bytes, progress: Progress | None) -> None:
    """Write a block and read it back; once more where it is not what was written."""
    for _ in range(_ATTEMPTS):
        for at in range(0, len(content), _ROM_PIECE_BYTES):
            piece = content[at : at + _ROM_PIECE_BYTES]
            link.run(f"_b[{at}:{at + len(piece)}]={piece!r}")
            if progress is not None:
                progress(len(piece))
        if link.ask(_ROM_WRITE.format(block=number)) == hashlib.sha256(content).digest():
            return
        progress = None
    raise FlashError(
        "the ROM partition does not read back as it was written: the flash is worn out or the cable is bad"
    )


def _remove(link: BoardLink, path: str) -> None:
    link.run(f"import os\ntry:\n os.remove({path!r})\nexcept OSError as e:\n if e.errno!=2:raise")


def _make_folder(link: BoardLink, path: str) -> None:
    link.run(f"import os\ntry:\n os.mkdir({path!r})\nexcept OSError as e:\n if e.errno!=17:raise")


def _choose(link: BoardLink, plan: Plan, firmware: Firmware) -> None:
    state = SlotState(LinkFiles(link))  # type: ignore[arg-type]
    state.load()
    manifest = firmware.release.manifest
    state.active, state.trial, state.tries, state.outcome = plan.slot, NO_SLOT, 0, UNDECIDED
    state.floor = max(state.floor, manifest.floor)
    state.release, state.number = manifest.release, manifest.number
    state.keep()


def _fact(content: bytes) -> tuple[int, bytes]:
    return len(content), hashlib.sha256(content).digest()
