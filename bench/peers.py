"""What ingest is measured beside: brokers and subscribers as processes, started fresh for each run."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.publisher import connect_mqtt, mqtt_packet
from lapel_gateway.brokers.mosquitto import MAX_INFLIGHT, MAX_PACKET_BYTES, MAX_QUEUED_MESSAGES, find_mosquitto

READY_S = 20.0
"""How long a program may take to be of use."""

BACKLOG_BYTES = 1 << 30
"""What the broker may queue and hold, so that a slow subscriber is measured and not robbed."""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when something listens there. Raises RuntimeError when its process ends or takes too long."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen")


def cpu_s(process_id: int) -> float:
    """Processor time that a process has used, all its present threads together, in seconds (Linux)."""
    total = 0
    for thread in Path(f"/proc/{process_id}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


@contextlib.contextmanager
def running(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended at the end of the block."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
    process = subprocess.Popen([str(part) for part in command], **quiet)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


@contextlib.contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """The port of a Mosquitto on loopback, without TLS, its limits as we generate them but for the backlog."""
    program = find_mosquitto()
    if program is None:
        raise RuntimeError("mosquitto is not installed: make system-deps")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nretain_available false\n"
        f"max_packet_size {MAX_PACKET_BYTES}\nmax_inflight_messages {MAX_INFLIGHT}\n"
        f"max_queued_messages {MAX_QUEUED_MESSAGES}\nmax_queued_bytes {BACKLOG_BYTES}\n"
        f"memory_limit {2 * BACKLOG_BYTES}\n"
    )
    with running(program, "-c", config) as process:
        wait_for_port(port, process)
        yield port


@contextlib.contextmanager
def nats(folder: Path) -> Iterator[tuple[int, int]]:
    """(port, process id) of a NATS server with a JetStream stream of the clip lane: files, synced at every message."""
    port = free_port()
    config = folder / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port}\nmax_payload: 1MB\n"
        f'jetstream {{ store_dir: "{folder}/nats", sync_interval: always }}\n'
    )
    with running(Path(sys.executable).with_name("nats-server"), "-c", config) as process:
        wait_for_port(port, process)
        stream = {"name": "CLIPS", "subjects": ["lapel.>"], "storage": "file", "retention": "limits"}
        body = json.dumps(stream).encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(READY_S)
            connection.recv(65_536)
            connection.sendall(
                b'CONNECT {"verbose":false}\r\nSUB made 1\r\n'
                + b"PUB $JS.API.STREAM.CREATE.CLIPS made %d\r\n%b\r\n" % (len(body), body)
            )
            answer = b""
            while b'"created"' not in answer:
                answer += connection.recv(65_536)
                if b'"error"' in answer:
                    raise RuntimeError(answer.decode())
        yield port, process.pid


@contextlib.contextmanager
def http_put(folder: Path) -> Iterator[tuple[int, int]]:
    """(port, process id) of an HTTP server (uvicorn) that writes each body to a file of its own and syncs it."""
    port = free_port()
    with running(sys.executable, "-m", "bench.peer_http", str(port), folder / "put") as process:
        wait_for_port(port, process)
        yield port, process.pid


@contextlib.contextmanager
def subscriber(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A subscriber of ours or of Python's, which says ``ready`` when it is."""
    with running(sys.executable, "-m", *command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=None) as process:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{process.args!r} is not ready")
        yield process


class Receipts:
    """A device-side ear: counts the receipts of clips that the gateway sends."""

    def __init__(self, port: int, kind: int) -> None:
        self._socket = connect_mqtt(port, "receipts")
        name = b"lapel/v1/+/+/down"
        self._socket.sendall(mqtt_packet(0x82, b"\0\1" + len(name).to_bytes(2, "big") + name + b"\0"))
        if self._socket.recv(5)[:1] != b"\x90":
            raise RuntimeError("the broker grants no subscription")
        self._kind = kind
        self._rest = b""

    def wait(self, count: int, timeout_s: float) -> float:
        """When the last of so many receipts was heard (monotonic). Raises TimeoutError."""
        self._socket.settimeout(timeout_s)
        while count > 0:
            data = self._socket.recv(1 << 16)
            if not data:
                raise RuntimeError("the broker closed the connection")
            self._rest += data
            count -= self._count()
        return time.monotonic()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _count(self) -> int:
        """Receipts among the whole packets; QoS 0, so that the ear need not answer."""
        found, at, data = 0, 0, self._rest
        while len(data) - at >= 4:
            size, body = data[at + 1] & 0x7F, at + 2
            if data[at + 1] & 0x80:
                size |= data[at + 2] << 7
                body += 1
            if len(data) < body + size:
                break
            payload = body + 2 + int.from_bytes(data[body : body + 2], "big")
            # A command's record: type, version, kind.
            found += data[payload + 2] == self._kind
            at = body + size
        self._rest = data[at:]
        return found
