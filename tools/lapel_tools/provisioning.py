"""Provisioning a device at this gateway: registry, certificate, copy of its key, and the package that it is given.

A device counts as provisioned when it has all that it is given, as a package or over the cable. Whatever fails before
leaves a retired entry.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lapel_gateway.describe import moment
from lapel_gateway.durable import write_file
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.pki import DeviceIdentity
from lapel_gateway.registry import Package
from lapel_protocol.names import LEVEL_NAMES
from lapel_sim.package import WIFI_NAME, write_key_sectors
from lapel_tools.console import FAILED, CommandError
from lapel_tools.site import Site

PIN_NAMES = ("cancel_pin", "duress_pin")


@contextmanager
def entered(
    site: Site,
    name: str,
    person: str,
    at_ms: int,
    settings: Mapping[str, int] | None = None,
    own: Mapping[str, str | bool] | None = None,
    follows: str | None = None,
) -> Iterator[Package]:
    """A new device called ``name``, entered for as long as the block lasts, and from then on if nothing is raised in
    it; otherwise it is retired. ``follows`` is the device that the hardware was until now; it is retired at once.

    ``own`` are fields of config.json that only this device has, ``read_pins``, ``tamper`` and ``drills``. Raises
    CommandError, RegistryError, KeyStoreError, PkiError and what the block raises.
    """
    broker = site.config.broker
    host = broker.server_name or broker.host
    if host in ("0.0.0.0", "::"):
        raise CommandError("devices need a name to connect to: set [broker] server_name")
    plain = broker.kind == "embedded" or (broker.kind == "external" and broker.ca_file is None)
    issue = None if plain else functools.partial(_issue, site)
    # A clock that shows less than the time of provisioning is certainly wrong.
    wanted = {**_policy(site), **(settings or {})}
    package = site.registry.provision(
        name, person, site.organisation, host, broker.port, host, at_ms, at_ms, issue, wanted, follows
    )
    try:
        try:
            _copy_key(site, package, at_ms)
        except OSError as error:
            raise _unwritten(error, site.config.keys.copy_dir) from None
        yield dataclasses.replace(package, config={**package.config, **(own or {})})
    except BaseException:
        site.registry.retire(package.device.hex(), at_ms)
        raise


def provision_device(
    site: Site,
    name: str,
    person: str,
    out: Path,
    at_ms: int,
    settings: Mapping[str, int] | None = None,
    own: Mapping[str, str | bool] | None = None,
    follows: str | None = None,
    wifi: bytes | None = None,
) -> Package:
    """Enter a device and write its package to the new folder ``out``, key sectors included; ``wifi`` is its
    ``wifi.json``. The package is for the simulator's board.

    Arguments and errors as those of `entered`.
    """
    if out.exists():
        raise CommandError(f"{out} exists: name a new folder")
    with entered(site, name, person, at_ms, settings, own, follows) as package:
        try:
            package.write(out)
            if wifi is not None:
                write_file(out / WIFI_NAME, wifi, 0o600)
            write_key_sectors(out, package.chain_key, package.pool)
        except OSError as error:
            shutil.rmtree(out, ignore_errors=True)
            raise _unwritten(error, out) from None
    return package


def _unwritten(error: OSError, folder: Path | None) -> CommandError:
    where = error.filename or folder
    return CommandError(f"{where}: {error.strerror or error}; the device was not provisioned", FAILED)


def provision_again(
    site: Site,
    device: str,
    out: Path,
    at_ms: int,
    own: Mapping[str, str | bool] | None = None,
    wifi: bytes | None = None,
) -> Package:
    """New keys and a new package for the hardware that is ``device`` until now, with its name, wearer and settings.

    ``own`` and ``wifi``, which nobody here remembers, and errors as those of `provision_device`.
    """
    name, person, wanted = what_it_was(site, device)
    return provision_device(site, name, person, out, at_ms, wanted, own, device, wifi)


def what_it_was(site: Site, device: str) -> tuple[str, str, dict[str, int]]:
    """Name, wearer and wanted settings of a device, for the one that follows it."""
    with reading(site.engine) as connection:
        row = connection.execute(sa.select(devices).where(devices.c.device == device)).one()
    wanted = {name: value for name, value in json.loads(row.settings).items() if name != "version"}
    return row.name, row.person, wanted


def clips_held(site: Site, device: str) -> int:
    """How many clips a device held when it was last heard of."""
    with reading(site.engine) as connection:
        status = connection.execute(sa.select(devices.c.status).where(devices.c.device == device)).scalar_one()
    return int(json.loads(status).get("clips_held") or 0)


def refuse_to_lose_clips(site: Site, device: str, lose_clips: bool) -> None:
    """Raise CommandError where new keys for ``device`` would be the end of clips, unless they are given up."""
    held = 0 if lose_clips else clips_held(site, device)
    if held:
        raise CommandError(
            f"{device} holds {held} clips that are not here, and new keys are the end of them: leave it switched "
            "on and in reach until they are, or give them up with --lose-clips"
        )


def read_pins(path: Path) -> dict[str, str]:
    """The sequences in a file of lines like ``cancel_pin=SLSS``. Raises CommandError, which repeats none of them."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{path} cannot be read") from None
    pins: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, symbols = (part.strip() for part in line.partition("="))
        if name not in PIN_NAMES or name in pins or not re.fullmatch("[SL]{4,8}", symbols):
            raise CommandError(f"{path}: each line is cancel_pin= or duress_pin= and 4 to 8 letters S and L")
        pins[name] = symbols
    if len(set(pins.values())) != len(pins):
        raise CommandError(f"{path}: cancel_pin and duress_pin are the same")
    return pins


def _policy(site: Site) -> dict[str, int]:
    """Device settings that follow from the gateway's own."""
    return {"delete_level": LEVEL_NAMES.index(site.config.custody.delete_level)}


def _issue(site: Site, device: bytes, at_ms: int) -> DeviceIdentity:
    """Certificate and key from this installation's CA; the CA that the device trusts is the broker's."""
    identity = site.pki.issue_device(device, at_ms)
    ca_file = site.config.broker.ca_file
    if ca_file is None:
        return identity
    broker_ca = x509.load_pem_x509_certificate(ca_file.read_bytes()).public_bytes(Encoding.DER)
    return DeviceIdentity(broker_ca, identity.certificate_der, identity.key_der)


def _copy_key(site: Site, package: Package, at_ms: int) -> None:
    """Copy the sealed K_dev off this machine, where that is set up; without the master key nobody can use the copy."""
    folder = site.config.keys.copy_dir
    if folder is None:
        return
    device = package.device.hex()
    with reading(site.engine) as connection:
        sealed = connection.execute(sa.select(devices.c.sealed_key).where(devices.c.device == device)).scalar_one()
    facts = {"device": device, "name": package.name, "provisioned": moment(at_ms), "sealed_key": sealed.hex()}
    write_file(folder / f"{device}.json", json.dumps(facts, indent=2).encode() + b"\n")
