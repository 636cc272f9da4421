"""Device packages: the folder that a board is provisioned from, and packages for devices that no gateway knows.

A package is a plain folder: `config.json`, for TLS `tls/ca.der`, `tls/cert.der` and `tls/key.der`, for boards that join
Wi-Fi `wifi.json`, and `sectors.bin`, the raw image of the key sectors. It holds the device's secrets: whoever made it
removes it afterwards.
"""

import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_build.key_sectors import SECTOR_BYTES, key_sectors_image
from lapel_protocol.keys import chain_start
from lapel_protocol.limits import DEVICE_ID_BYTES, KEY_BYTES, RSA_BYTES
from lapel_protocol.wrap import key_id

SECTORS_NAME = "sectors.bin"
CONFIG_NAME = "config.json"
WIFI_NAME = "wifi.json"
TLS_NAMES = ("tls/ca.der", "tls/cert.der", "tls/key.der")
_RSA_EXPONENT = 65537
# A port of 127.0.0.1 on which nothing answers: the discard service, which no machine offers any more.
_NO_BROKER = ("127.0.0.1", 9)


class BadPackage(Exception):
    """The folder is not a device package; the message says what is wrong with it."""


@dataclass(frozen=True)
class Package:
    """What a device is given: files by their path on it, and the image of its key sectors."""

    device: str
    files: dict[str, bytes] = field(repr=False)
    sectors: bytes = field(repr=False)
    broker: tuple[str, int] | None = None


def read_package(folder: Path) -> Package:
    """Read and check a package. Raises BadPackage."""
    try:
        config = (folder / CONFIG_NAME).read_bytes()
        sectors = (folder / SECTORS_NAME).read_bytes()
        facts = json.loads(config)
    except (OSError, ValueError, RecursionError) as error:
        raise BadPackage(f"{folder}: {error}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("device"), str):
        raise BadPackage(f"{folder / CONFIG_NAME} names no device")
    files = {"/" + CONFIG_NAME: config}
    for name in (*TLS_NAMES, WIFI_NAME):
        path = folder / name
        if path.is_file():
            files["/" + name] = path.read_bytes()
    if facts.get("tls") and not all("/" + name in files for name in TLS_NAMES):
        raise BadPackage(f"{folder}: TLS is wanted but {', '.join(TLS_NAMES)} are not all there")
    if not sectors or len(sectors) % SECTOR_BYTES:
        raise BadPackage(
            f"{folder / SECTORS_NAME} has {len(sectors)} bytes, which are not whole sectors of {SECTOR_BYTES}"
        )
    host, port = facts.get("host"), facts.get("port")
    broker = (host, port) if isinstance(host, str) and isinstance(port, int) else None
    return Package(facts["device"], files, sectors, broker)


def write_key_sectors(folder: Path, chain_key: bytes, pool: bytes) -> None:
    """Add the key sectors to a package that a gateway wrote: CK_0 and P_0, 32 bytes each. The file is readable by its
    owner only.
    """
    _write_secret(folder / SECTORS_NAME, key_sectors_image(chain_key, pool))


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)


@dataclass(frozen=True)
class OfflineDevice:
    """A device that no gateway knows, and the secrets with which a test opens what it records."""

    folder: Path
    device: bytes
    k_dev: bytes = field(repr=False)
    private_key: rsa.RSAPrivateKey = field(repr=False)


@cache
def _organisation() -> rsa.RSAPrivateKey:
    """One for the process: making an RSA-3072 key takes a good part of a second."""
    return rsa.generate_private_key(_RSA_EXPONENT, RSA_BYTES * 8)


def offline_package(
    folder: Path,
    host: str = _NO_BROKER[0],
    port: int = _NO_BROKER[1],
    settings: dict[str, int] | None = None,
    build_ms: int = 0,
) -> OfflineDevice:
    """Make a package for a device of its own organisation, without TLS, in `folder` (created)."""
    folder.mkdir(parents=True, exist_ok=True)
    device, k_dev = os.urandom(DEVICE_ID_BYTES), os.urandom(KEY_BYTES)
    private_key = _organisation()
    modulus = private_key.public_key().public_numbers().n.to_bytes(RSA_BYTES, "big")
    config: dict[str, Any] = {
        "device": device.hex(),
        "org_modulus": modulus.hex(),
        "key_id": key_id(modulus).hex(),
        "host": host,
        "port": port,
        "tls": False,
        "server_hostname": "",
        "build_ms": build_ms,
        "settings": settings or {},
    }
    (folder / CONFIG_NAME).write_text(json.dumps(config), encoding="utf-8")
    write_key_sectors(folder, chain_start(k_dev, device), os.urandom(KEY_BYTES))
    return OfflineDevice(folder, device, k_dev, private_key)
