"""Where the firmware for a bench comes from: release files that were named, or what this gateway has published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_gateway.settings.config import ConfigError
from lapel_gateway.updates.releases import ReleaseStore, UpdateError
from lapel_gateway.updates.releases import read_signer as read_kept_signer
from lapel_protocol.release import SIGNATURE_BYTES, ReleaseError
from lapel_protocol.releasing import MAX_RELEASE_BYTES, Release, open_release
from lapel_tools.console import NOT_FOUND, CommandError
from lapel_tools.site import Site

from .firmware import read_release


def read_signer(path: Path) -> bytes:
    """The modulus of a signer's public key: PEM, or 384 bytes as on a board. Raises CommandError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
    if len(content) == SIGNATURE_BYTES:
        return content
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CommandError(f"{path} is no public key in PEM") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != 8 * SIGNATURE_BYTES:
        raise CommandError(f"{path} is no RSA key of {8 * SIGNATURE_BYTES} bits")
    return key.public_numbers().n.to_bytes(SIGNATURE_BYTES, "big")


def named_releases(paths: Sequence[Path], signer: Path | None, config: Path | None) -> tuple[list[Release], bytes]:
    """Release files, verified, and the key that they are signed with: the one named, or this gateway's.

    Raises CommandError, FirmwareError and ConfigError.
    """
    modulus = read_signer(signer) if signer is not None else _kept_signer(_site(config))
    if not modulus:
        raise CommandError("who signed it? Name the public key of your firmware's signer: --signer FILE")
    return [read_release(path, modulus) for path in paths], modulus


def published_releases(config: Path | None) -> tuple[list[Release], bytes]:
    """Every release of this gateway, verified, and its signer's key. Raises CommandError and ConfigError."""
    site = _site(config)
    modulus = _kept_signer(site)
    if site is None or not modulus:
        raise CommandError("what shall be put onto it? --release FILE, --image FILE, or both")
    store = ReleaseStore(site.engine, site.config.releases_dir)
    found = []
    for one in store.list():
        try:
            found.append(open_release(store.piece(one.release, 0, MAX_RELEASE_BYTES), modulus))
        except ReleaseError as error:
            raise CommandError(f"release {one.release} of this gateway is spoilt: {error}; publish it again") from None
    if not found:
        raise CommandError(
            "this gateway has no releases: lapel firmware publish FILE, or name one: --release", NOT_FOUND
        )
    return found, modulus


def _site(config: Path | None) -> Site | None:
    """The gateway of this machine, None where there is none."""
    try:
        return Site(config)
    except ConfigError:
        if config is not None:
            raise
        return None


def _kept_signer(site: Site | None) -> bytes:
    try:
        return read_kept_signer(site.config.signer_file) if site is not None else b""
    except UpdateError:
        return b""
