"""A stolen device: the real MicroPython recorded three clips on it, and its flash and card open none of them.

The device delivers nothing here, so the card holds all it ever recorded; test_theft_after_delivery.py has a broker that
saw some of it. Thefts fall at rest, into a recording, and into the middle of every step of the key sectors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lapel_protocol.keys import chain_next, chain_start
from lapel_protocol.limits import CLIP_HEADER_BYTES
from lapel_protocol.opening import decode_clip_header
from lapel_sim.device import SimDevice
from lapel_sim.hardware import PICO_W, card
from lapel_sim.hostile import Loot
from lapel_sim.package import OfflineDevice, offline_package
from lapel_sim.provision import list_files, provision, read_files
from lapel_sim.world import World
from tests.redteam.thief import Haystack, Secrets, Thief
from tests.scenarios.clips import open_clip
from tests.scenarios.conftest import assert_sound

# One worker runs all of this file: the device lives once.
pytestmark = [pytest.mark.needs("micropython"), pytest.mark.xdist_group("theft")]

SETTINGS = {"audio": 0, "frame_interval_ms": 500}
BOOT, CLIPS, RUNNING_BOOT, RUNNING_CLIP = 0, (1, 2, 3), 4, 5
STEPS = [
    ("sector_program", 1),
    ("sector_program", 2),
    ("sector_program", 3),
    ("sector_erase", 1),
    ("sector_program", 4),
]
"""A ratchet step: begun, the new image, zeros over the old one, its erase, tidy."""


@dataclass
class Stolen:
    """Everything that was taken from one device over its life, and what a court of law would know."""

    offline: OfflineDevice
    thefts: dict[str, Loot]
    files: dict[str, bytes]
    epochs: int

    @property
    def spool(self) -> dict[int, bytes]:
        """Clip files by number, as they were at the end."""
        clips = [
            content
            for path, content in self.files.items()
            if path.startswith("/spool/") and len(content) >= CLIP_HEADER_BYTES
        ]
        return {decode_clip_header(content[:CLIP_HEADER_BYTES]).clip: content for content in clips}

    def chain_key(self, epoch: int) -> bytes:
        key = chain_start(self.offline.k_dev, self.offline.device)
        for _ in range(epoch):
            key = chain_next(key)
        return key

    def haystack(self, images: dict[str, bytes], clips: tuple[int, ...]) -> Haystack:
        """These images, with only these clips to try keys on, and the events of boots before the last."""
        stack = Haystack(self.offline.device, images, self.files)
        stack.clips = {number: clip for number, clip in stack.clips.items() if number in clips}
        assert set(stack.clips) == set(clips)
        assert all(clip.first and clip.shortest for clip in stack.clips.values())
        return stack

    def seeds(self, clips: tuple[int, ...]) -> dict[int, bytes]:
        """What the private key would give away, for a stronger thief."""
        return self.secrets(clips, 0).seeds

    def secrets(self, clips: tuple[int, ...], epochs: int, spare: int = -1) -> Secrets:
        found = Haystack(self.offline.device, {}, self.files).clips
        chosen = [clip for number, clip in found.items() if number in clips]
        return Secrets.of(self.chain_key(0), max(epochs, max(clips) + 1), chosen, self.offline.private_key, spare)


def record(device: SimDevice, world: World) -> None:
    wanted = len(device.frames()) + 2
    device.hold("RECORD", 1700)
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= wanted, what="two frames")


@pytest.fixture(scope="module")
def stolen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stolen]:
    folder = tmp_path_factory.mktemp("theft")
    with World(folder / "world", seed=11) as world:
        hardware = dataclasses.replace(PICO_W, frame_interval_ms=500, disk=card(mebibytes=3))
        device = world.add_device("camera", hardware)
        offline = offline_package(folder / "package", settings=SETTINGS)
        provision(device, offline.folder)
        thefts = {"new": device.steal()}
        device.link.radio(up=False)
        device.power_on()
        device.wait_shown("idle")
        for _ in CLIPS:
            record(device, world)
            device.hold("RECORD", 1700)
            device.wait_shown("recording stopped")
        device.wait_quiet()
        thefts["at rest"] = device.steal(running=True)
        device.power_on()
        device.wait_shown("idle")
        record(device, world)
        thefts["while recording"] = device.steal(running=True)
        for step, count in STEPS:
            device.power_on()
            device.cut_power_at(step, count)
            device.wait_off()
            thefts[f"in {step} {count}"] = device.steal()
        device.power_on()
        device.wait_shown("idle")
        record(device, world)
        device.hold("RECORD", 1700)
        device.wait_shown("recording stopped")
        device.wait_quiet()
        device.switch_off()
        assert_sound(world)
        paths = [path for path in list_files(device) if path.startswith(("/spool/", "/journal"))]
        files = read_files(device, paths)
        epoch = int.from_bytes(device.sectors.image()[4:8], "big")
        other = int.from_bytes(device.sectors.image()[4100:4104], "big")
        yield Stolen(offline, thefts, files, max(n for n in (epoch, other) if n != 0xFFFFFFFF))


def flash(loot: Loot) -> dict[str, bytes]:
    return {"sectors": loot.sectors, "disk": loot.disk}


def test_no_key_of_three_clips_or_of_an_earlier_boot_lies_in_flash_or_card_at_any_moment(stolen: Stolen) -> None:
    secrets = stolen.secrets(CLIPS, RUNNING_BOOT)
    assert len(secrets.values) == RUNNING_BOOT * 8 + len(CLIPS) * 4
    for moment, loot in stolen.thefts.items():
        if moment != "new":
            assert secrets.found_in(flash(loot)) == [], moment


def test_nothing_that_is_in_flash_or_card_opens_three_clips_or_an_event_of_their_boot(stolen: Stolen) -> None:
    images = {
        f"{name}, stolen {moment}": image
        for moment, loot in stolen.thefts.items()
        if moment != "new"
        for name, image in flash(loot).items()
    }
    haystack = stolen.haystack(images, CLIPS)
    haystack.events = {name: record for name, record in haystack.events.items() if name[0] == BOOT}
    assert haystack.events
    windows = haystack.windows()
    assert len(windows) > 5000
    # The private key is given to this thief: not even with it is there anything to find.
    thief = Thief(haystack, max(CLIPS) + 1, stolen.seeds(CLIPS))
    assert thief.finds(windows) == []
    assert thief.tried == len(windows)


def test_the_clip_in_recording_leaves_no_key_in_flash_either(stolen: Stolen) -> None:
    secrets = stolen.secrets((*CLIPS, RUNNING_CLIP), RUNNING_CLIP + 1)
    assert secrets.found_in(flash(stolen.thefts["while recording"])) == []


def test_the_memory_of_a_running_device_opens_the_clip_in_recording_and_none_of_those_before(stolen: Stolen) -> None:
    """Freezing the processor and reading its RAM is what SPEC section 13 does not protect against, up to here."""
    running = stolen.secrets((*CLIPS, RUNNING_CLIP), RUNNING_CLIP + 1)
    found = running.found_in({"memory": stolen.thefts["while recording"].memory})
    assert f"AES key of clip {RUNNING_CLIP} in memory" in found  # this search sees into the device
    assert f"event_enc of epoch {RUNNING_BOOT} in memory" in found
    assert not [find for find in found if find.startswith("CK of")]
    before = stolen.secrets(CLIPS, RUNNING_BOOT)
    found = before.found_in({"memory": stolen.thefts["at rest"].memory})
    assert f"event_enc of epoch {BOOT} in memory" in found
    assert not [find for find in found if find.startswith(("CK of", "seed of", "ikm of", "AES key of"))], found
    assert not [find for find in found if find.startswith("clip_enc") and "epoch 0" not in find], found


def test_the_search_finds_the_key_that_is_there_and_it_opens_the_next_clip(stolen: Stolen) -> None:
    """The future of a stolen device is its thief's (SPEC section 13): with it the search is shown to work."""
    later = max(stolen.spool)
    for moment in ("at rest", "while recording", "in sector_erase 1"):
        haystack = stolen.haystack({"sectors": stolen.thefts[moment].sectors}, (later,))
        finds = Thief(haystack, stolen.epochs).finds(haystack.windows())
        assert any(f"before clip {later} at byte" in find for find in finds), moment
    # From there on only the organisation's private key is missing.
    key = stolen.thefts["at rest"].sectors
    windows = [key[at : at + 32] for at in (12, 4108)]
    assert stolen.chain_key(RUNNING_BOOT) in windows
    assert open_clip(stolen.offline, stolen.spool[later]).segments > 3


def test_a_device_that_was_read_before_its_first_clip_gives_them_all_to_whoever_has_the_private_key(
    stolen: Stolen,
) -> None:
    haystack = stolen.haystack(flash(stolen.thefts["new"]), CLIPS)
    finds = Thief(haystack, stolen.epochs, stolen.seeds(CLIPS)).finds(haystack.windows())
    assert any(find.startswith("chain key 3 epochs before clip 3") for find in finds)
    assert any(find.startswith("chain key 0 epochs before boot 0") for find in finds)


@pytest.mark.parametrize("role", ["CK", "clip_auth", "clip_enc", "seed", "ikm", "AES key", "K_h", "event_auth"])
def test_a_key_of_any_kind_that_is_put_on_the_card_is_found_by_both_searches(stolen: Stolen, role: str) -> None:
    secrets = stolen.secrets(CLIPS, RUNNING_BOOT)
    about = "clip 2" if role in ("seed", "ikm", "AES key", "K_h") else f"epoch {0 if role == 'event_auth' else 2}"
    [planted] = [value for value, name in secrets.values.items() if name == f"{role} of {about}"]
    card = bytearray(stolen.thefts["at rest"].disk[: 64 << 10])
    card[20_001:20_033] = planted
    images = {"card": bytes(card)}
    assert secrets.found_in(images) == [f"{role} of {about} in card"]
    haystack = stolen.haystack(images, CLIPS)
    finds = Thief(haystack, stolen.epochs, secrets.seeds).finds({planted: "byte 20001 of card"})
    assert planted in haystack.windows()
    assert finds, role


def test_k_dev_and_the_private_key_together_open_every_clip(stolen: Stolen) -> None:
    for number, content in stolen.spool.items():
        opened = open_clip(stolen.offline, content)
        assert opened.header.clip == number
        assert opened.segments or number == RUNNING_CLIP
    assert all(open_clip(stolen.offline, stolen.spool[number]).end for number in CLIPS)
