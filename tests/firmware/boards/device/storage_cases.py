"""Clips on a card, everything else in flash: the board's storage on models of both, under real file systems."""

import os

import vfs
from machine import SPI, Pin

from lapel_device.boards.sdcard import SdCard
from lapel_device.boards.split_storage import SplitStorage
from lapel_sim.chips.sdcard import SdCardChip
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.flash import NorFlash
from lapel_sim.machine_models.judging import fails_with, within_ms
from lapel_sim.machine_models.wiring import wiring


class Rig:
    """A board's card and flash, both formatted, and what was logged."""

    def __init__(self, present: bool = True) -> None:
        self.chip = SdCardChip(16384)
        wiring.attach_spi(18, 19, 16, 17, self.chip)
        spi = SPI(0, baudrate=400_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
        self.card = SdCard(spi, Pin(17, Pin.OUT, value=1))
        while not self.card.begin():
            clock.advance(10_000)
        vfs.VfsFat.mkfs(self.card)
        self.chip.present = present
        self.chip.power_on()
        flash = NorFlash(64)
        vfs.VfsLfs2.mkfs(flash, progsize=256)  # type: ignore[call-arg]
        vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/flash")
        self.lines: list[str] = []
        self.card = SdCard(spi, Pin(17, Pin.OUT, value=1))
        self.storage = SplitStorage(self.card, self.lines.append, "/flash")
        self.storage.begin(lambda ms: clock.advance(1000 * ms))

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, *_: object) -> None:
        vfs.umount("/flash")
        if self.storage.mounted:
            vfs.umount("/sd")


def write(storage: SplitStorage, path: str, content: bytes) -> None:
    file = storage.open(path, "wb")
    try:
        file.write(content)
        file.flush()
    finally:
        file.close()


def read(storage: SplitStorage, path: str) -> bytes:
    with storage.open(path, "rb") as file:
        content: bytes = file.read()
        return content


def a_clip_goes_to_the_card_and_the_rest_to_flash() -> None:
    with Rig() as rig:
        storage = rig.storage
        assert storage.mounted
        storage.mkdir("/spool")
        write(storage, "/spool/00000001.clp", bytes(3000))
        write(storage, "/config.json", b"{}")
        assert os.listdir("/sd/spool") == ["00000001.clp"]
        assert "config.json" in os.listdir("/flash")
        assert list(storage.listdir("/spool")) == ["00000001.clp"]
        sizes = [storage.size(path) for path in ("/spool/00000001.clp", "/config.json", "/none")]
        assert sizes == [3000, 2, -1]
        assert 7_000_000 < storage.free_bytes() < storage.total_bytes() < 16384 * 512
        storage.remove("/spool/00000001.clp")
        assert storage.size("/spool/00000001.clp") == -1
        assert rig.lines == ["card LPL16, 8 MB"]


def a_board_without_a_card_keeps_its_settings_and_refuses_clips() -> None:
    with Rig(present=False) as rig:
        storage = rig.storage
        write(storage, "/config.json", b"{}")
        assert read(storage, "/config.json") == b"{}"
        fails_with(None, storage.mkdir, "/spool")
        fails_with(None, within_ms, 50, storage.free_bytes)
        assert storage.size("/spool/00000001.clp") == -1
        assert rig.lines == ["there is no card"]


def a_card_put_in_later_is_used_then() -> None:
    with Rig(present=False) as rig:
        rig.chip.present = True
        rig.chip.power_on()
        clock.advance(6_000_000)
        for _ in range(100):
            try:
                within_ms(50, rig.storage.free_bytes)
                break
            except OSError:
                clock.advance(20_000)
        write(rig.storage, "/spool/00000001.clp", bytes(100))
        assert read(rig.storage, "/spool/00000001.clp") == bytes(100)


def a_card_pulled_within_a_clip_fails_the_clip_and_comes_back() -> None:
    with Rig() as rig:
        file = rig.storage.open("/spool/00000001.clp", "wb")
        file.write(bytes(2000))
        file.flush()
        rig.chip.gone_after = 700
        fails_with(None, lambda: [file.write(bytes(4096)) for _ in range(4)])
        fails_with(None, within_ms, 50, rig.storage.free_bytes)
        write(rig.storage, "/journal", b"still here")
        fails_with(None, rig.storage.open, "/spool/00000002.clp", "wb")
        rig.chip.gone_after = -1
        rig.chip.present = True
        rig.chip.power_on()
        clock.advance(6_000_000)
        for _ in range(200):
            try:
                rig.storage.free_bytes()
                break
            except OSError:
                clock.advance(20_000)
        assert rig.storage.size("/spool/00000001.clp") >= 2000
        write(rig.storage, "/spool/00000002.clp", bytes(100))
        assert "the card failed" in rig.lines


def a_card_without_a_file_system_is_said() -> None:
    with Rig() as rig:
        vfs.umount("/sd")
        rig.chip.content.clear()
        storage = SplitStorage(rig.card, rig.lines.append, "/flash")
        storage.begin(lambda ms: clock.advance(1000 * ms))
        assert not storage.mounted
        assert rig.lines[-1] == "the card has no file system"
        rig.storage.mounted = False
        storage.format()
        write(storage, "/spool/00000001.clp", bytes(100))
        assert storage.mounted
        storage.format()
        assert storage.size("/spool/00000001.clp") == -1
        rig.storage.mounted = storage.mounted


def a_board_without_a_card_has_nothing_to_format() -> None:
    with Rig(present=False) as rig:
        fails_with(19, rig.storage.format)
