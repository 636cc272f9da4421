"""Where the firmware for a bench comes from: release files that were named, or what this gateway has published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lapel_gateway.updates.releases import ReleaseStore, UpdateError, read_signer
from lapel_protocol.release import ReleaseError
from lapel_protocol.releasing import MAX_RELEASE_BYTES, Release, open_release
from lapel_tools.console import NOT_FOUND, CommandError
from lapel_tools.site import Site, local_site

from .firmware import read_release


def named_signer(path: Path) -> bytes:
    """The modulus of a signer's public key in a file that somebody named. Raises CommandError."""
    if not path.exists():
        raise CommandError(f"{path} is not there")
    try:
        return read_signer(path)
    except UpdateError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None


def named_releases(paths: Sequence[Path], signer: Path | None, config: Path | None) -> tuple[list[Release], bytes]:
    """Release files, verified, and the key that they are signed with: the one named, or this gateway's.

    Raises CommandError, FirmwareError and ConfigError.
    """
    modulus = named_signer(signer) if signer is not None else _kept_signer(local_site(config))
    if not modulus:
        raise CommandError("who signed it? Name the public key of your firmware's signer: --signer FILE")
    return [read_release(path, modulus) for path in paths], modulus


def published_releases(config: Path | None) -> tuple[list[Release], bytes]:
    """Every release of this gateway, verified, and its signer's key. Raises CommandError and ConfigError."""
    site = local_site(config)
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


def _kept_signer(site: Site | None) -> bytes:
    try:
        return read_signer(site.config.signer_file) if site is not None else b""
    except UpdateError:
        return b""
