"""Running a script of this folder under the real `micropython`, with lapel_protocol and tests on its path."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.rings import find_program

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run(script: str, *arguments: str, heap: str = "64M") -> str:
    """Standard output of tests/protocol/<script>; fails the test when it does not end with status 0."""
    done = subprocess.run(
        [str(find_program("micropython")), "-X", f"heapsize={heap}", str(HERE / script), *arguments],
        env={**os.environ, "MICROPYPATH": f"{ROOT}:{ROOT / 'protocol'}:.frozen"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
