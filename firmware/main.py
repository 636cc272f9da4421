"""Starts the firmware. MicroPython runs this file after boot.

`lapel_board` is the one module that differs between devices: it is put beside this file when the device is flashed
and its `board()` makes the object that lapel_device/boards/contract.py describes.
"""

from lapel_board import board

from lapel_device import runtime

if __name__ == "__main__":
    runtime.run(board())
