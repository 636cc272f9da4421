"""How the judge of a killing run holds a clip's pictures against those that the camera gave."""

from __future__ import annotations

import pytest

from lapel_tools.killing.judge import Given, compare_frames

GIVEN: Given = {"a": [(0, 1000), (5, 1000)], "b": [(1, 2000)], "c": [(2, 3000), (6, 3000)], "d": [(7, 4000)]}
"""Five of one boot, and again of the next, which shows the same ticks."""


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [("a", 40), ("b", 1040), ("c", 2040)],
        [("a", 40), ("c", 2040), ("d", 3040)],
        [("c", 0), ("d", 1001)],
    ],
)
def test_a_clip_whose_pictures_came_one_after_the_other_is_its_own(frames: list[tuple[str, int]]) -> None:
    assert compare_frames(frames, GIVEN) == ""


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ([("a", 40), ("x", 1040)], "frame 1 is none that the camera gave"),
        ([("b", 40), ("b", 1040)], "frame 1 is out of order"),
        ([("d", 40), ("a", 1040)], "frame 1 is out of order"),
        ([("a", 40), ("b", 2040)], "frame 1 has another time than on the device"),
        ([("b", 40), ("d", 1040)], "frame 1 has another time than on the device"),
    ],
)
def test_a_strange_picture_a_wrong_order_and_a_wrong_time_are_told(frames: list[tuple[str, int]], fault: str) -> None:
    assert compare_frames(frames, GIVEN) == fault


def test_pictures_of_two_boots_are_not_taken_for_one_clip() -> None:
    given: Given = {"a": [(0, 1000)], "b": [(1, 2000), (9, 7000)], "c": [(10, 8000)]}

    assert compare_frames([("a", 0), ("b", 1000), ("c", 2000)], given) == "frame 2 has another time than on the device"
