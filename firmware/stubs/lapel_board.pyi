"""The module that tells a device which board it is; put beside main.py when the device is flashed."""

from lapel_device.boards.contract import Board

HARDWARE: str

def board() -> Board: ...
def reset() -> None: ...
