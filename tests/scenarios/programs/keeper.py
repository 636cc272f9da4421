"""Runs on a simulated board: appends records to a file, flushing each, and says what it found and what is durable."""
# ruff: noqa: T201 - the console is how these programs speak

import os
import sys

from lapel_sim.board.disk import MOUNT_POINT, make_disk, make_filesystem, mount
from lapel_sim.board.wire import Wire, read_options

RECORD_BYTES = 600
LOG = MOUNT_POINT + "/log"


def record(number: int) -> bytes:
    """The content of one record; no two are alike."""
    return bytes([(number * 7 + at) & 0xFF for at in range(RECORD_BYTES - 4)]) + number.to_bytes(4, "big")


def found() -> int:
    """How many whole records the log has; says so when one is not as written."""
    if "log" not in os.listdir(MOUNT_POINT):
        return 0
    count = 0
    with open(LOG, "rb") as log:
        while True:
            content = log.read(RECORD_BYTES)
            if len(content) < RECORD_BYTES:
                return count
            if content != record(count):
                print("spoilt", count)
            count += 1


def main() -> None:
    """Append until the power goes."""
    wire = Wire(int(sys.argv[1]))
    options = read_options(wire)
    disk = make_disk(wire, options)
    try:
        mount(disk, options)
    except OSError:
        print("formatting")
        make_filesystem(disk, str(options["filesystem"]))
        mount(disk, options)
    number = found()
    print("found", number)
    with open(LOG, "ab") as log:
        while True:
            log.write(record(number))
            log.flush()
            number += 1
            print("durable", number)
            if number % 5 == 0:
                with open(MOUNT_POINT + "/state.new", "wb") as state:
                    state.write(str(number).encode())
                os.rename(MOUNT_POINT + "/state.new", MOUNT_POINT + "/state")
