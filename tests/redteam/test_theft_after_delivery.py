"""A device that was stolen after its broker had heard a part of what it said: the two together open no clip either.

And what the broker's owner can do by saying it all again, to the real firmware and the real gateway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_gateway.ledger import reading
from lapel_protocol.keys import chain_start
from lapel_sim.hardware import PICO_W, card
from lapel_sim.provision import list_files, read_files
from lapel_sim.scenario import run_scenario
from lapel_sim.world import World
from tests.redteam.thief import Haystack, Secrets, Thief
from tests.scenarios.conftest import assert_sound
from tests.scenarios.site import GatewaySite

pytestmark = pytest.mark.needs("micropython")

CLIPS = (1, 2, 3)


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    made = GatewaySite(tmp_path / "gateway", free_port)
    yield made
    made.stop()


def k_dev(site: GatewaySite, device: bytes) -> bytes:
    with reading(site.site.engine) as connection:
        return site.site.registry.trust(connection, [device])[device].k_dev


def private_key(site: GatewaySite) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(site.site.config.organisation_key_file.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def test_a_stolen_device_and_all_that_its_broker_heard_open_no_clip_whether_it_was_delivered_or_not(
    tmp_path: Path, site: GatewaySite
) -> None:
    settings = {"audio": 0, "frame_interval_ms": 500}
    with World(tmp_path / "world", seed=5) as world:
        device = world.add_device("camera", dataclasses.replace(PICO_W, frame_interval_ms=500, disk=card(mebibytes=3)))
        identity = bytes.fromhex(site.provision(world, "camera", settings))
        tap = world.tap()
        device.power_on()
        device.wait_shown("idle")
        for clip in CLIPS:
            device.hold("RECORD", 1700)
            device.wait_shown("recording")
            while len(device.frames()) < 2 * clip:
                world.journal.wait(0.1)
            device.hold("RECORD", 1700)
            device.wait_shown("recording stopped")
            if clip == 1:
                world.wait_until(lambda: [row["receipt_ms"] for row in site.clips()].count(None) == 0, 60, "a receipt")
                assert site.clips()
                device.link.radio(up=False)
        device.wait_quiet()
        loot = device.steal()
        heard = {"what the broker heard": b"".join(message.payload for message in tap.heard())}
        spool = read_files(device, [path for path in list_files(device) if path.startswith(("/spool/", "/journal"))])
        assert_sound(world)
    images = {"sectors": loot.sectors, "disk": loot.disk, **heard, **spool}
    haystack = Haystack(identity, images)
    assert set(haystack.clips) == set(CLIPS)
    heard_clips = {message.payload[12:16] for message in tap.heard("clip")}
    assert heard_clips == {(1).to_bytes(4, "big")}
    assert len({record for record in haystack.events.values() if record in heard["what the broker heard"]}) > 3
    private = private_key(site)
    start = chain_start(k_dev(site, identity), identity)
    secrets = Secrets.of(start, max(CLIPS) + 1, haystack.clips.values(), private)
    assert secrets.found_in(images) == []
    thief = Thief(haystack, max(CLIPS) + 2, secrets.seeds)
    assert thief.finds(haystack.windows()) == []
    # The same thief with K_dev's first chain key, or with E and the seed of one clip, would have been heard.
    assert thief.finds({start: "elsewhere"})
    [first] = [value for value, name in secrets.values.items() if name == "ikm of clip 1"]
    assert thief.finds({first: "elsewhere"}) == ["ikm of clip 1 at elsewhere"]


def test_everything_replayed_by_the_broker_to_firmware_and_gateway_changes_nothing(
    tmp_path: Path, site: GatewaySite
) -> None:
    folder = tmp_path / "package"
    site.package("camera-1", folder)
    outcome = run_scenario("replay", root=tmp_path / "world", packages={"camera-1": folder})
    assert outcome.seconds > 1
    [alarm] = site.alarms()
    assert (alarm["acknowledged_ms"], alarm["resolved_ms"]) == (None, None)
    [clip] = site.clips()
    assert (clip["state"], clip["alarm"]) == ("held", True)
    replays = [line for line in (outcome.root / "journal.jsonl").read_text().splitlines() if '"kind":"replay"' in line]
    assert len(replays) == 2
