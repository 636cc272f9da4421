"""SPEC sections 3 and 4 by the `cryptography` package: bytes that only look random, HMAC, HKDF, AES-CTR, the chain."""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Case = dict[str, Any]

DEVICE = bytes.fromhex("0f1e2d3c4b5a697b")
OTHER_DEVICE = bytes.fromhex("8877665544332211")


def made(label: str, length: int) -> bytes:
    """`length` bytes that are the same at every run: SHA-256 over the label and a counter."""
    out = b""
    block = 0
    while len(out) < length:
        out += hashlib.sha256(label.encode() + b"/" + block.to_bytes(4, "big")).digest()
        block += 1
    return out[:length]


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over the parts."""
    state = hmac.HMAC(key, hashes.SHA256())
    for part in parts:
        state.update(part)
    return state.finalize()


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(ikm)


def ctr(key: bytes, iv12: bytes, data: bytes) -> bytes:
    """AES-256-CTR from block `iv12` followed by a 32-bit zero."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv12 + bytes(4))).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def crc32(data: bytes) -> int:
    """CRC-32 as zlib has it."""
    return zlib.crc32(data)


def chain_start(k_dev: bytes, device: bytes) -> bytes:
    """CK of epoch 0."""
    return hkdf(k_dev, b"lapel/v1", b"chain" + device, 32)


def chain_key(k_dev: bytes, device: bytes, epoch: int) -> bytes:
    """CK of an epoch."""
    key = chain_start(k_dev, device)
    for _ in range(epoch):
        key = mac(key, b"chain")
    return key


@dataclass
class Keys:
    """The seven keys of one epoch."""

    chain_key: bytes

    @property
    def clip_auth(self) -> bytes:
        """A."""
        return mac(self.chain_key, b"auth")

    @property
    def clip_enc(self) -> bytes:
        """E."""
        return mac(self.chain_key, b"enc")

    @property
    def event_auth(self) -> bytes:
        """Authenticates the boot's events."""
        return mac(self.chain_key, b"event-auth")

    @property
    def event_enc(self) -> bytes:
        """Encrypts them."""
        return mac(self.chain_key, b"event-enc")

    @property
    def command_auth(self) -> bytes:
        """Authenticates commands to the boot."""
        return mac(self.chain_key, b"command-auth")

    @property
    def command_enc(self) -> bytes:
        """Encrypts them."""
        return mac(self.chain_key, b"command-enc")

    @property
    def command_iv(self) -> bytes:
        """Makes their IVs."""
        return mac(self.chain_key, b"command-iv")

    def named(self) -> dict[str, str]:
        """All of them in hex, by name."""
        names = ("clip_auth", "clip_enc", "event_auth", "event_enc", "command_auth", "command_enc", "command_iv")
        return {name: getattr(self, name).hex() for name in names}


K_DEV = made("K_dev", 32)
BOOT = 41
CLIP = 44
BOOT_KEYS = Keys(chain_key(K_DEV, DEVICE, BOOT))
CLIP_KEYS = Keys(chain_key(K_DEV, DEVICE, CLIP))


def case(name: str, op: str, expect: str = "ok", **fields: object) -> Case:
    """One test case: what to do, what must come of it, and what it needs."""
    return {"name": name, "op": op, "expect": expect, **fields}


def flipped(data: bytes, at: int, mask: int = 1) -> list[list[object]]:
    """The patch that flips bits of one byte."""
    return [[at, bytes([data[at] ^ mask]).hex()]]


def patch(at: int, data: bytes) -> list[list[object]]:
    """The patch that writes `data` at an offset."""
    return [[at, data.hex()]]
