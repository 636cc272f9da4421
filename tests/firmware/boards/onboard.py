"""Runs the cases of a device program under the real MicroPython on models: every function named `a_...` is a case.

A case's own asserts judge it; one process runs all cases of a program, each on a board of its own.
"""

from __future__ import annotations

import ast
import functools
import json
from pathlib import Path

import lapel_sim.machine_models
from lapel_sim.launcher import start

DEVICE_CODE = Path(__file__).parent / "device"
MODELS = Path(lapel_sim.machine_models.__file__).parent / "modules"
HEAP_BYTES = 3 << 20
"""The models and their chips lie on the same heap as the drivers."""


def cases(program: str) -> list[str]:
    """The names of a program's cases, in its order."""
    tree = ast.parse((DEVICE_CODE / f"{program}.py").read_text())
    return [
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith(("a_", "an_"))
    ]


def console(arguments: list[str], timeout_s: float = 120) -> str:
    """Run `on_models` with these arguments; returns all that it printed."""
    device = start("on_models", arguments, (), HEAP_BYTES, (MODELS, DEVICE_CODE))
    output, _ = device.communicate(timeout=timeout_s)
    text = output.decode()
    assert device.returncode == 0, text
    return text


def told_in(text: str) -> list[dict[str, object]]:
    """The lines of JSON."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@functools.cache
def outcomes(program: str) -> dict[str, str]:
    """What became of each case: empty, or its traceback."""
    return {
        str(told["case"]): str(told["failure"])
        for told in told_in(console([program, *cases(program)]))
        if "case" in told
    }


def judge(program: str, case: str) -> None:
    """Fail as the case failed on the board."""
    failure = outcomes(program).get(case, "the program ended before this case")
    assert not failure, failure
