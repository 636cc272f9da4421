"""The microSD driver on a model of a card, and MicroPython's own file systems on the driver."""

import os

import vfs
from machine import SPI, Pin

from lapel_device.boards.sdcard import SdCard
from lapel_sim.chips.sdcard import SdCardChip
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.judging import fails_with, within_ms
from lapel_sim.machine_models.wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EIO, ENODEV, EROFS, ETIMEDOUT = 5, 19, 30, 110
BLOCK = 512


def card_in_slot(chip: SdCardChip) -> SdCard:
    """A driver on the pins of a Pico W, its card not brought up yet."""
    wiring.attach_spi(18, 19, 16, 17, chip)
    spi = SPI(0, baudrate=400_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
    return SdCard(spi, Pin(17, Pin.OUT, value=1))


def bring_up(card: SdCard) -> None:
    """Every step by itself is short."""
    for _ in range(300):
        if within_ms(50, card.begin):
            return
        clock.advance(10_000)
    raise AssertionError("it never came up")


def started(blocks: int = 65536, high_capacity: bool = True, version: int = 2) -> "tuple[SdCard, SdCardChip]":
    chip = SdCardChip(blocks, high_capacity, version)
    card = card_in_slot(chip)
    bring_up(card)
    return card, chip


def pattern(seed: int, blocks: int = 1) -> bytearray:
    return bytearray((seed * 31 + at * 7 + (at >> 8)) & 0xFF for at in range(blocks * BLOCK))


def a_card_of_high_capacity_is_read_and_written() -> None:
    card, chip = started()
    assert (card.blocks, card.capacity, card.name, card.serial) == (65536, 65536 * 512, "LPL16", 0x12345678)
    written = pattern(1)
    within_ms(50, card.writeblocks, 7, written)
    assert chip.content[7] == bytes(written)
    read = bytearray(BLOCK)
    within_ms(50, card.readblocks, 7, read)
    assert read == written
    assert card.ioctl(4, 0) == 65536
    assert card.ioctl(5, 0) == 512
    assert card.ioctl(3, 0) == 0
    assert card.faults == 0


def a_card_of_standard_capacity_is_addressed_by_bytes() -> None:
    card, chip = started(32768, high_capacity=False)
    assert card.capacity == 16 << 20
    card.writeblocks(9, pattern(2))
    assert list(chip.content) == [9]
    assert 16 in chip.commands


def a_card_of_the_first_generation_works_without_cmd8() -> None:
    card, _ = started(2048, high_capacity=False, version=1)
    assert card.capacity == 1 << 20
    card.writeblocks(2047, pattern(3))
    read = bytearray(BLOCK)
    card.readblocks(2047, read)
    assert read == pattern(3)


def a_run_of_blocks_goes_as_one_transfer_each_way() -> None:
    card, chip = started()
    written = pattern(4, 8)
    card.writeblocks(100, written)
    read = bytearray(len(written))
    card.readblocks(100, read)
    assert read == written
    assert chip.commands[-3:] == [25, 18, 12]
    assert sorted(chip.content) == list(range(100, 108))


def a_card_that_is_not_there_is_an_error_at_once() -> None:
    chip = SdCardChip(65536)
    chip.present = False
    card = card_in_slot(chip)
    fails_with(ENODEV, within_ms, 50, card.begin)
    fails_with(ENODEV, card.readblocks, 0, bytearray(BLOCK))
    fails_with(ENODEV, card.sync)
    assert card.capacity == 0


def a_card_that_never_gets_ready_is_given_up_after_a_second() -> None:
    chip = SdCardChip(65536)
    chip.init_us = 1 << 40
    card = card_in_slot(chip)
    before_us = clock.now_us
    fails_with(ETIMEDOUT, bring_up, card)
    assert 1_000_000 <= clock.now_us - before_us < 1_100_000


def a_card_that_is_put_in_later_is_brought_up_then() -> None:
    chip = SdCardChip(65536)
    chip.present = False
    card = card_in_slot(chip)
    fails_with(ENODEV, card.begin)
    chip.present = True
    chip.power_on()
    bring_up(card)
    card.writeblocks(0, pattern(5))


def a_card_that_was_talking_when_the_processor_was_reset_comes_up() -> None:
    card, _ = started()
    card.writeblocks(1, pattern(6))
    again = SdCard(SPI(0, sck=Pin(18), mosi=Pin(19), miso=Pin(16)), Pin(17, Pin.OUT, value=1))
    bring_up(again)
    read = bytearray(BLOCK)
    again.readblocks(1, read)
    assert read == pattern(6)


def a_block_that_arrives_wrong_is_read_again() -> None:
    card, chip = started()
    card.writeblocks(5, pattern(7))
    chip.bad_reads = 2
    read = bytearray(BLOCK)
    card.readblocks(5, read)
    assert (read, card.faults) == (pattern(7), 2)
    chip.bad_reads = 3
    fails_with(EIO, card.readblocks, 5, read)
    assert not card.ready


def a_run_of_blocks_with_a_wrong_one_is_read_again() -> None:
    card, chip = started()
    card.writeblocks(40, pattern(8, 4))
    chip.bad_reads = 1
    read = bytearray(4 * BLOCK)
    card.readblocks(40, read)
    assert read == pattern(8, 4)


def a_block_that_the_card_got_wrong_is_written_again() -> None:
    card, chip = started()
    chip.bad_writes = 1
    card.writeblocks(5, pattern(9))
    assert chip.content[5] == bytes(pattern(9))
    chip.bad_writes = 1
    card.writeblocks(60, pattern(10, 4))
    assert chip.content[63] == bytes(pattern(10, 4)[3 * BLOCK :])


def a_card_that_cannot_write_is_an_error() -> None:
    card, chip = started()
    chip.failed_writes = 3
    fails_with(EIO, card.writeblocks, 5, pattern(11))
    assert not chip.content
    assert not card.ready


def a_card_that_cannot_read_a_block_says_so() -> None:
    card, chip = started()
    chip.failed_reads = 3
    fails_with(EIO, card.readblocks, 5, bytearray(BLOCK))


def a_write_that_failed_after_it_was_accepted_fails_the_sync() -> None:
    card, chip = started()
    card.writeblocks(5, pattern(12))
    chip.bad_status = True
    fails_with(EIO, card.ioctl, 3, 0)


def a_write_protected_card_is_read_only() -> None:
    chip = SdCardChip(65536)
    chip.write_protected = True
    card = card_in_slot(chip)
    bring_up(card)
    assert card.write_protected
    fails_with(EROFS, card.writeblocks, 0, pattern(13))
    card.readblocks(0, bytearray(BLOCK))


def a_block_outside_of_the_card_is_an_error() -> None:
    card, _ = started(2048, high_capacity=False)
    fails_with(EIO, card.readblocks, 2048, bytearray(BLOCK))
    fails_with(EIO, card.writeblocks, 2047, pattern(14, 2))
    fails_with(EIO, card.readblocks, 0, bytearray(100))


def a_busy_card_is_waited_for_as_long_as_the_standard_allows() -> None:
    card, chip = started()
    chip.busy_us = 240_000
    within_ms(50, card.writeblocks, 5, pattern(15))  # it writes while the processor goes on
    before_us = clock.now_us
    card.readblocks(5, bytearray(BLOCK))
    assert 200_000 < clock.now_us - before_us < 300_000
    chip.hangs = True
    card.writeblocks(6, pattern(16))
    before_us = clock.now_us
    fails_with(ETIMEDOUT, card.sync)
    assert 500_000 <= clock.now_us - before_us < 520_000
    fails_with(ENODEV, card.readblocks, 5, bytearray(BLOCK))


def a_card_pulled_out_within_a_write_is_an_error_and_no_hang() -> None:
    for after in (0, 3, 9, 20, 300, 523, 524, 600, 1500):
        wiring.reset("rp2")
        card, chip = started()
        chip.gone_after = after
        before_us = clock.now_us
        fails_with(None, card.writeblocks, 5, pattern(17, 4))
        assert clock.now_us - before_us < 700_000
        assert not card.ready
        chip.gone_after = -1
        chip.present = True
        chip.power_on()
        bring_up(card)
        card.writeblocks(5, pattern(18, 4))


def a_fat_file_system_works_on_the_card_and_after_it_was_pulled() -> None:
    card, chip = started(8192)
    vfs.VfsFat.mkfs(card)
    vfs.mount(vfs.VfsFat(card), "/sd")
    try:
        content = bytes(pattern(19, 9))
        with open("/sd/clip", "wb") as out:
            for at in range(0, len(content), 1000):
                out.write(content[at : at + 1000])
        with open("/sd/clip", "rb") as source:
            assert source.read() == content
        assert os.listdir("/sd") == ["clip"]
        chip.present = False
        fails_with(None, reads, "/sd/clip")
    finally:
        vfs.umount("/sd")
    chip.present = True
    chip.power_on()
    bring_up(card)
    vfs.mount(vfs.VfsFat(card), "/sd")
    with open("/sd/clip", "rb") as source:
        assert source.read() == content
    vfs.umount("/sd")


def reads(path: str) -> bytes:
    with open(path, "rb") as source:
        return source.read()


def a_littlefs_works_on_the_card() -> None:
    card, _ = started(2048, high_capacity=False)
    settings: dict[str, Any] = {"readsize": BLOCK, "progsize": BLOCK}
    vfs.VfsLfs2.mkfs(card, **settings)
    vfs.mount(vfs.VfsLfs2(card, **settings), "/sd")
    content = bytes(pattern(20, 5))
    with open("/sd/clip", "wb") as out:
        out.write(content)
    with open("/sd/clip", "rb") as source:
        assert source.read() == content
    vfs.umount("/sd")


def a_clip_of_many_writes_keeps_within_the_bus_time() -> None:
    card, _ = started()
    before_us = clock.now_us
    block = pattern(21, 8)
    for at in range(32):
        card.writeblocks(1000 + 8 * at, block)
    seconds = (clock.now_us - before_us) / 1_000_000
    assert 32 * len(block) / seconds > 300_000, seconds
