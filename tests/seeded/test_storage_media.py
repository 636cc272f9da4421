"""The media below the file systems: what a cut leaves of one operation, and that littlefs here is MicroPython's."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lapel_sim.inprocess.blocks import ERASE_BYTES, PAGE_BYTES, SECTOR_BYTES, Card, Flash, Medium, MediumGone
from lapel_sim.inprocess.fuse import Fuse
from lapel_sim.inprocess.littlefs_storage import LittlefsStorage
from lapel_sim.launcher import start

DEVICE_CODE = Path(__file__).parents[1] / "firmware" / "device"
SEEDS = 60


def new_flash(seed: int) -> Flash:
    return Flash(Fuse(random.Random(seed)), 4 * ERASE_BYTES)


def cut(medium: Medium, at: int, content: bytes) -> bytes:
    """The image after a write that was cut."""
    medium.fuse.arm(1)
    with pytest.raises(MediumGone):
        medium.write(at, content)
    with pytest.raises(MediumGone):
        medium.read(0, 1)
    medium.power_on()
    return medium.image()


def test_flash_clears_bits_until_it_is_erased() -> None:
    flash = new_flash(1)
    flash.write(10, b"\xf0\x3c")
    flash.write(10, b"\x3f\xff")
    assert flash.read(9, 4) == b"\xff\x30\x3c\xff"
    flash.erase(0)
    assert flash.read(9, 4) == b"\xff" * 4


def test_a_torn_program_leaves_whole_pages_one_page_of_anything_and_nothing_after_it() -> None:
    prefixes, noisy = set(), 0
    for seed in range(SEEDS):
        image = cut(new_flash(seed), 64, bytes(1000))
        assert image[:64] == b"\xff" * 64
        assert set(image[1064:]) == {0xFF}
        written = image[64:1064]
        done = len(written) - len(written.lstrip(b"\0"))
        rest = written[done:].rstrip(b"\xff")
        assert (64 + done) // PAGE_BYTES == (64 + done + max(0, len(rest) - 1)) // PAGE_BYTES
        prefixes.add(done)
        noisy += len(rest) > 1
    assert len(prefixes) > SEEDS // 2
    assert noisy > SEEDS // 5


def test_a_torn_erase_sets_bits_and_clears_none() -> None:
    shares = set()
    for seed in range(SEEDS):
        flash = new_flash(seed)
        flash.write(0, bytes(ERASE_BYTES))
        flash.write(ERASE_BYTES, bytes(ERASE_BYTES))
        flash.fuse.arm(1)
        with pytest.raises(MediumGone):
            flash.erase(0)
        flash.power_on()
        assert flash.read(ERASE_BYTES, ERASE_BYTES) == bytes(ERASE_BYTES)
        shares.add(int.from_bytes(flash.read(0, ERASE_BYTES)).bit_count() * 16 // (8 * ERASE_BYTES))
    assert len(shares) >= 4


def lost_and_kept(any_order: bool, seed: int) -> list[bool]:
    card = Card(Fuse(random.Random(seed)), 16 * SECTOR_BYTES, any_order)
    card.write(0, b"\1" * SECTOR_BYTES)
    card.sync()
    for sector in range(1, 9):
        card.write(sector * SECTOR_BYTES, b"\2" * SECTOR_BYTES)
    assert card.read(0, 3 * SECTOR_BYTES) == b"\1" * SECTOR_BYTES + b"\2" * 2 * SECTOR_BYTES
    card.power_on()
    assert card.read(0, SECTOR_BYTES) == b"\1" * SECTOR_BYTES
    return [card.read(sector * SECTOR_BYTES, 1) == b"\2" for sector in range(1, 9)]


def test_a_card_loses_what_was_not_synced_from_some_point_on_or_in_any_order() -> None:
    in_order = [lost_and_kept(False, seed) for seed in range(SEEDS)]
    assert all(kept == sorted(kept, reverse=True) for kept in in_order)
    assert len({sum(kept) for kept in in_order}) == 9
    any_order = [lost_and_kept(True, seed) for seed in range(SEEDS)]
    assert any(kept != sorted(kept, reverse=True) for kept in any_order)


def test_a_card_writes_a_sector_whole_or_not_at_all() -> None:
    torn = 0
    for seed in range(SEEDS):
        card = Card(Fuse(random.Random(seed)), 8 * SECTOR_BYTES, any_order=True)
        card.write(0, b"\1" * 8 * SECTOR_BYTES)
        card.sync()
        image = cut(card, 100, b"\2" * 3000)
        parts = [image[at : at + SECTOR_BYTES] for at in range(0, len(image), SECTOR_BYTES)]
        first = b"\1" * 100 + b"\2" * (SECTOR_BYTES - 100)
        last = b"\2" * (3100 - 6 * SECTOR_BYTES) + b"\1" * (7 * SECTOR_BYTES - 3100)
        assert all(part in (b"\1" * SECTOR_BYTES, b"\2" * SECTOR_BYTES, first, last) for part in parts)
        torn += len(set(parts)) > 1
    assert torn > SEEDS // 3


@pytest.mark.needs("micropython")
@pytest.mark.parametrize("medium", ["flash", "card"])
def test_littlefs_here_and_micropythons_mount_what_the_other_one_wrote(medium: str, tmp_path: Path) -> None:
    fuse = Fuse(random.Random(1))
    storage = LittlefsStorage(Flash(fuse, 256 << 10) if medium == "flash" else Card(fuse, 256 << 10, any_order=True))
    storage.mkdir("/spool")
    content = random.Random(2).randbytes(20_000)
    file = storage.open("/spool/00000001.clp", "wb")
    file.write(content)
    file.close()
    image = tmp_path / "image"
    image.write_bytes(storage.medium.image())
    device = start("littlefs_image", [str(image)], (), 4 << 20, DEVICE_CODE)
    output, _ = device.communicate(timeout=60)
    assert device.returncode == 0, output.decode()
    told = json.loads(output.decode().splitlines()[-1])
    assert bytes.fromhex(told["found"]) == content[:64] + content[-64:]
    assert told["size"] == len(content)
    written = image.read_bytes()
    if medium == "flash":
        back: Medium = Flash(fuse, len(written))
        back.write(0, written)
    else:
        back = Card(fuse, len(written), any_order=True)
        back.write(0, written)
        back.sync()
    other = LittlefsStorage(back, new=False)
    assert sorted(other.listdir("/spool")) == ["00000001.clp", "00000002.clp"]
    assert other.content("/spool/00000002.clp") == content[::-1]
    assert other.content("/spool/00000001.clp") == content
