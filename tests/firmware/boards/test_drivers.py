"""Every driver of a board against the model of its chip, in the real MicroPython: the cases stand in device/."""

import pytest

from tests.firmware.boards.onboard import DEVICE_CODE, cases, judge

pytestmark = pytest.mark.needs("micropython")

PROGRAMS = sorted(path.stem for path in DEVICE_CODE.glob("*_cases.py"))


# One process of the tests for each program: it runs all of the program's cases at once.
@pytest.mark.parametrize(
    ("program", "case"),
    [
        pytest.param(program, case, marks=pytest.mark.xdist_group(program))
        for program in PROGRAMS
        for case in cases(program)
    ],
)
def test_on_the_board(program: str, case: str) -> None:
    judge(program, case)
