"""The battery is pulled in the middle of a recording; after the next boot the device records again."""

from lapel_sim.world import World


def scenario(world: World) -> None:
    """The first clip is cut short, the second is whole."""
    device = next(iter(world.devices.values()))
    device.power_on()
    device.wait_shown("idle")
    device.hold("RECORD", 1700)
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames(boot=1)) >= 5, what="five frames before the cut")
    device.cut_power()
    device.power_on()
    device.wait_shown("idle")
    device.hold("RECORD", 1700)
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames(boot=2)) >= 4, what="four frames after the cut")
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    device.wait_quiet()
