"""The accelerometer's driver in the real MicroPython, against the model of the chip on the world's bus."""

import errno

from lapel_sim.motion import still
from lapel_sim.world import World

from .conftest import run_program
from .test_senses import printed


def test_the_driver_reads_what_the_world_lets_the_chip_feel(world: World) -> None:
    device = world.add_device("feeler", "esp32s3_cam")
    device.motion.begin(0, still((250.0, -500.0, 830.0), 0))
    run_program(device, "feeler", "4")
    device.wait_off()
    assert printed(world, "absent") == [[str(errno.EIO)]]
    felt = [[int(part) for part in line] for line in printed(world, "felt")]
    assert len(felt) == 32
    for sample in felt:
        assert all(abs(read - true) < 40 for read, true in zip(sample, (250, -500, 830), strict=True))
    assert len({tuple(sample) for sample in felt}) > 10
    assert device.accelerometer.period_us == 0


def test_reading_a_burst_allocates_nothing_beside_its_two_calls_of_the_bus(world: World) -> None:
    device = world.add_device("feeler", "esp32s3_cam")
    run_program(device, "feeler", "1")
    device.wait_off()
    [[cost, call]] = printed(world, "cost")
    assert int(cost) == 2 * int(call)
