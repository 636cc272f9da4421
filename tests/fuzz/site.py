"""A gateway's real cores on a ledger and a vault in memory, with the device of `genuine`; every input starts anew."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.custody.vault import Vault
from lapel_gateway.keystore import KeyStore
from lapel_gateway.ledger import fresh_ledger, open_ledger
from lapel_gateway.registry import Registry
from lapel_protocol.command import RECEIPT, open_command
from lapel_protocol.crypto import sha256
from lapel_protocol.orders import decode_receipt
from lapel_protocol.topics import topic
from tests.fuzz import genuine

Message = tuple[str, bytes]
NOW_MS = genuine.WALL_MS + 20_000
CLIP_TOPIC = topic(genuine.DEVICE, "clip")
EVENT_TOPIC = topic(genuine.DEVICE, "event")
ALARM_TOPIC = topic(genuine.DEVICE, "alarm")
DEVICE_NAME = genuine.DEVICE.hex()

_BELIEVED = """
select (select count(*) from event), (select count(*) from epoch), (select group_concat(id || state) from alarm),
 (select group_concat(clip || state || contiguous || coalesce(settled_segments, '-') || hex(extents)) from clip),
 (select authenticated_epoch || boot || coalesce(contact_ms, '-') || coalesce(hello_counter, '-') || ledger_to
  from device), (select count(*) from outbox where kind = 'assemble')
"""


class Site:
    """One gateway. `prepare` is what has arrived before each input."""

    def __init__(self, folder: Path, prepare: Sequence[Message] = ()) -> None:
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[_dropped])
        folder.mkdir(parents=True, exist_ok=True)
        self._vault_folder = folder / "vault"
        path = folder / "ledger.sqlite"
        fresh_ledger(path)
        self.engine = open_ledger(path)
        self.live = sqlite3.connect(path)
        self.now_ms = NOW_MS
        given = iter((genuine.DEVICE, genuine.K_DEV))
        self.registry = Registry(self.engine, KeyStore(bytes(32)), lambda size: next(given, bytes(size)))
        self.registry.provision("camera 7", "Zoë Quinn", genuine.organisation(), "broker", 1, "", NOW_MS, NOW_MS)
        self._cores()
        for message in prepare:
            if message[0] == ALARM_TOPIC:
                self.alarms.handle(*message, self.now_ms)
            else:
                self.ingest.handle([message], self.now_ms)
        self.ingest.close()
        self._kept = sqlite3.connect(":memory:")
        self.live.backup(self._kept)
        self._kept_vault = folder / "kept"
        shutil.copytree(self._vault_folder, self._kept_vault)

    def close(self) -> None:
        """Let go of the files."""
        self.ingest.close()
        self.live.close()
        self._kept.close()
        self.engine.dispose()

    def restore(self) -> None:
        """Go back to what was there when the site was made."""
        self.ingest.close()
        self._kept.backup(self.live)
        shutil.rmtree(self._vault_folder)
        shutil.copytree(self._kept_vault, self._vault_folder, copy_function=shutil.copyfile)
        self.now_ms = NOW_MS
        self._cores()

    def believed(self) -> tuple[object, ...]:
        """All that only a device's own word may change."""
        found: tuple[object, ...] = self.live.execute(_BELIEVED).fetchone()
        return found

    def receipts(self, downlinks: Sequence[Message], boot: int) -> Iterator[tuple[int, int, bytes]]:
        """(clip, segments, head) of each receipt among downlinks to a boot of the device."""
        for name, record in downlinks:
            if name.endswith("/down") and record[2] == RECEIPT:
                body = decode_receipt(open_command(genuine.keys(boot), record, genuine.DEVICE, boot).payload)
                yield body.clip, body.segments, body.head

    def head_in_vault(self, clip: int, segments: int) -> bytes:
        """The head over what the vault really holds of a clip; empty when it holds less."""
        try:
            content = self.vault.path(DEVICE_NAME, clip).read_bytes()
        except OSError:
            return b""
        head, at = sha256(b"lapel/v1 head", content[:588]), 588
        for _ in range(segments):
            if at + 28 > len(content):
                return b""
            end = at + 28 + struct.unpack_from(">I", content, at + 20)[0]
            head, at = sha256(head, content[end - 32 : end]), end
        return head if at <= len(content) else b""

    def _cores(self) -> None:
        self.vault = Vault(self._vault_folder, reserve_bytes=0)
        entropy = lambda size: sha256(b"entropy")[:size]  # noqa: E731
        self.ingest = IngestCore(self.engine, self.vault, self.registry, genuine.organisation(), entropy=entropy)
        self.alarms = AlarmCore(self.engine, self.registry)


def _dropped(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A log processor: refusals are what a fuzzer makes, and nobody reads them."""
    raise structlog.DropEvent
