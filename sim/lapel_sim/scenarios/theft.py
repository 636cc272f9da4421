"""A camera is stolen while it records its fourth clip: neither its storage nor its key sectors give the others away.

What keys a thief could try is the matter of tests/redteam; here the pictures themselves are looked for.
"""

from lapel_sim.scenario import expect
from lapel_sim.world import World

CLIPS = 3
_JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"


def scenario(world: World) -> None:
    """Three clips, nothing delivered, and the thief comes in the middle of a fourth."""
    device = next(iter(world.devices.values()))
    device.link.radio(up=False)
    device.power_on()
    device.wait_shown("idle")
    provisioned = device.sectors.image()
    for clip in range(CLIPS):
        device.hold("RECORD", 1700)
        device.wait_shown("recording")
        while len(device.frames()) <= clip:
            world.journal.wait(0.1)
        device.hold("RECORD", 1700)
        device.wait_shown("recording stopped")
    device.hold("RECORD", 1700)
    device.wait_shown("recording")
    loot = device.steal()
    expect(not device.power.on, "a stolen device has no power")
    expect(loot.sectors != provisioned, "the key sectors have moved on with every clip")
    expect(loot.disk.count(b"LPSN") >= CLIPS, "three finished clips are on the card")
    for name, image in loot.images.items():
        expect(_JPEG not in image, f"no picture lies open in the {name}")
