"""Messages between reader and taker: bounded in bytes, in order, gathered."""

from __future__ import annotations

import threading

from lapel_gateway.transport.link import MESSAGE_OVERHEAD_BYTES, Delivery
from lapel_gateway.transport.waiting import Waiting


def deliveries(count: int, size: int = 10, first: int = 1) -> list[Delivery]:
    return [Delivery("t", bytes(size), mid, 1, 1) for mid in range(first, first + count)]


def test_it_is_full_by_bytes_and_has_room_again_when_they_are_taken() -> None:
    waiting = Waiting(100_000)
    waiting.put(deliveries(5, 16_384))
    assert not waiting.full
    waiting.put(deliveries(1, 16_384, 6))
    assert waiting.full
    assert not waiting.room(0)
    assert [one.mid for one in waiting.take(1, 0, 0)] == [1]
    assert waiting.room(0)
    assert waiting.size_bytes == 5 * (16_384 + MESSAGE_OVERHEAD_BYTES)


def test_a_flood_of_empty_messages_fills_it_too() -> None:
    waiting = Waiting(1 << 20)
    waiting.put(deliveries((1 << 20) // MESSAGE_OVERHEAD_BYTES, 0))
    assert waiting.full


def test_a_taker_that_gathers_is_not_left_waiting_by_a_full_queue() -> None:
    waiting = Waiting(1000)
    waiting.put(deliveries(3, 200))
    assert waiting.full
    assert len(waiting.take(1000, 60.0, 60.0)) == 3


def test_a_taker_is_woken_by_what_comes() -> None:
    waiting = Waiting()
    found: list[Delivery] = []
    taker = threading.Thread(target=lambda: found.extend(waiting.take(2, 60.0, 60.0)))
    taker.start()
    waiting.put(deliveries(1))
    waiting.put(deliveries(1, first=2))
    taker.join(30)
    assert [one.mid for one in found] == [1, 2]


def test_a_reader_that_waits_for_room_is_woken_by_a_taker() -> None:
    waiting = Waiting(1000)
    waiting.put(deliveries(3, 200))
    answers: list[bool] = []
    reader = threading.Thread(target=lambda: answers.append(waiting.room(60.0)))
    reader.start()
    waiting.take(3, 0, 0)
    reader.join(30)
    assert answers == [True]


def test_what_is_cleared_is_gone() -> None:
    waiting = Waiting()
    waiting.put(deliveries(3))
    waiting.clear()
    assert (len(waiting), waiting.size_bytes, waiting.take(1, 0, 0)) == (0, 0, [])
