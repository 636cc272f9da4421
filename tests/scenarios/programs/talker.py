"""Runs on a simulated board: opens a plain connection through the link and exchanges what its arguments say."""
# ruff: noqa: T201 - the console is how these programs speak

import socket
import sys
import time

from lapel_sim.board.wire import Wire


def main() -> None:
    """Send lines to an echo server and print the answers and how long each took."""
    wire = Wire(int(sys.argv[1]))
    port = wire.route("127.0.0.1", int(sys.argv[2]))
    peer = socket.socket()
    peer.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
    number = 0
    while True:
        started = time.ticks_ms()  # type: ignore[attr-defined,unused-ignore]
        peer.write(b"%06d\n" % number)  # type: ignore[attr-defined,unused-ignore]
        answer = peer.readline()  # type: ignore[attr-defined,unused-ignore]
        print("answer", int(answer), time.ticks_ms() - started)  # type: ignore[attr-defined,unused-ignore]
        number += 1
        time.sleep(0.02)
