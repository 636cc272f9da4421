"""RSA-3072-OAEP-SHA256 encryption of a clip's seed to the organisation's public key (RFC 8017 section 7.1).

Deterministic given the OAEP seed, so that a gateway can recompute a device's wrap byte for byte. Public exponent 65537.
"""

from .crypto import sha256
from .limits import KEY_BYTES, KEY_ID_BYTES, RSA_BYTES

_EXPONENT = 65537
_HASH_BYTES = 32
_EMPTY_LABEL_HASH = sha256(b"")


def key_id(modulus: "bytes | bytearray") -> bytes:
    """Names an organisation key: the first 8 bytes of the SHA-256 of its 384-byte big-endian modulus."""
    if len(modulus) != RSA_BYTES or not modulus[0] & 0x80 or not modulus[-1] & 1:
        raise ValueError("an organisation key is an odd modulus of exactly 3,072 bits")
    return sha256(modulus)[:KEY_ID_BYTES]


def _mask(seed: bytes, data: bytearray) -> None:
    """XOR MGF1-SHA256(seed) into `data` in place (RFC 8017 appendix B.2.1)."""
    counter = 0
    at = 0
    while at < len(data):
        block = sha256(seed, counter.to_bytes(4, "big"))
        for i in range(min(_HASH_BYTES, len(data) - at)):
            data[at + i] ^= block[i]
        at += _HASH_BYTES
        counter += 1


def wrap_seed(seed: bytes, oaep_seed: bytes, modulus: "bytes | bytearray") -> bytes:
    """The 384-byte OAEP ciphertext of a 32-byte seed. Takes about 0.3 s on an RP2040: never call it while capturing."""
    if len(seed) != KEY_BYTES or len(oaep_seed) != _HASH_BYTES or len(modulus) != RSA_BYTES:
        raise ValueError("seed and OAEP seed have 32 bytes, the modulus 384")
    data = bytearray(RSA_BYTES - _HASH_BYTES - 1)
    data[:_HASH_BYTES] = _EMPTY_LABEL_HASH
    data[-KEY_BYTES - 1] = 1
    data[-KEY_BYTES:] = seed
    _mask(oaep_seed, data)
    masked_seed = bytearray(oaep_seed)
    _mask(bytes(data), masked_seed)
    message = int.from_bytes(bytes(masked_seed) + bytes(data), "big")
    return pow(message, _EXPONENT, int.from_bytes(bytes(modulus), "big")).to_bytes(RSA_BYTES, "big")
