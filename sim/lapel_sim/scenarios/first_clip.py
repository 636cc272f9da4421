"""One announced recording: press, notice, press, six frames of video, hold to stop.

Needs no gateway: without one the clip stays in the device's spool.
"""

from lapel_sim.scenario import expect
from lapel_sim.world import World

RECORDING_FRAMES = 6


def scenario(world: World) -> None:
    """The wearer tells the person first; the camera starts only after the second press."""
    device = next(iter(world.devices.values()))
    device.power_on()
    device.wait_shown("idle")
    device.press("RECORD")
    device.wait_shown("notice")
    expect(not device.frames(), "no frame is taken while the notice plays")
    device.press("RECORD")
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= RECORDING_FRAMES, what="six frames")
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    device.wait_quiet()
