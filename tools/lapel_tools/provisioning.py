"""Provisioning a device at this gateway: registry, certificate, copy of its key, and the package that it is given.

A device counts as provisioned when its package is written. Whatever fails before leaves a retired entry and no package.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping
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
from lapel_sim.package import write_key_sectors
from lapel_tools.console import FAILED, CommandError
from lapel_tools.site import Site


def provision_device(
    site: Site, name: str, person: str, out: Path, at_ms: int, settings: Mapping[str, int] | None = None
) -> Package:
    """Enter a device called ``name`` and write its package to the new folder ``out``, key sectors included.

    The package is for the simulator's board. Raises CommandError, RegistryError, KeyStoreError, PkiError.
    """
    if out.exists():
        raise CommandError(f"{out} exists: name a new folder")
    broker = site.config.broker
    host = broker.server_name or broker.host
    if host in ("0.0.0.0", "::"):
        raise CommandError("devices need a name to connect to: set [broker] server_name")
    plain = broker.kind == "embedded" or (broker.kind == "external" and broker.ca_file is None)
    issue = None if plain else functools.partial(_issue, site)
    # A clock that shows less than the time of provisioning is certainly wrong.
    wanted = {**_policy(site), **(settings or {})}
    package = site.registry.provision(
        name, person, site.organisation, host, broker.port, host, at_ms, at_ms, issue, wanted
    )
    try:
        _copy_key(site, package, at_ms)
        package.write(out)
        write_key_sectors(out, package.chain_key, package.pool)
    except OSError as error:
        shutil.rmtree(out, ignore_errors=True)
        site.registry.retire(package.device.hex(), at_ms)
        where = error.filename or out
        raise CommandError(f"{where}: {error.strerror or error}; the device was not provisioned", FAILED) from None
    return package


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
