"""Starts the firmware. MicroPython runs this file after boot.

`lapel_board` is the one module that differs between devices: it is put beside this file when the device is flashed,
names the hardware, and its `board()` makes the object that lapel_device/boards/contract.py describes, from drivers that
lie in the slot. A version that does not come as far as its own runtime ends in a restart: on trial, that is one of its
boots.
"""

import sys

import lapel_board

import lapel_loader

running = lapel_loader.start(lapel_board.HARDWARE)
if running is not None:
    # What is chosen is chosen: its code is heap that the firmware can use.
    del sys.modules["lapel_loader"]
    del lapel_loader
    try:
        from lapel_device import runtime

        runtime.run(lapel_board.board(), running)
    except Exception as error:  # noqa: BLE001 - whatever it is, the device must come back
        print("lapel: stopped by %s" % type(error).__name__)  # noqa: T201
        lapel_board.reset()
