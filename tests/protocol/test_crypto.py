"""The primitives against the values that their standards print; the vectors cover the rest (SPEC section 4)."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lapel_protocol.crypto import AesCtr, Mac, crc32, equal, hkdf, sampled, sha256
from lapel_protocol.keys import EpochKeys
from lapel_protocol.wrap import key_id


def test_sha256_is_that_of_fips_180() -> None:
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(b"abc").hex() == sha256(b"a", b"", memoryview(b"bc")).hex() == abc


@pytest.mark.parametrize(
    ("key", "data", "tag"),
    [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    ],
)
def test_hmac_is_that_of_rfc_4231(key: bytes, data: bytes, tag: str) -> None:
    mac = Mac(key)
    assert mac.digest(data).hex() == tag
    assert mac.digest(data[:3], data[3:]).hex() == tag, "a Mac can be used again, and in parts"


@pytest.mark.parametrize(
    ("ikm", "salt", "info", "okm"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "0b" * 22,
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_hkdf_is_that_of_rfc_5869(ikm: str, salt: str, info: str, okm: str) -> None:
    assert hkdf(bytes.fromhex(ikm), bytes.fromhex(salt), bytes.fromhex(info), 42).hex() == okm


def test_counter_mode_is_aes_of_the_iv_and_a_block_number_from_zero() -> None:
    key, iv = bytes(range(32)), bytes.fromhex("00112233445566778899aabb")
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    wanted = ecb.update(iv + bytes(4)) + ecb.update(iv + b"\0\0\0\1")
    data = bytearray(32)
    AesCtr(key).apply(iv, memoryview(data))
    assert data == wanted
    AesCtr(key).apply(iv, memoryview(data))
    assert data == bytes(32), "counter mode undoes itself"


def test_crc32_is_that_of_zip_files() -> None:
    assert crc32(b"123456789") == crc32(b"1234", b"56789") == 0xCBF43926
    assert crc32() == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("length", [*range(70), *range(126, 135), 4024, 4062, 4063, 4064])
def test_sampled_words_are_those_at_multiples_of_64_that_are_whole(length: int, kind: type) -> None:
    data = hashlib.shake_256(b"sampled").digest(length)
    words = [data[at : at + 4] for at in range(0, length, 64) if at + 4 <= length]
    assert bytes(sampled(kind(data))) == b"".join(words)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (b"", b"", True),
        (b"tag", b"tag", True),
        (b"tag", b"tah", False),
        (b"tag", b"uag", False),
        (b"tag", b"tag\0", False),
        (b"tag", b"ta", False),
        (b"", b"\0", False),
    ],
)
def test_equal_compares_lengths_and_every_byte(a: bytes, b: bytes, same: bool) -> None:
    assert equal(a, b) is same
    assert equal(memoryview(bytearray(a)), b) is same


def test_keys_longer_than_a_block_are_refused_rather_than_hashed() -> None:
    Mac(bytes(64))
    with pytest.raises(ValueError, match="longer than one block"):
        Mac(bytes(65))


def test_a_chain_key_is_not_kept_by_the_keys_made_from_it() -> None:
    chain_key = bytes(range(32))
    assert chain_key not in vars(EpochKeys(chain_key)).values()


def test_a_key_id_is_of_the_whole_modulus() -> None:
    modulus = b"\x80" + bytes(382) + b"\x01"
    assert key_id(modulus) == sha256(modulus)[:8]
