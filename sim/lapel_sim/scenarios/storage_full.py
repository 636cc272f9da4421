"""The card is nearly full: a recording is refused and said so, an alarm goes ahead in the room that is kept for it."""

from lapel_sim.provision import fill_storage
from lapel_sim.scenario import expect
from lapel_sim.world import World


def scenario(world: World) -> None:
    """Nothing that the gateway has not confirmed is deleted to make room."""
    device = next(iter(world.devices.values()))
    fill_storage(device, leave_bytes=device.hardware.storage_reserve_bytes // 2)
    device.power_on()
    device.wait_shown("storage nearly full")
    device.hold("RECORD", 1700)
    device.wait_shown("refused, storage full")
    expect(not device.frames(), "nothing is recorded when there is no room")
    device.hold("ALARM", 2200)
    device.wait_shown("alarm raised")
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 4, what="four frames of the alarm's clip")
    device.hold("RECORD", 1700)
    device.wait_quiet()
