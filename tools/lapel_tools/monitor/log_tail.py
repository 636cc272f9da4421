"""The newest lines of the gateway's log, for whoever may read it on this machine: a file, or systemd's journal."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lapel_gateway.log import printable
from lapel_gateway.systemd import UNIT_NAME

LINES = 200
TAIL_BYTES = 64 << 10
LINE_CHARACTERS = 400
JOURNAL_S = 5.0


class LogTail:
    """Reads the end of a log again and again."""

    def __init__(self, file: Path | None, *, local: bool) -> None:
        """``file``, or the journal of the gateway's unit where the gateway is ``local``."""
        self._file = file
        self._local = local

    def lines(self) -> list[str]:
        """The newest lines, the last one last; where there are none, one that says why. Control characters are
        escaped: devices' and brokers' words are among them."""
        if self._file is not None:
            return _of_file(self._file)
        if not self._local:
            return ["the log is on the gateway's machine: start `lapel monitor --log FILE` there"]
        return _of_journal()


def _of_file(file: Path) -> list[str]:
    try:
        with file.open("rb") as log:
            start = max(0, os.fstat(log.fileno()).st_size - TAIL_BYTES)
            log.seek(start)
            found = log.read(TAIL_BYTES).splitlines()
    except OSError as error:
        return [f"{file}: {error.strerror}"]
    return [printable(text, LINE_CHARACTERS) for text in found[1 if start else 0 :][-LINES:]] or [f"{file} is empty"]


def _of_journal() -> list[str]:
    program = shutil.which("journalctl")
    nowhere = f"no log of {UNIT_NAME} is to be had here: name its file with --log"
    if program is None:
        return [nowhere]
    asked = [program, "--unit", UNIT_NAME, "--lines", str(LINES), "--output", "cat", "--no-pager", "--quiet"]
    try:
        told = subprocess.run(asked, capture_output=True, timeout=JOURNAL_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return [nowhere]
    return [printable(text, LINE_CHARACTERS) for text in told.stdout.splitlines()] or [nowhere]
