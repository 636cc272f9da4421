"""The board's end of the socket to its world. Blocking, one call at a time, no allocation per call beyond slices.

A call is one step of hardware, which no Ctrl-C breaks into: what was begun is ended before it is heard, or the world
would take what comes next for the rest.
"""

import json
import os
import struct

from . import ops

LOOPBACK = "127.0.0.1"
_EIO = 5
_OPTIONS_BYTES = 2048


class Wire:
    """Calls into the world. Every method raises OSError when the world reports a failure or is gone."""

    def __init__(self, descriptor: int, interrupts: "bytearray | None" = None) -> None:
        """`descriptor`: an inherited, connected stream socket. `interrupts`: the cell by which a tray board holds
        Ctrl-C (lapel_sim.tray.interrupts); other boards have no terminal.
        """
        self._stream = open(descriptor, "r+b", buffering=0)  # noqa: SIM115
        self._request = bytearray(ops.REQUEST_BYTES)
        self._answer = bytearray(ops.ANSWER_BYTES)
        self._interrupts = bytearray(2) if interrupts is None else interrupts
        self.extra = 0
        self.size = 0

    def call(
        self,
        op: int,
        index: int = 0,
        a: int = 0,
        b: int = 0,
        data: "bytes | bytearray | memoryview | None" = None,
        into: "bytearray | memoryview | None" = None,
    ) -> int:
        """Ask the world; returns the result (0 or more), leaves `extra` and `size`, and puts the answer's payload at
        the start of `into`.
        """
        length = 0 if data is None else len(data)
        struct.pack_into(
            ops.REQUEST_LAYOUT, self._request, 0, op, index, 0, a, b, 0 if into is None else len(into), length
        )
        interrupts = self._interrupts
        interrupts[0] = 1
        try:
            if length:  # a jump, at which one that came before is raised: after it none comes
                pass
            result = self._exchange(data if length else None, into)
        finally:
            interrupts[0] = 0
        if interrupts[1]:
            interrupts[1] = 0
            raise KeyboardInterrupt
        if result < 0:
            raise OSError(-result)
        return result

    def _exchange(self, data: "bytes | bytearray | memoryview | None", into: "bytearray | memoryview | None") -> int:
        try:
            self._stream.write(self._request)
            if data is not None:
                self._stream.write(data)
            got = self._stream.readinto(self._answer)
        except OSError:
            got = 0
        if got != ops.ANSWER_BYTES:
            raise SystemExit  # the world is gone, and the power with it: not an OSError, which firmware lives with
        result, self.extra, self.size = struct.unpack(ops.ANSWER_LAYOUT, self._answer)
        size = self.size
        if size and (into is None or self._stream.readinto(memoryview(into)[:size]) != size):
            raise SystemExit
        return int(result)

    def route(self, host: str, port: int) -> int:
        """The port of LOOPBACK by which the world's link leads to host:port."""
        return self.call(ops.ROUTE, 0, port, data=host.encode())


def tray_wire() -> Wire:
    """A tray board's wire: its descriptor is in LAPEL_WORLD, the address of its cell in LAPEL_INTERRUPTS."""
    import uctypes  # type: ignore[import-not-found,unused-ignore]

    cell = uctypes.bytearray_at(int(os.getenv("LAPEL_INTERRUPTS") or "0"), 2)
    return Wire(int(os.getenv("LAPEL_WORLD") or "-1"), cell)


def read_options(wire: Wire) -> "dict[str, object]":
    """The options of this boot: facts of the board and of its world."""
    buffer = bytearray(_OPTIONS_BYTES)
    wire.call(ops.HELLO, into=buffer)
    options: dict[str, object] = json.loads(bytes(memoryview(buffer)[: wire.size]))
    return options
