"""``python -m bench.publisher mqtt|nats|http PORT FILE WINDOW``: the publisher of every ingest measurement, in its own
process.

It has the packets ready in a file, says ``ready``, starts at a line on standard input, and ends with a line of JSON:
when it began and when the last acknowledgement came (seconds of the monotonic clock, which all processes of the machine
share). Each device has a connection of its own and keeps at most WINDOW messages unacknowledged on it, as devices do.
"""

from __future__ import annotations

import itertools
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path

PUBLISH_QOS1 = 0x32
MAX_PACKET_ID = 65_535
PUBACK_BYTES = 4

Message = tuple[str, bytes]


def mqtt_packet(kind: int, body: bytes) -> bytes:
    """An MQTT packet: its first byte, its length as MQTT 3.1.1 section 2.2.3 writes it, its body."""
    length, left = bytearray(), len(body)
    while True:
        left, digit = divmod(left, 128)
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([kind]) + bytes(length) + body


def mqtt_connect(client_id: str) -> bytes:
    """CONNECT with a clean session and no keep-alive."""
    name = client_id.encode()
    return mqtt_packet(0x10, struct.pack(">H4sBBHH", 4, b"MQTT", 4, 2, 0, len(name)) + name)


def mqtt_packets(messages: Iterable[Message]) -> list[bytes]:
    """Each message as a PUBLISH of QoS 1."""
    return [
        mqtt_packet(
            PUBLISH_QOS1,
            struct.pack(">H", len(name)) + name.encode() + struct.pack(">H", 1 + at % MAX_PACKET_ID) + payload,
        )
        for at, (name, payload) in enumerate(messages)
    ]


def nats_packets(messages: Iterable[Message]) -> list[bytes]:
    """Each message as a PUB whose acknowledgement JetStream sends to the subject ``ack.<device>``."""
    return [
        b"PUB %b ack.%b %d\r\n%b\r\n" % (name.replace("/", ".").encode(), name.split("/")[3].encode(), len(data), data)
        for name, data in messages
    ]


def http_packets(messages: Iterable[Message]) -> list[bytes]:
    """Each message as a PUT of a path of its own."""
    return [
        b"PUT /%b/%d HTTP/1.1\r\nhost: bench\r\ncontent-length: %d\r\n\r\n%b" % (name.encode(), at, len(data), data)
        for at, (name, data) in enumerate(messages)
    ]


PACKETS = {"mqtt": mqtt_packets, "nats": nats_packets, "http": http_packets}


def write_packets(path: Path, kind: str, messages: list[Message]) -> None:
    """The file that the publisher reads: devices, how many messages each has, their sizes (u32), then the packets."""
    devices: dict[str, list[bytes]] = {}
    for (name, _), data in zip(messages, PACKETS[kind](messages), strict=True):
        devices.setdefault(name.split("/")[3], []).append(data)
    with path.open("wb") as file:
        file.write(struct.pack(">I", len(devices)))
        for device, packets in devices.items():
            file.write(struct.pack(f">16sI{len(packets)}I", device.encode(), len(packets), *map(len, packets)))
            file.writelines(packets)


def read_packets(path: Path) -> dict[str, list[memoryview]]:
    """The packets of each device."""
    data = memoryview(path.read_bytes())
    (count,) = struct.unpack_from(">I", data)
    devices, at = {}, 4
    for _ in range(count):
        device, number = struct.unpack_from(">16sI", data, at)
        sizes = struct.unpack_from(f">{number}I", data, at + 20)
        at += 20 + 4 * number
        starts = [at, *itertools.accumulate(sizes, initial=at)][1:]
        devices[device.decode()] = [data[start:end] for start, end in itertools.pairwise(starts)]
        at = starts[-1]
    return devices


def connect_mqtt(port: int, client_id: str) -> socket.socket:
    """A connection of MQTT 3.1.1 that the broker has accepted."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(mqtt_connect(client_id))
    answer = connection.recv(4)
    if answer != b"\x20\x02\x00\x00":
        raise SystemExit(f"the broker answers {answer.hex()}")
    return connection


def connect_nats(port: int, device: str) -> socket.socket:
    """A connection to a NATS server that has subscribed to the device's acknowledgements."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.recv(65_536)
    connection.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB ack.%b 1\r\nPING\r\n' % device.encode())
    answer = b""
    while b"PONG" not in answer:
        answer += connection.recv(65_536)
    return connection


def connect_http(port: int, _device: str) -> socket.socket:
    """A connection to an HTTP server."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


CONNECT = {"mqtt": connect_mqtt, "nats": connect_nats, "http": connect_http}
ANSWERS = {"mqtt": b"\x40\x02", "nats": b"MSG ack.", "http": b"HTTP/1.1 204"}
"""How each acknowledgement begins."""


class Device:
    """One device's connection, and how far it is."""

    def __init__(self, kind: str, connection: socket.socket, packets: list[memoryview], window: int) -> None:
        self.connection = connection
        self.left = len(packets)
        self._kind = kind
        self._packets = packets
        self._window = window
        self._sent = 0
        self._rest = b""

    def feed(self) -> None:
        """Send as many packets as the window lets."""
        until = min(len(self._packets), len(self._packets) - self.left + self._window)
        if until > self._sent:
            parts = self._packets[self._sent : until]
            sent = self.connection.sendmsg(parts)
            if sent < sum(map(len, parts)):
                self.connection.sendall(b"".join(parts)[sent:])
            self._sent = until

    def take(self) -> int:
        """Read acknowledgements; returns how many."""
        data = self.connection.recv(1 << 16)
        if not data:
            raise SystemExit("the connection was closed")
        if self._kind == "mqtt":
            data = self._rest + data
            count = len(data) // PUBACK_BYTES
            self._rest = data[count * PUBACK_BYTES :]
        else:
            if b'"error"' in data:
                raise SystemExit(data.decode())
            # An answer that is cut in its first bytes is found once the rest is here.
            data = self._rest + data
            count = data.count(ANSWERS[self._kind])
            self._rest = data[max(0, len(data) - len(ANSWERS[self._kind]) + 1) :]
        self.left -= count
        return count


def publish(devices: list[Device]) -> None:
    """Send every packet and wait until the last is acknowledged."""
    poller = select.epoll()
    by_number = {device.connection.fileno(): device for device in devices}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    left = sum(device.left for device in devices)
    for device in devices:
        device.feed()
    while left:
        for number, _ in poller.poll():
            device = by_number[number]
            left -= device.take()
            device.feed()


def main() -> None:
    """Run as the command line says."""
    kind, port, path, window = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    devices = [
        Device(kind, CONNECT[kind](port, device), packets, window) for device, packets in read_packets(path).items()
    ]
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.monotonic()
    publish(devices)
    print(json.dumps({"started": started, "finished": time.monotonic()}), flush=True)
    for device in devices:
        device.connection.close()


if __name__ == "__main__":
    main()
