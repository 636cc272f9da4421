"""A panic alarm where there is no network: recording starts at once, and nothing claims to be sent."""

from lapel_sim.scenario import expect
from lapel_sim.world import World


def scenario(world: World) -> None:
    """The wearer must not read "sent" while nothing was sent."""
    device = next(iter(world.devices.values()))
    device.link.radio(up=False)
    device.power_on()
    device.wait_shown("no link")
    device.hold("ALARM", 2200)
    device.wait_shown("alarm raised")
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 4, what="four frames")
    expect(not device.shows("alarm sent", within_ms=60_000), "an alarm that was not sent is not shown as sent")
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    expect(device.shows("alarm raised"), "the alarm stays on after the recording was stopped")
    device.wait_quiet()
