"""The hot paths one by one, each on its own: sealing and opening in CPython, ledger, vault, embedded broker."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import paho.mqtt.client as mqtt
import sqlalchemy as sa
from paho.mqtt.enums import CallbackAPIVersion

from bench.report import Report
from lapel_gateway.brokers.embedded import EmbeddedBroker
from lapel_gateway.custody.vault import Vault
from lapel_gateway.ledger import fresh_ledger, open_ledger, writing
from lapel_gateway.ledger.schema import notice
from lapel_protocol.crypto import Mac
from lapel_protocol.event import HEARTBEAT, Event, seal_event
from lapel_protocol.keys import EpochKeys, chain_next
from lapel_protocol.limits import MAX_MESSAGE_BYTES, NEXT_PLAIN_BYTES
from lapel_protocol.opening import SegmentOpener, open_event, verify_segment
from lapel_protocol.stream import SegmentSealer, StreamKeys, decode_segment_header, segment_body


def measure(report: Report) -> None:
    """Every hot path."""
    report.group("paths", "one operation at a time, in one process")
    for part in (_stream, _keys_and_events, _ledger, _vault, _broker):
        part(report)


def _stream(report: Report) -> None:
    """Sealing as a device does it in CPython, verifying and opening as the gateway does."""
    keys, device, prefix = StreamKeys(bytes(32), bytes(32), b"associated"), bytes(8), bytes(7)
    plain = os.urandom(NEXT_PLAIN_BYTES)
    sealer = SegmentSealer()
    sealer.begin(device, 1, keys, prefix)

    def seal() -> memoryview:
        at = sealer.write(plain, 0)
        while not sealer.full:
            at += sealer.write(plain, at % len(plain))
        return sealer.seal(False)

    seal()
    record = bytes(seal())
    header = decode_segment_header(record)
    body = segment_body(header, record)
    mac, opener = Mac(keys.mac_key), SegmentOpener(keys, prefix)
    report.repeat("seal a segment", seal, len(plain))
    report.repeat("verify a segment", lambda: verify_segment(mac, prefix, header, body), len(plain))
    report.repeat("verify and open a segment", lambda: opener.open(header, body), len(plain))


def _keys_and_events(report: Report) -> None:
    chain = bytes(32)
    keys = EpochKeys(chain)
    record = seal_event(keys, Event(HEARTBEAT, bytes(8), 1, 1, 0, 0, 0, bytes(64)))
    report.repeat("walk the chain by one epoch", lambda: chain_next(chain))
    report.repeat("derive an epoch's keys", lambda: EpochKeys(chain))
    report.repeat("open an event", lambda: open_event(keys, record))


def _ledger(report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "ledger.sqlite"
        fresh_ledger(path)
        engine = open_ledger(path)
        row = {"kind": "bench", "device": "", "subject": "", "at_ms": 0, "detail": ""}

        def commit(rows: int) -> None:
            with writing(engine) as connection:
                connection.execute(sa.insert(notice), [row] * rows)

        report.repeat("commit one row (SQLite, FULL)", lambda: commit(1))
        report.repeat("commit 256 rows together", lambda: commit(256))
        engine.dispose()


def _vault(report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        vault = Vault(Path(folder), reserve_bytes=0)
        chunk = os.urandom(16_384)
        place = 0

        def batch() -> None:
            nonlocal place
            for _ in range(64):
                vault.place("0" * 16, 1, place % (64 << 20), chunk)
                place += 16_384
            vault.sync()

        report.repeat("place 64 chunks of 16 KiB and sync", batch, 64 * 16_384)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _broker(report: Report) -> None:
    """One publisher, one message at a time, to the embedded broker and its acknowledgement."""
    broker = EmbeddedBroker(_free_port())
    broker.start()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    payload = os.urandom(MAX_MESSAGE_BYTES // 2)
    topic = "lapel/v1/00/0000000000000000/clip"
    report.repeat(
        "publish 16 KiB and have it acknowledged",
        lambda: client.publish(topic, payload, qos=1).wait_for_publish(10),
        len(payload),
    )
    client.disconnect()
    client.loop_stop()
    broker.stop()
