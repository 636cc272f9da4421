"""A whole incident: an announced recording, the link lost and back, a panic alarm, and a power cut in a second clip.

Needs a gateway: it waits until the alarm is received, and until a human has acknowledged it.
"""

from lapel_sim.world import World

NEEDS_GATEWAY = True
ANSWER_TIMEOUT_S = 60.0


def scenario(world: World) -> None:
    """What the demo plays on its first device."""
    device = next(iter(world.devices.values()))
    device.power_on()
    device.wait_shown("idle")
    device.press("RECORD")
    device.wait_shown("notice")
    device.press("RECORD")
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 5, what="five frames")
    device.link.drop()
    world.wait_until(lambda: len(device.frames()) >= 10, what="five frames without a link")
    device.link.restore(reset=True)
    device.hold("ALARM", 2200)
    device.wait_shown("alarm received", timeout_s=ANSWER_TIMEOUT_S)
    device.wait_shown("alarm acknowledged", timeout_s=ANSWER_TIMEOUT_S)
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    before = len(device.frames())
    device.hold("RECORD", 1700)
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= before + 4, what="four frames of a second clip")
    device.cut_power()
    device.power_on()
    device.wait_shown("alarm acknowledged")  # latched over the power cut, until the gateway resolves it
