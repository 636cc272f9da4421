"""Command records: what the gateway tells one boot of one device (SPEC section 8).

Encrypt-then-MAC under the boot's command keys; the IV is a PRF of the content, so that sealing needs no state and an
identical command is byte-identical. Idempotent kinds name what they are about and may be repeated for ever. Guarded
kinds change something: they carry the nonce of the current hello, a counter that only rises, and an expiry. What a
payload means lives in `orders`.
"""

import struct

from . import PROTOCOL_VERSION
from .crypto import AesCtr, Mac, equal
from .errors import BadMac, Malformed, Oversized, Replayed, UnsupportedVersion, WrongDevice
from .keys import EpochKeys
from .limits import (
    COMMAND_HEADER_BYTES,
    MAX_COMMAND_RECORD_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
)

RECORD_COMMAND = 0x20

WELCOME = 1  # answers one hello: echoes its nonce, gives time
CREDIT = 2
RECEIPT = 3  # custody of one clip
WANT = 4
EVENT_RECEIPT = 5
ALARM_RECEIPT = 6
ALARM_ACK = 7
ALARM_RESOLVED = 8
UNOPENABLE = 9
SETTINGS = 10
STOP_RECORDING = 11
VISIT_STATE = 12  # a replayed old one must not start a visit, and with it location
UPDATE_OFFER = 13  # the release that the device is to run
UPDATE_BLOCK = 14  # a piece of it
GUARDED_KINDS = (SETTINGS, STOP_RECORDING, VISIT_STATE, UPDATE_OFFER)

NO_NONCE = bytes(NONCE_BYTES)

# type, version, kind, flags, device, boot, nonce, counter, issued, expires, payload length, zero | iv 12
COMMAND_LAYOUT = ">BBBB8sI8sIQQHH"
COMMAND_IV_AT = 48


class Command:
    """One command. `nonce` echoes the device's (welcome and guarded kinds, else zero); `counter` and `expires_ms`
    (Unix) are set for guarded kinds, else 0; `issued_ms` is the gateway's Unix time for those and a welcome, else 0."""

    def __init__(
        self,
        kind: int,
        device: bytes,
        boot: int,
        payload: bytes,
        nonce: bytes = NO_NONCE,
        counter: int = 0,
        issued_ms: int = 0,
        expires_ms: int = 0,
    ) -> None:
        self.kind = kind
        self.device = device
        self.boot = boot
        self.payload = payload
        self.nonce = nonce
        self.counter = counter
        self.issued_ms = issued_ms
        self.expires_ms = expires_ms


def open_command(keys: EpochKeys, record: "bytes | bytearray | memoryview", device: bytes, boot: int) -> Command:
    """Verify and decrypt a command for this device and boot; raises ProtocolError. Freshness is `CommandGate`'s."""
    if len(record) > MAX_COMMAND_RECORD_BYTES:
        raise Oversized("command longer than %d bytes" % MAX_COMMAND_RECORD_BYTES)
    if len(record) < COMMAND_HEADER_BYTES + TAG_BYTES or record[0] != RECORD_COMMAND:
        raise Malformed("not a command")
    if record[1] != PROTOCOL_VERSION:
        raise UnsupportedVersion("command version %d" % record[1])
    data = bytearray(record)
    view = memoryview(data)
    end = len(data) - TAG_BYTES
    if not equal(Mac(keys.command_auth).digest(view[:end]), view[end:]):
        raise BadMac("command MAC")
    fields = struct.unpack_from(COMMAND_LAYOUT, data, 0)
    _, _, kind, flags, to_device, to_boot, nonce, counter, issued, expires, size, zero = fields
    if to_device != device:
        raise WrongDevice("command for another device")
    if to_boot != boot:
        raise Replayed("command for another boot")
    if size != end - COMMAND_HEADER_BYTES or flags or zero or not 0 < kind <= UPDATE_BLOCK:
        raise Malformed("command field out of range")
    if size:
        AesCtr(keys.command_enc).apply(view[COMMAND_IV_AT:COMMAND_HEADER_BYTES], view[COMMAND_HEADER_BYTES:end])
    return Command(kind, to_device, to_boot, bytes(view[COMMAND_HEADER_BYTES:end]), nonce, counter, issued, expires)


class CommandGate:
    """Decides, within one boot, whether an authentic command is fresh (SPEC 8.3).

    A welcome answers the outstanding hello and is taken once; a guarded command needs the nonce of the latest hello, a
    counter above every earlier one that named this nonce, and an expiry that has not passed.
    """

    def __init__(self) -> None:
        self.nonce = NO_NONCE  # of the latest hello; guarded commands echo it
        self._waiting = False
        self._counter = 0

    def hello(self, nonce: bytes) -> None:
        """A hello with this fresh nonce is about to be sent. Counters start anew: a restored gateway has older ones."""
        self.nonce = nonce
        self._waiting = True
        self._counter = 0

    def admit(self, command: Command, wall_ms: int) -> None:
        """Raise Replayed unless the command is fresh. `wall_ms` is the device's Unix time, 0 when it has none."""
        if command.kind == WELCOME:
            if not self._waiting or command.nonce != self.nonce:
                raise Replayed("welcome answers another hello")
            self._waiting = False
        elif command.kind in GUARDED_KINDS:
            if self.nonce == NO_NONCE or command.nonce != self.nonce:
                raise Replayed("command for another connection")
            if command.counter <= self._counter:
                raise Replayed("command counter not above the last")
            if not wall_ms or wall_ms >= command.expires_ms:
                raise Replayed("command expired, or this clock cannot tell")
            self._counter = command.counter
