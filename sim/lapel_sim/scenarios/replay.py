"""Whoever owns the broker says everything again that it ever heard, also to the device's next boot: nothing changes.

Needs a gateway on a broker without certificates.
"""

from lapel_sim.scenario import expect
from lapel_sim.world import World

NEEDS_GATEWAY = True
ANSWER_TIMEOUT_S = 60.0


def scenario(world: World) -> None:
    """An alarm with its clip, and then all of it once more: within the boot, and after a restart."""
    device = next(iter(world.devices.values()))
    tap = world.tap()
    device.power_on()
    device.wait_shown("idle")
    device.hold("ALARM", 2200)
    device.wait_shown("alarm received", timeout_s=ANSWER_TIMEOUT_S)
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 2, what="two frames")
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    world.wait_until(lambda: tap.heard("clip"), ANSWER_TIMEOUT_S, "the clip at the broker")
    device.wait_quiet()
    heard = tap.heard()
    expect({"alarm", "clip", "event", "down"} == {message.lane for message in heard}, "every lane was heard")
    expect(world.replay(heard) == len(heard), "the broker took all of it again")
    device.wait_quiet()
    frames = len(device.frames())
    device.cut_power()
    device.power_on()
    device.wait_shown("alarm received", timeout_s=ANSWER_TIMEOUT_S)  # latched: no replay has resolved it
    world.replay(heard)
    device.wait_quiet()
    expect(len(device.frames()) == frames, "no replay starts the camera")
    expect(not device.shows("alarm resolved", within_ms=60_000), "no replay resolves the alarm")
