"""The runtime on CPython's asyncio, in virtual time: loops, ticks that wrap, the watchdog, and failures."""

import asyncio
import itertools
import selectors
from collections.abc import Callable
from typing import Any

import pytest

from lapel_device import runtime
from lapel_device.application import Application
from lapel_device.runtime import AUDIO_BLOCKS, AUDIO_MS, STALL_MS, Monotonic, Runtime
from lapel_protocol.limits import TICKS_PERIOD
from tests.firmware.desk import DeskBoard, OpenedClip, clip_files

RECORD = 1
NEAR_THE_WRAP = TICKS_PERIOD - 4000


class _Waiting(selectors.SelectSelector):
    """A selector that does not wait: it moves the time on instead."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing would ever happen again"
        self._advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves only while it would wait."""

    def __init__(self, board: DeskBoard, first_ticks: int) -> None:
        self.now_s = 0.0
        self._board = board
        self._first_ticks = first_ticks
        board.clock.ticks = first_ticks
        super().__init__(_Waiting(self._advance))

    def _advance(self, timeout: float) -> None:
        self.now_s += timeout
        self._board.clock.ticks = (self._first_ticks + round(self.now_s * 1000)) % TICKS_PERIOD

    def time(self) -> float:
        return self.now_s


class Life:
    """A board that is run until a time, with RECORD held at the times given."""

    def __init__(self, first_ticks: int = NEAR_THE_WRAP) -> None:
        self.board = DeskBoard()
        self.loop = VirtualLoop(self.board, first_ticks)
        self.application = Application(self.board.as_board())
        self.runtime = Runtime(self.board.as_board(), self.application)

    def at(self, when_ms: int, action: Callable[[], None]) -> None:
        self.loop.call_later(when_ms / 1000, action)

    def hold(self, when_ms: int) -> None:
        self.at(when_ms, lambda: setattr(self.board.buttons, "mask", RECORD))
        self.at(when_ms + 1700, lambda: setattr(self.board.buttons, "mask", 0))

    def run(self, until_ms: int) -> None:
        self.at(until_ms, lambda: setattr(self.runtime, "stopped", True))
        try:
            self.loop.run_until_complete(self.runtime.run())
        finally:
            self.loop.run_until_complete(self._leave())
            self.loop.close()

    async def _leave(self) -> None:
        """Nothing is left waiting when a run fails."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def clip(self) -> OpenedClip:
        (data,) = clip_files(self.board).values()
        return OpenedClip(data)


def test_a_clip_is_recorded_across_the_wrap_of_the_ticks() -> None:
    life = Life()
    life.hold(1000)
    life.hold(8000)
    pictures = [b"\xff\xd8picture %d\xff\xd9" % number for number in range(200)]
    life.board.camera.ready = list(pictures)
    life.run(11_000)
    clip = life.clip()
    assert clip.end is not None
    assert 6900 <= clip.end.duration_ms <= 7100
    times = [at_ms for at_ms, _ in clip.packets("video")]
    assert [payload for _, payload in clip.packets("video")] == pictures[: len(times)]
    assert len(times) >= 65
    assert all(100 <= later - earlier <= 120 for earlier, later in itertools.pairwise(times))
    assert not life.board.camera.on
    assert not life.board.desk_microphone.on


def test_samples_are_carried_in_order_and_without_loss() -> None:
    life = Life()
    life.hold(1000)
    life.hold(6000)
    sound = bytes(range(256)) * 400

    def speak() -> None:
        life.board.desk_microphone.waiting += sound

    life.at(3500, speak)
    life.run(8500)
    assert b"".join(payload for _, payload in life.clip().packets("audio")) == sound


def test_a_backlog_of_samples_is_taken_in_one_turn() -> None:
    life = Life()
    life.hold(1000)
    block = life.board.profile.audio_block_bytes
    left: list[int] = []
    microphone = life.board.desk_microphone
    life.at(4000, lambda: microphone.waiting.extend(bytes(AUDIO_BLOCKS * block)))
    life.at(4000 + 2 * AUDIO_MS, lambda: left.append(len(microphone.waiting)))
    life.run(5000)
    assert left == [0]


def test_camera_and_microphone_are_off_until_they_are_wanted() -> None:
    life = Life()
    life.run(5000)
    assert life.board.camera.starts == 0
    assert not life.board.desk_microphone.on


def test_a_camera_that_does_not_answer_is_started_again_and_audio_goes_on() -> None:
    life = Life()
    life.board.camera.fault = True
    life.hold(1000)
    life.at(4000, lambda: setattr(life.board.camera, "fault", False))
    life.at(3000, lambda: life.board.desk_microphone.waiting.extend(bytes(3200)))
    life.hold(7000)
    life.run(9500)
    clip = life.clip()
    assert len(clip.packets("video")) > 20
    assert len(clip.packets("audio")) == 1
    assert "camera: does not answer" in clip.texts
    assert sum("camera does not answer" in line for line in life.board.lines) == 1


def test_the_watchdog_is_fed_while_all_loops_come_round() -> None:
    life = Life()
    life.run(2000)
    assert life.board.watchdog.fed >= 190


def test_the_watchdog_starves_when_the_camera_hangs() -> None:
    life = Life()
    life.hold(1000)
    fed: list[int] = []
    life.at(5000, lambda: setattr(life.board.camera, "hangs", True))
    life.at(5000 + STALL_MS + 500, lambda: fed.append(life.board.watchdog.fed))
    life.at(20_000, lambda: fed.append(life.board.watchdog.fed))
    life.at(20_500, lambda: life.board.camera.wake.set())
    life.run(21_000)
    assert fed[0] == fed[1] > 1000


def test_a_defect_is_logged_by_type_and_place_and_restarts_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    board = DeskBoard()

    def broken(self: Application, now_ms: int) -> None:
        raise KeyError("secret-0123")

    monkeypatch.setattr(Application, "poll", broken)
    runtime.run(board.as_board())
    said = "\n".join(board.lines)
    assert "stopped by KeyError" in said
    assert "test_runtime.py" in said
    assert "secret" not in said
    assert board.resets == 1


def test_a_board_is_restarted_although_there_is_no_memory_to_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    board = DeskBoard()

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(runtime, "log_failure", fail)
    monkeypatch.setattr(runtime.Runtime, "run", fail)
    runtime.run(board.as_board())
    assert board.resets == 1


def test_monotonic_time_goes_on_over_many_wraps() -> None:
    time = Monotonic(NEAR_THE_WRAP)
    ticks, expected = NEAR_THE_WRAP, 0
    for step in (1, 4000, TICKS_PERIOD - 1, 77, 12 * 3600 * 1000, TICKS_PERIOD // 2) * 3:
        ticks = (ticks + step) % TICKS_PERIOD
        expected += step
        assert time.now(ticks) == expected
    assert time.at((ticks - 250) % TICKS_PERIOD) == expected - 250
