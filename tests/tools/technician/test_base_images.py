"""Base images: whatever is not for the board is refused before anything is written; what is, is on it afterwards."""

import struct
from collections.abc import Iterator

import pytest

from lapel_sim.tray.bootsel import BootselDrive
from lapel_sim.tray.esp_rom import EspRom
from lapel_sim.tray.kinds import ESP32S3, PICO2_W, PICO_W
from lapel_tools.technician.images import ImageError, read_image
from tests.tools.technician.base_images import ESP32S3_ID, RP2350_FAMILY, esp, esp_part, uf2
from tests.tools.technician.conftest import Bench

pytestmark = pytest.mark.needs("micropython")

_ESP32C3 = 5
_SAMD51 = 0x55114460


def _changed(content: bytes, at: int) -> bytes:
    spoilt = bytearray(content)
    spoilt[at] ^= 1
    return bytes(spoilt)


def _uf2_with(field: int, value: int, block: int = 3) -> bytes:
    content = bytearray(uf2())
    struct.pack_into("<I", content, 512 * block + 4 * field, value)
    return bytes(content)


BAD_FOR_A_PICO_W = {
    "of another family": (uf2(RP2350_FAMILY), "is for RP2350; this board is an RP2040"),
    "of a family that is not ours": (uf2(_SAMD51), "for SAMD51; Lapel's boards are RP2040, RP2350, ESP32-S3"),
    "without a family": (_uf2_with(2, 0), "does not say for which chip"),
    "of two families": (_uf2_with(7, RP2350_FAMILY), "for two chips at once"),
    "larger than the flash": (uf2(size=3 << 20), "needs 3072 KiB of flash; RP2040 boards have 2048"),
    "for the RAM": (uf2(start=0x20000000), "for the RAM, not at the start of the flash"),
    "of a file system only": (uf2(start=0x10100000), "begins at 0x10100000, not at the start"),
    "without its last block": (uf2()[:-512], "255 of 256 blocks"),
    "with two blocks the wrong way round": (
        uf2()[:1024] + uf2()[1536:2048] + uf2()[1024:1536] + uf2()[2048:],
        "block 2 of 256 is missing or in another place",
    ),
    "with a block for the same address twice": (_uf2_with(3, 0x10000000), "two blocks for address 0x10000000"),
    "cut in a block": (uf2()[:-100], "not whole"),
    "with a spoilt block": (_changed(uf2(), 512 * 9), "block 9 is not a UF2 block"),
    "no MicroPython": (uf2(content=bytes(4096)), "not MicroPython"),
    "an ESP32 image": (esp(), "is for ESP32-S3; this board is an RP2040"),
    "a text": (b"<html>not found</html>", "neither a UF2 file nor an image"),
}


@pytest.mark.parametrize("what", list(BAD_FOR_A_PICO_W))
def test_an_image_that_is_not_whole_or_not_for_this_board_writes_nothing(bench: Bench, what: str) -> None:
    content, words = BAD_FOR_A_PICO_W[what]
    drive = BootselDrive(bench.folder / "RPI-RP2", "RP2040")
    before = sorted(path.name for path in drive.folder.iterdir())
    image = bench.file("image.uf2", content)
    done = bench.lapel("device", "flash", "--image", image, drive.folder)
    assert done.status != 0
    assert words in done.err + done.out
    drive.close()
    assert not drive.written
    assert sorted(path.name for path in drive.folder.iterdir()) == before
    assert not (bench.folder / "config").exists()


@pytest.mark.parametrize(
    ("kind", "content"),
    [(PICO_W, uf2()), (PICO2_W, uf2(RP2350_FAMILY, erratum_block=True))],
    ids=["Pico W", "Pico 2 W"],
)
def test_a_board_in_bootsel_gets_micropython_and_then_its_firmware(bench: Bench, kind: object, content: bytes) -> None:
    board = bench.tray.add(kind)  # type: ignore[arg-type]
    drive = bench.tray.hold_bootsel(board)
    shown = bench.lapel("device", "ports", "--json").json
    assert [(row["state"], row["port"]) for row in shown] == [("BOOTSEL", str(drive.folder))]
    done = bench.flash(1, "--image", bench.file("base.uf2", content), drive.folder, "--json")
    assert done.status == 0, done.err
    assert drive.left.is_set()
    payload = b"".join(drive.written[at] for at in sorted(drive.written))
    assert b"MicroPython v1.28.0" in payload
    assert [row["state"] for row in done.json] == ["flashed"]


def test_a_board_that_runs_is_sent_into_bootsel_by_its_own_micropython(bench: Bench) -> None:
    board = bench.tray.add()
    done = bench.lapel("device", "flash", "--image", bench.file("base.uf2", uf2()), board.serial_number)
    assert done.status == 0, done.err
    assert f"it is {board.port} now" in done.err
    wrong = bench.lapel("device", "flash", "--image", bench.file("b.uf2", uf2(RP2350_FAMILY)), board.serial_number)
    assert "is for RP2350; this board is a Raspberry Pi Pico W with RP2040" in wrong.out
    assert not board.bootsel


def test_another_content_under_a_remembered_name_is_noticed(bench: Bench) -> None:
    board = bench.tray.add()
    image = bench.file("base.uf2", uf2())
    assert bench.lapel("device", "flash", "--image", image, bench.tray.hold_bootsel(board).folder).status == 0
    bench.file("base.uf2", uf2(size=80 << 10))
    drive = BootselDrive(bench.folder / "RPI-RP2", "RP2040")
    again = bench.lapel("device", "flash", "--base", drive.folder)
    assert "is not the file that was used before: name it with --image" in again.err
    named = bench.lapel("device", "flash", "--image", image, drive.folder)
    assert "say --yes if it is meant" in named.err
    drive.close()
    assert not drive.written


def test_a_folder_that_is_no_board_is_not_written_to(bench: Bench) -> None:
    folder = bench.folder / "stick"
    folder.mkdir()
    done = bench.lapel("device", "flash", "--image", bench.file("base.uf2", uf2()), folder)
    assert "no board in BOOTSEL there (no INFO_UF2.TXT)" in done.err
    (folder / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\nModel: Feather M4\nBoard-ID: SAMD51G19A\n")
    done = bench.lapel("device", "flash", "--image", bench.file("base.uf2", uf2()), folder)
    assert "no RP2040 or RP2350: Feather M4" in done.err
    assert [path.name for path in folder.iterdir()] == ["INFO_UF2.TXT"]


BAD_ESP = {
    "of another chip": (esp(_ESP32C3), "for ESP32-C3; Lapel's boards are"),
    "with a part of another chip": (esp(ESP32S3_ID, _ESP32C3), "its factory is for ESP32-C3, not for ESP32-S3"),
    "with a spoilt program": (_changed(esp(), 0x12000), "the checksum of factory is wrong"),
    "with a spoilt hash": (_changed(esp(), len(esp()) - 1), "the hash of factory is wrong"),
    "with a spoilt boot loader": (_changed(esp(), 0x100), "the checksum of boot loader is wrong"),
    "with a spoilt partition table": (_changed(esp(), 0x8009), "the partition table's checksum is wrong"),
    "cut in the program": (esp()[:0x11000], "factory is not whole"),
    "without a program": (esp()[:0x10000], "only a part of MicroPython"),
    "a program alone": (esp_part(ESP32S3_ID, b"MicroPython!" * 9), "has no partition table"),
    "larger than any of ours": (esp(flash_bytes=32 << 20), "needs 32768 KiB of flash"),
}


@pytest.mark.parametrize("what", list(BAD_ESP))
def test_an_esp_image_that_is_not_whole_or_for_another_chip_is_refused_unasked(bench: Bench, what: str) -> None:
    content, words = BAD_ESP[what]
    with pytest.raises(ImageError) as refused:
        read_image(bench.file("image.bin", content))
    assert words in str(refused.value)


@pytest.fixture
def rom(bench: Bench, request: pytest.FixtureRequest) -> Iterator[EspRom]:
    """An ESP32-S3 in its loader; a parameter is (chip id, flash size in bytes)."""
    chip_id, flash_bytes = getattr(request, "param", (ESP32S3_ID, 8 << 20))
    made = EspRom(chip_id, flash_bytes)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("rom", "words"),
    [
        ((_ESP32C3, 8 << 20), "the chip there is ESP32-C3, not ESP32-S3; nothing was written"),
        ((ESP32S3_ID, 4 << 20), "needs 8192 KiB of flash; this board has 4096 KiB"),
    ],
    indirect=["rom"],
    ids=["another chip", "a smaller flash"],
)
def test_a_board_for_which_an_esp_image_is_not_made_is_asked_and_not_written(
    bench: Bench, rom: EspRom, words: str
) -> None:
    done = bench.lapel("device", "flash", "--image", bench.file("base.bin", esp()), rom.port)
    assert done.status == 1
    assert words in done.out
    assert rom.writes == 0


def test_esptool_itself_writes_an_esp32s3_and_reads_its_hash_back(bench: Bench) -> None:
    board = bench.tray.add(ESP32S3)
    rom = bench.tray.hold_boot(board)
    shown = bench.lapel("device", "ports", "--json").json
    assert [(row["port"], row["state"]) for row in shown] == [(rom.port, "boot loader")]
    done = bench.flash(1, "--image", bench.file("base.bin", esp()), "--erase", rom.port, "--json")
    assert done.status == 0, done.err
    assert rom.erased
    assert rom.flash[: len(esp())] == esp()
    assert [row["state"] for row in done.json] == ["flashed"]
    assert "ESP32S3" in done.json[0]["machine"]
