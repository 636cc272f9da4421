"""Sealing commands: the gateway's half of `command`, which a device never imports (SPEC section 8)."""

import struct

from . import PROTOCOL_VERSION
from .command import COMMAND_IV_AT, COMMAND_LAYOUT, RECORD_COMMAND, Command
from .crypto import AesCtr, Mac
from .keys import EpochKeys
from .limits import COMMAND_HEADER_BYTES, MAX_COMMAND_PAYLOAD_BYTES, TAG_BYTES


def seal_command(keys: EpochKeys, command: Command) -> bytes:
    """The command's record under the keys of the device's boot. Raises ValueError for a payload that is too long."""
    size = len(command.payload)
    if size > MAX_COMMAND_PAYLOAD_BYTES:
        raise ValueError("command payload too long")
    record = bytearray(COMMAND_HEADER_BYTES + size + TAG_BYTES)
    struct.pack_into(
        COMMAND_LAYOUT,
        record,
        0,
        RECORD_COMMAND,
        PROTOCOL_VERSION,
        command.kind,
        0,
        command.device,
        command.boot,
        command.nonce,
        command.counter,
        command.issued_ms,
        command.expires_ms,
        size,
        0,
    )
    view = memoryview(record)
    end = COMMAND_HEADER_BYTES + size
    iv = Mac(keys.command_iv).digest(view[:COMMAND_IV_AT], command.payload)[:12]
    record[COMMAND_IV_AT:COMMAND_HEADER_BYTES] = iv
    if size:
        record[COMMAND_HEADER_BYTES:end] = command.payload
        AesCtr(keys.command_enc).apply(iv, view[COMMAND_HEADER_BYTES:end])
    record[end:] = Mac(keys.command_auth).digest(view[:end])
    return bytes(record)
