"""The window: an alarm waits little, and the link stays busy."""

import pytest

from .uplinkkit import SlowWorld


@pytest.mark.parametrize(("rate", "delay_ms"), [(20_000, 20), (125_000, 10), (125_000, 200), (1_000_000, 5)])
def test_what_waits_before_an_alarm_is_near_150_ms_of_the_links_rate(rate: int, delay_ms: int) -> None:
    world = SlowWorld(rate, delay_ms)
    world.record(5, 1500)
    world.run(20_000)
    link = world.shore.link
    assert link is not None
    queued = []
    for _ in range(300):
        world.run(35)
        queued.append(len(link.to_broker) * 1000 // rate)
    one_segment_ms = 4_200 * 1000 // rate
    assert max(queued) <= max(one_segment_ms, 150) * 3 // 2 + 20
    assert world.uplink.window.limit_bytes <= 65_536


@pytest.mark.parametrize(("rate", "delay_ms"), [(20_000, 20), (125_000, 10), (125_000, 200)])
def test_the_window_keeps_the_link_busy(rate: int, delay_ms: int) -> None:
    world = SlowWorld(rate, delay_ms)
    world.record(5, 1500)
    world.run(10_000)
    before = world.clip_bytes()
    world.run(10_000)
    assert world.clip_bytes() - before > rate * 10 * 2 // 3
