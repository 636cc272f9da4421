"""Key sectors in flash that a real littlefs lies on, and the key store on them."""

import os

import vfs

from lapel_device.boards.key_sectors import FlashSectors, find, key_sectors, reserve, reserved_sectors
from lapel_device.keystore import KeyStore, KeyStoreFault, provision_sectors
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.flash import NorFlash
from lapel_sim.machine_models.judging import fails_with, within_ms
from lapel_sim.machine_models.wiring import wiring

EIO, ENODEV = 5, 19
CK, POOL = bytes(range(32)), bytes(range(100, 132))
BOOT = 1


class Mounted:
    """A littlefs on flash, as the official image mounts it, under /flash."""

    def __init__(self, flash: NorFlash, fresh: bool = True) -> None:
        if fresh:
            vfs.VfsLfs2.mkfs(flash, progsize=256)  # type: ignore[call-arg]
        vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/flash")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        vfs.umount("/flash")


def churn(seed: int) -> None:
    """Fill and empty the file system so that every free block is written."""
    for turn in range(3):
        at = 0
        try:
            while True:
                with open("/flash/f%d" % at, "wb") as out:
                    out.write(bytes((seed + turn + at) & 0xFF for _ in range(9000)))
                at += 1
        except OSError:
            for name in os.listdir("/flash"):
                if name.startswith("f"):
                    os.remove("/flash/" + name)


def a_reserved_sector_is_never_touched_by_the_file_system() -> None:
    flash = NorFlash(48)
    with Mounted(flash):
        churn(1)
        sectors = reserve(flash, "/flash")
        provision_sectors(sectors, CK, POOL)
        for _ in range(3):
            store = KeyStore(sectors)
            store.load()
            store.step(BOOT, bytes(32), 0)
        kept = [bytes(flash.content[block * 4096 :][:4096]) for block in sectors.blocks]
        churn(2)
        assert [bytes(flash.content[block * 4096 :][:4096]) for block in sectors.blocks] == kept
    with Mounted(flash, fresh=False):
        again = find(flash, "/flash")
        assert again.blocks == sectors.blocks
        assert reserve(flash, "/flash").blocks == sectors.blocks
        store = KeyStore(again)
        store.load()
        assert store.epoch == 3


def a_file_system_smaller_than_the_flash_does_not_mount_and_so_cannot_leave_room_for_keys() -> None:
    flash, smaller = NorFlash(48), NorFlash(46)
    vfs.VfsLfs2.mkfs(smaller, progsize=256)  # type: ignore[call-arg]
    flash.content[: len(smaller.content)] = smaller.content
    fails_with(None, vfs.VfsLfs2, flash)


def an_old_key_is_nowhere_in_the_flash() -> None:
    flash = NorFlash(48)
    with Mounted(flash):
        sectors = reserve(flash, "/flash")
        provision_sectors(sectors, CK, POOL)
        assert CK in bytes(flash.content)
        store = KeyStore(sectors)
        store.load()
        store.step(BOOT, bytes(32), 0)
        assert CK not in bytes(flash.content)
        assert POOL not in bytes(flash.content)


def a_sector_that_lost_its_file_is_not_given_out() -> None:
    flash = NorFlash(48)
    with Mounted(flash):
        sectors = reserve(flash, "/flash")
        provision_sectors(sectors, CK, POOL)
        with open("/flash/keys.0", "wb") as out:
            out.write(bytes(4096))
        fails_with(EIO, find, flash, "/flash")
        os.remove("/flash/keys.1")
        fails_with(None, find, flash, "/flash")
        assert reserve(flash, "/flash").blocks != ()


def a_sector_is_programmed_without_touching_its_neighbours() -> None:
    flash = NorFlash(4)
    sectors = FlashSectors(flash, (2, 3))
    flash.content[2 * 4096 : 3 * 4096] = bytes(4096)
    within_ms(50, sectors.erase, 0)
    within_ms(50, sectors.program, 0, 250, b"\x0f\xf0" * 10)
    within_ms(50, sectors.program, 0, 112, b"\0\0\0\0")
    read = bytearray(4096)
    sectors.read(0, 0, read)
    assert read[250:270] == b"\x0f\xf0" * 10
    assert read[112:116] == b"\0\0\0\0"
    assert sum(byte == 0xFF for byte in read) == 4096 - 24
    sectors.program(0, 250, b"\xf0\xf0")
    sectors.read(0, 250, read)
    assert read[:2] == b"\x00\xf0", "bits are only cleared"
    assert bytes(flash.content[3 * 4096 :]) == b"\xff" * 4096


def a_sector_that_does_not_program_or_erase_stops_the_key_store() -> None:
    flash = NorFlash(4)
    sectors = FlashSectors(flash, (2, 3))
    provision_sectors(sectors, CK, POOL)
    for stuck, weak in (((2, 3), ()), ((), (2, 3))):
        store = KeyStore(sectors)
        store.load()
        flash.stuck, flash.weak = set(stuck), set(weak)
        try:
            store.step(BOOT, bytes(32), 0)
        except KeyStoreFault:
            flash.stuck, flash.weak = set(), set()
            continue
        raise AssertionError("a key was handed out")
    flash.broken = True
    fails_with(EIO, sectors.read, 0, 0, bytearray(4))


def a_flash_erase_holds_the_interrupts_for_no_longer_than_it_must() -> None:
    flash = NorFlash(4)
    FlashSectors(flash, (2, 3)).erase(0)
    begun_us, ended_us = clock.gaps[-1]
    assert ended_us - begun_us <= 50_000


def a_board_whose_sectors_were_never_reserved_comes_up_and_says_so() -> None:
    wiring.parts["flash"] = NorFlash(48)
    sectors = key_sectors("rp2040")
    fails_with(ENODEV, sectors.read, 0, 0, bytearray(4))
    fails_with(ENODEV, sectors.erase, 0)
    fails_with(ENODEV, sectors.program, 0, 0, b"\0")


def an_esp32_with_a_partition_for_keys_uses_that() -> None:
    wiring.reset("esp32")
    keys, files = NorFlash(2), NorFlash(48)
    wiring.parts["partitions"] = {"vfs": files, "keys": keys}
    sectors = key_sectors("esp32s3")
    assert reserved_sectors("esp32s3").blocks == sectors.blocks
    provision_sectors(sectors, CK, POOL)
    assert CK in bytes(keys.content)
    assert CK not in bytes(files.content)
    wiring.parts["partitions"] = {"vfs": files}
    fails_with(ENODEV, key_sectors("esp32s3").read, 0, 0, bytearray(4))
