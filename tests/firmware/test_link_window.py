"""The window: an alarm waits little, and the link stays busy."""

import pytest

from lapel_device.link_window import DELAY_MS, LinkWindow

from .uplinkkit import SlowWorld

STEP_MS = 5  # of the simulated time


@pytest.mark.parametrize(("rate", "delay_ms"), [(20_000, 20), (125_000, 10), (125_000, 200), (1_000_000, 5)])
def test_what_waits_before_an_alarm_is_one_message_and_little_more(rate: int, delay_ms: int) -> None:
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
    # The rate is known no better than time is cut here.
    assert max(queued) <= one_segment_ms + DELAY_MS + 4 * STEP_MS
    assert world.uplink.window.limit_bytes <= 65_536


@pytest.mark.parametrize(("rate", "delay_ms"), [(20_000, 20), (125_000, 10), (125_000, 200)])
def test_the_window_keeps_the_link_busy(rate: int, delay_ms: int) -> None:
    world = SlowWorld(rate, delay_ms)
    world.record(5, 1500)
    world.run(10_000)
    before = world.clip_bytes()
    world.run(10_000)
    assert world.clip_bytes() - before > rate * 10 * 2 // 3


@pytest.mark.parametrize("base_ms", [5, 60, 200])
def test_the_rate_is_found_with_and_without_a_queue(base_ms: int) -> None:
    rate, segment = 125_000, 4_124
    window = LinkWindow(segment, 65_536)
    window.reset(0)
    window.probed(base_ms, 0)
    for _ in range(40):
        in_flight = max(segment, window.limit_bytes // segment * segment)
        alone_ms = base_ms + segment * 1000 // rate
        window.acked(segment, in_flight, max(alone_ms, in_flight * 1000 // rate))
    assert rate * 9 // 10 <= window.rate <= rate * 11 // 10
    assert window.limit_bytes <= rate * (base_ms + 2 * DELAY_MS) // 1000 + segment
    assert window.chunk_segments(segment, 4) == 1


def test_a_wide_link_gets_whole_chunks_and_all_that_the_board_allows() -> None:
    window = LinkWindow(4_124, 65_536)
    window.reset(0)
    window.probed(20, 0)
    for _ in range(40):
        window.acked(4_124, window.limit_bytes, 21)
    assert window.limit_bytes == 65_536
    assert window.chunk_segments(4_124, 4) == 4
