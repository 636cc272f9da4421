"""An RSA-3072 key for tests only, made the same at every run, and OAEP with a given seed (RFC 8017 section 7.1).

`cryptography` draws its own OAEP seed, so the encoding is done here and proved by decrypting it with `cryptography`.
"""

import hashlib
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .reference import made

EXPONENT = 65537
_PRIME_BITS = 1536
_ROUNDS = 24


def _small_primes(limit: int) -> list[int]:
    sieve = bytearray([1]) * limit
    for n in range(2, limit):
        if sieve[n]:
            sieve[2 * n :: n] = bytes(len(range(2 * n, limit, n)))
    return [n for n in range(2, limit) if sieve[n]]


def _is_prime(candidate: int, label: str) -> bool:
    """Miller-Rabin with bases that are fixed by the label."""
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for number in range(_ROUNDS):
        base = int.from_bytes(made(f"{label}/base/{number}", 32), "big") % (candidate - 3) + 2
        x = pow(base, odd, candidate)
        if x in (1, candidate - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % candidate
            if x == candidate - 1:
                break
        else:
            return False
    return True


def _prime(label: str) -> int:
    small = _small_primes(10_000)
    start = int.from_bytes(made(label, _PRIME_BITS // 8), "big") | 3 << _PRIME_BITS - 2 | 1
    candidate = start
    while any(candidate % n == 0 for n in small) or candidate % EXPONENT == 1 or not _is_prime(candidate, label):
        candidate += 2
    return candidate


@cache
def test_only_key() -> rsa.RSAPrivateKey:
    """The organisation's key in the vectors. Its primes can be computed by anyone: for tests only."""
    p, q = _prime("TEST-ONLY p"), _prime("TEST-ONLY q")
    d = pow(EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def modulus() -> bytes:
    """The 384 bytes of the test key's modulus."""
    return test_only_key().public_key().public_numbers().n.to_bytes(384, "big")


def _mgf1(seed: bytes, length: int) -> bytes:
    blocks = (hashlib.sha256(seed + number.to_bytes(4, "big")).digest() for number in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def wrap(seed: bytes, oaep_seed: bytes) -> bytes:
    """RSA-3072-OAEP-SHA256 of a seed to the test key with this OAEP seed, proved by decryption."""
    block = hashlib.sha256(b"").digest() + bytes(384 - len(seed) - 2 * 32 - 2) + b"\x01" + seed
    masked_block = _xor(block, _mgf1(oaep_seed, len(block)))
    masked_seed = _xor(oaep_seed, _mgf1(masked_block, 32))
    message = int.from_bytes(b"\0" + masked_seed + masked_block, "big")
    numbers = test_only_key().public_key().public_numbers()
    wrapped = pow(message, numbers.e, numbers.n).to_bytes(384, "big")
    if unwrap(wrapped) != seed:
        raise SystemExit("OAEP: cryptography does not decrypt what was encoded here")
    return wrapped


def unwrap(wrapped: bytes) -> bytes:
    """The seed, by `cryptography`."""
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    return test_only_key().decrypt(wrapped, oaep)


def key_id() -> bytes:
    """Names the test key: the first 8 bytes of the SHA-256 of its modulus."""
    return hashlib.sha256(modulus()).digest()[:8]
