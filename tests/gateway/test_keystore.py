"""Secrets at rest."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lapel_gateway.keystore import KeyStore, KeyStoreError, OrganisationKey
from lapel_protocol.errors import Unopenable
from lapel_protocol.wrap import wrap_seed
from tests.support.device import organisation_key, public_half

DEVICE = bytes(range(8))
K_DEV = bytes(range(32))


def test_a_sealed_device_key_opens_with_the_same_master_key_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    sealed = KeyStore.create(path).seal(DEVICE, K_DEV)
    assert K_DEV not in sealed
    assert KeyStore.load(path).open(DEVICE, sealed) == K_DEV


def test_a_key_is_never_sealed_twice_alike() -> None:
    store = KeyStore(bytes(32))
    assert store.seal(DEVICE, K_DEV) != store.seal(DEVICE, K_DEV)


@pytest.mark.parametrize("at", [0, 12, -1])
def test_an_altered_sealed_key_is_refused(at: int) -> None:
    store = KeyStore(bytes(32))
    sealed = bytearray(store.seal(DEVICE, K_DEV))
    sealed[at] ^= 1
    with pytest.raises(KeyStoreError, match="does not open") as raised:
        store.open(DEVICE, bytes(sealed))
    assert K_DEV.hex() not in str(raised.value)


def test_a_sealed_key_moved_to_another_device_is_refused() -> None:
    store = KeyStore(bytes(32))
    with pytest.raises(KeyStoreError):
        store.open(bytes(8), store.seal(DEVICE, K_DEV))


def test_another_master_key_opens_nothing() -> None:
    with pytest.raises(KeyStoreError, match="own master key"):
        KeyStore(bytes([1] * 32)).open(DEVICE, KeyStore(bytes(32)).seal(DEVICE, K_DEV))


def test_the_master_key_file_is_its_owners_alone_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    KeyStore.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyStoreError, match="not replaced"):
        KeyStore.create(path)


def test_a_master_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    KeyStore.create(path)
    path.chmod(0o640)
    with pytest.raises(KeyStoreError, match="chmod 600"):
        KeyStore.load(path)


@pytest.mark.parametrize("text", ["", "00" * 31, "zz" * 32, "\xff" * 64])
def test_a_file_that_is_no_master_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(KeyStoreError) as raised:
        KeyStore.load(path)
    assert not text or text not in str(raised.value)


def test_a_missing_master_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="missing: restore it"):
        KeyStore.load(tmp_path / "master.key")


def test_the_organisations_key_unwraps_what_a_device_wrapped() -> None:
    key = organisation_key()
    seed = os.urandom(32)
    assert key.unwrap(wrap_seed(seed, os.urandom(32), key.modulus)) == seed


def test_a_seed_wrapped_for_another_organisation_does_not_open() -> None:
    wrapped = wrap_seed(bytes(32), bytes(32), organisation_key(1).modulus)
    with pytest.raises(Unopenable):
        organisation_key().unwrap(wrapped)


def test_the_public_half_verifies_and_opens_nothing() -> None:
    half = public_half(organisation_key())
    assert half.key_id == organisation_key().key_id
    assert not half.can_open
    with pytest.raises(KeyStoreError, match="kept elsewhere"):
        half.unwrap(bytes(384))


def test_both_halves_are_read_from_pem_files(tmp_path: Path) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    (tmp_path / "private.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (tmp_path / "public.pem").write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert OrganisationKey.load(tmp_path / "private.pem").can_open
    assert not OrganisationKey.load(tmp_path / "public.pem").can_open


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048), "RSA-3072"),
        (lambda: ec.generate_private_key(ec.SECP256R1()), "not an RSA key"),
    ],
)
def test_a_key_of_another_kind_is_refused(tmp_path: Path, make: object, complaint: str) -> None:
    assert callable(make)
    key = make()
    path = tmp_path / "key.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(KeyStoreError, match=complaint):
        OrganisationKey.load(path)


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PUBLIC KEY-----\nnothing\n")
    with pytest.raises(KeyStoreError, match="PEM"):
        OrganisationKey.load(path)
