"""What the world's storage does when the power goes, and that the file system which MicroPython has survives it."""

import dataclasses
import random
from pathlib import Path

import pytest

from lapel_sim.disk import BlockDisk, DiskFault
from lapel_sim.hardware import PICO_W, DiskKind, card, flash
from lapel_sim.provision import fill_storage, list_files, read_files
from lapel_sim.sectors import SECTOR_BYTES, SectorFlash
from lapel_sim.server import FileTasks
from lapel_sim.world import World

from .conftest import run_program

CUTS = 25


def numbers(world: World, word: str) -> list[int]:
    """The numbers that keeper printed after `word`, in order."""
    lines = [str(entry["line"]).split() for entry in world.journal.entries("console")]
    return [int(line[1]) for line in lines if line[0] == word]


@pytest.mark.parametrize("kind", [card(), flash()], ids=["card", "flash"])
def test_littlefs_keeps_every_flushed_record_over_power_cuts_at_any_write(world: World, kind: DiskKind) -> None:
    device = world.add_device("keeper", dataclasses.replace(PICO_W, disk=kind))
    rng = random.Random(3)
    durable = 0
    steps = ["block_write", "block_sync"] if kind.write_cache else ["block_write", "block_erase"]
    for _ in range(CUTS):
        run_program(device, "keeper")
        device.cut_power_at(rng.choice(steps), rng.randrange(1, 60))
        device.wait_off()
        assert not numbers(world, "spoilt")
        assert numbers(world, "found")[-1] >= durable
        durable = max([durable, *numbers(world, "durable")])
    assert durable > CUTS
    formatted = [entry for entry in world.journal.entries("console") if entry["line"] == "formatting"]
    assert len(formatted) <= 3  # only cuts before the first format was finished
    assert not world.journal.entries("fault")


def test_a_power_cut_from_outside_kills_the_device_at_once_and_it_starts_again(world: World) -> None:
    device = world.add_device("keeper")
    run_program(device, "keeper")
    world.wait_until(lambda: len(numbers(world, "durable")) > 20)
    device.cut_power()
    assert not device.running
    run_program(device, "keeper")
    world.wait_until(lambda: len(numbers(world, "found")) == 2)
    assert numbers(world, "found")[1] >= max(numbers(world, "durable")[:21])


def test_unsynced_writes_of_a_card_may_be_lost_and_synced_ones_may_not(tmp_path: Path) -> None:
    lost_something = kept_later_one = False
    for seed in range(40):
        disk = BlockDisk(tmp_path / f"{seed}.img", 8, 4096, write_cache=True)
        disk.write(0, 0, b"\x01" * 512)
        disk.sync()
        for block in range(1, 5):
            disk.write(block, 0, b"\x02" * 512)
            assert disk.read(block, 0, 512) == b"\x02" * 512
        disk.settle(random.Random(seed))
        left = [disk.read(block, 0, 1) == b"\x02" for block in range(1, 5)]
        assert disk.read(0, 0, 512) == b"\x01" * 512
        lost_something |= not all(left)
        kept_later_one |= left != sorted(left, reverse=True)
        disk.close()
    assert lost_something
    assert kept_later_one


def test_a_card_tears_a_write_only_at_512_byte_borders(tmp_path: Path) -> None:
    torn = False
    for seed in range(40):
        disk = BlockDisk(tmp_path / f"{seed}.img", 2, 4096, write_cache=True)
        disk.write(0, 0, b"\x05" * 4096)
        disk.settle(random.Random(seed))
        content = disk.read(0, 0, 4096)
        pages = [content[at : at + 512] for at in range(0, 4096, 512)]
        assert all(page in (bytes(512), b"\x05" * 512) for page in pages)
        torn |= len(set(pages)) == 2
        disk.close()
    assert torn


def test_reads_that_cross_blocks_see_unsynced_writes(tmp_path: Path) -> None:
    disk = BlockDisk(tmp_path / "disk.img", 8, 512, write_cache=True)
    disk.write(2, 0, b"\x07" * 1024)
    assert disk.read(1, 0, 2048) == bytes(512) + b"\x07" * 1024 + bytes(512)
    disk.sync()
    assert disk.read(1, 0, 2048) == bytes(512) + b"\x07" * 1024 + bytes(512)
    disk.close()


def test_flash_refuses_to_set_a_bit_without_an_erase(tmp_path: Path) -> None:
    disk = BlockDisk(tmp_path / "disk.img", 4, 4096, write_cache=False)
    disk.write(1, 16, b"\xf0")
    disk.write(1, 16, b"\xc0")
    with pytest.raises(DiskFault, match="not erased"):
        disk.write(1, 16, b"\x0f")
    disk.erase(1)
    disk.write(1, 16, b"\x0f")
    assert disk.read(1, 16, 1) == b"\x0f"
    disk.close()


def test_the_disk_refuses_what_is_outside_it(tmp_path: Path) -> None:
    disk = BlockDisk(tmp_path / "disk.img", 4, 4096, write_cache=True)
    with pytest.raises(DiskFault, match="outside"):
        disk.read(3, 4000, 200)
    with pytest.raises(DiskFault, match="outside"):
        disk.write(4, 0, b"x")
    disk.close()


def test_sectors_clear_bits_only_until_erased_and_keep_everything(tmp_path: Path) -> None:
    sectors = SectorFlash(tmp_path / "sectors.img", 2)
    sectors.program(1, 100, b"\xf0\x0f")
    sectors.program(1, 100, b"\x3c\xff")
    assert sectors.read(1, 99, 4) == b"\xff\x30\x0f\xff"
    sectors.close()
    again = SectorFlash(tmp_path / "sectors.img", 2)
    assert again.read(1, 99, 4) == b"\xff\x30\x0f\xff"
    again.erase(1)
    assert again.read(1, 0, SECTOR_BYTES) == b"\xff" * SECTOR_BYTES
    with pytest.raises(ValueError, match="outside"):
        again.program(1, SECTOR_BYTES - 1, b"\x00\x00")
    again.close()


def test_a_torn_program_leaves_a_prefix_and_a_torn_erase_only_sets_bits(tmp_path: Path) -> None:
    prefixes = set()
    for seed in range(30):
        sectors = SectorFlash(tmp_path / f"{seed}.img", 2)
        sectors.tear_program(0, 0, bytes(64), random.Random(seed))
        content = sectors.read(0, 0, 80)
        zeros = len(content) - len(content.lstrip(b"\x00"))
        assert set(content[zeros + 1 :]) == {0xFF}
        prefixes.add(zeros)
        sectors.program(1, 0, bytes(4096))
        sectors.tear_erase(1, random.Random(seed))
        assert any(sectors.read(1, 0, 4096))
        sectors.close()
    assert len(prefixes) > 10


def test_a_cut_in_the_middle_of_a_sector_program_tears_that_one_and_stops_the_device(world: World) -> None:
    device = world.add_device("flasher")
    run_program(device, "flasher")
    device.cut_power_at("sector_program", 20)
    device.wait_off()
    written = device.sectors.read(0, 0, 4096)
    assert written[: 19 * 64] == bytes(19 * 64)
    assert set(written[20 * 64 :]) == {0xFF}
    assert not device.console_has("done")


def test_files_are_written_read_listed_and_filled_by_the_real_file_system(world: World) -> None:
    for kind in (card(mebibytes=4), card("fat", 4), flash()):
        device = world.add_device(f"{kind.filesystem}-{kind.write_cache}", dataclasses.replace(PICO_W, disk=kind))
        content = random.Random(1).randbytes(70_001)
        tasks = FileTasks()
        tasks.format()
        tasks.write("/tls/key.der", content)
        tasks.write("/config.json", b"{}")
        device.do_files(tasks)
        assert sorted(list_files(device)) == ["/config.json", "/tls/key.der"]
        assert read_files(device, ["/tls/key.der", "/config.json"]) == {"/tls/key.der": content, "/config.json": b"{}"}
        fill_storage(device, leave_bytes=300_000)
        assert len(read_files(device, ["/filler.bin"])["/filler.bin"]) > 3_500_000


def test_the_watchdog_restarts_a_device_that_hangs(world: World) -> None:
    device = world.add_device("silent", dataclasses.replace(PICO_W, watchdog_ms=400))
    device.module = "silent"
    run_program(device, "silent")
    world.wait_until(lambda: device.boots >= 2, timeout_s=30)
    assert world.journal.entries("watchdog", device="silent")
    assert world.journal.entries("power", on=False)[0]["reason"] == "watchdog"


def test_a_device_that_is_switched_off_while_its_watchdog_bites_stays_off(world: World) -> None:
    device = world.add_device("silent", dataclasses.replace(PICO_W, watchdog_ms=250))
    device.module = "silent"
    for boots in (2, 4, 6):
        run_program(device, "silent")
        world.wait_until(lambda wanted=boots: device.boots >= wanted, timeout_s=30)  # type: ignore[misc]
        device.switch_off()
        last = device.boots
        assert not device.power.wait_on(timeout_s=0.6)
        assert device.boots == last
        assert not device.running
