"""The devices of this gateway: provisioning, retiring, losing, and what verification has to know of each.

Rules that hold here
- A device id is eight fresh random bytes at every provisioning; a recovered device is provisioned anew and never gets
  its old id back. The hardware's own name is only a label.
- A retired or lost device stays in the registry with its key. It is cut off at the broker; what was on its way is still
  taken and its alarms are raised, labelled so.
- P_0 and the TLS key leave with the package and are kept nowhere; K_dev is kept sealed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway import steps
from lapel_gateway.devices.cutting import CUT_ALL, CUT_TO_ALARMS
from lapel_gateway.devices.wanted import WantedError, check_settings
from lapel_gateway.durable import write_file
from lapel_gateway.keystore import KeyStore, KeyStoreError, OrganisationKey
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import DEVICE_ACTIVE, DEVICE_LOST, DEVICE_RETIRED
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.log import printable
from lapel_gateway.pki import DeviceIdentity
from lapel_gateway.verify import Trust
from lapel_protocol import SUITE_TINK_4KB
from lapel_protocol.keys import chain_start
from lapel_protocol.limits import DEVICE_ID_BYTES, KEY_BYTES

MAX_LABEL_CHARACTERS = 80
"""Of a device's or person's name: one line of a table."""

# Built once: it is asked for every batch and every alarm.
_TRUST = Direct(
    sa.select(
        devices.c.device,
        devices.c.state,
        devices.c.person,
        devices.c.minimum_suite,
        devices.c.authenticated_epoch,
        devices.c.boot_floor,
        devices.c.boot,
        devices.c.sealed_key,
    ).where(devices.c.device == sa.bindparam("of_device"))
)

_log = structlog.get_logger("lapel.registry")


class RegistryError(Exception):
    """The request about a device cannot be met; the message says why and what to do."""


@dataclass(frozen=True)
class Package:
    """What one device is given. The secrets are in memory only until whoever provisions has written them to it."""

    device: bytes
    name: str
    config: Mapping[str, Any]
    """The content of the device's ``/config.json``."""
    identity: DeviceIdentity | None
    """None where the broker asks for no certificate (the embedded one)."""
    chain_key: bytes = field(repr=False)
    """CK_0, for the key sectors."""
    pool: bytes = field(repr=False)
    """P_0, for the key sectors; the gateway does not keep it."""

    def write(self, folder: Path) -> None:
        """Write the device's files below ``folder``, which must not exist: config.json and, with TLS, tls/*.der.

        The key sectors' image is not among them: its layout is the firmware's. Raises OSError.
        """
        folder.mkdir(parents=True)
        write_file(folder / "config.json", json.dumps(self.config, indent=1).encode())
        if self.identity is not None:
            (folder / "tls").mkdir(mode=0o700)
            write_file(folder / "tls" / "ca.der", self.identity.ca_der)
            write_file(folder / "tls" / "cert.der", self.identity.certificate_der)
            write_file(folder / "tls" / "key.der", self.identity.key_der, 0o600)


@dataclass(frozen=True)
class DeviceInfo:
    """One device for lists. Times are Unix milliseconds."""

    device: str
    state: str
    name: str
    person: str
    provisioned_ms: int
    ended_ms: int | None
    boot: int | None
    contact_ms: int | None
    status: Mapping[str, Any]


class Registry:
    """Devices in the ledger, their keys opened with the key store."""

    def __init__(self, engine: sa.Engine, keystore: KeyStore, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._engine = engine
        self._keystore = keystore
        self._entropy = entropy
        self._k_dev: dict[str, tuple[bytes, bytes]] = {}
        self._damaged: set[str] = set()

    def provision(
        self,
        name: str,
        person: str,
        organisation: OrganisationKey,
        host: str,
        port: int,
        server_hostname: str,
        now_ms: int,
        build_ms: int,
        issue: Callable[[bytes, int], DeviceIdentity] | None = None,
        settings: Mapping[str, int] | None = None,
        follows: str | None = None,
    ) -> Package:
        """Enter a new device called ``name``, worn by ``person`` ("" = nobody yet), and return what it must be given.
        ``follows`` is the device that the same hardware was until now: it is retired in the same commit.

        ``issue`` makes its certificate (`Pki.issue_device`; None = no TLS); ``build_ms`` is the Unix time before which
        its clock is certainly wrong; ``settings`` differ from the defaults. Raises RegistryError, KeyStoreError.
        """
        return self.provision_many(
            [(name, person)], organisation, host, port, server_hostname, now_ms, build_ms, issue, settings, follows
        )[0]

    def provision_many(
        self,
        wearers: Sequence[tuple[str, str]],
        organisation: OrganisationKey,
        host: str,
        port: int,
        server_hostname: str,
        now_ms: int,
        build_ms: int,
        issue: Callable[[bytes, int], DeviceIdentity] | None = None,
        settings: Mapping[str, int] | None = None,
        follows: str | None = None,
    ) -> list[Package]:
        """`provision` for each (device's name, person), in one commit: all of them are entered, or none."""
        labels = [(_label(name, "device"), _label(person, "person", empty=True)) for name, person in wearers]
        try:
            check_settings(settings or {})
        except WantedError as error:
            raise RegistryError(str(error)) from None
        if len({name for name, _ in labels}) < len(labels):
            raise RegistryError("two of these devices have the same name")
        config = {
            "org_modulus": organisation.modulus.hex(),
            "key_id": organisation.key_id.hex(),
            "host": host,
            "port": port,
            "server_hostname": server_hostname,
            "build_ms": build_ms,
            "settings": dict(settings or {}),
        }
        rows, packages = [], []
        for name, person in labels:
            device, k_dev = self._entropy(DEVICE_ID_BYTES), self._entropy(KEY_BYTES)
            identity = issue(device, now_ms) if issue else None
            serial = f"{identity.serial:x}" if identity else ""
            row = self._row(device, k_dev, name, person, now_ms, settings or {})
            rows.append({**row, "certificate_serial": serial, "follows": follows})
            own = {"device": device.hex(), "tls": identity is not None, **config}
            chain_key, pool = chain_start(k_dev, device), self._entropy(KEY_BYTES)
            packages.append(Package(device, name, own, identity, chain_key=chain_key, pool=pool))
        with writing(self._engine) as connection:
            if follows is not None:
                _end(connection, follows, DEVICE_RETIRED, CUT_ALL, now_ms)
            active = connection.execute(sa.select(devices.c.name).where(devices.c.state == DEVICE_ACTIVE)).scalars()
            taken = {name for name, _ in labels}.intersection(active)
            if taken:
                raise RegistryError(
                    f"an active device is called {min(taken)!r}: retire it first, or choose another name"
                )
            connection.execute(sa.insert(devices), rows)
        steps.reach("registry.sealed")
        return packages

    def list(self) -> list[DeviceInfo]:
        """Every device that ever was, by name, then by age."""
        query = sa.select(devices).order_by(devices.c.name, devices.c.provisioned_ms)
        with reading(self._engine) as connection:
            return [
                DeviceInfo(
                    row.device,
                    row.state,
                    row.name,
                    row.person,
                    row.provisioned_ms,
                    row.ended_ms,
                    row.boot,
                    row.contact_ms,
                    json.loads(row.status),
                )
                for row in connection.execute(query)
            ]

    def find(self, text: str) -> str:
        """The id (16 hex digits) of the device that ``text`` names: its id, a beginning of it, or an active one's name.

        Raises RegistryError when it names none, or several.
        """
        every = self.list()
        found = [info.device for info in every if info.state == DEVICE_ACTIVE and info.name == text]
        if not found and len(text) >= 4:
            found = [info.device for info in every if info.device.startswith(text.lower())]
        if len(found) != 1:
            problem = "names several devices" if found else "names no device"
            raise RegistryError(f"{text!r} {problem}: `lapel device list` shows them all")
        return found[0]

    def retire(self, device: str, now_ms: int) -> None:
        """The device is out of service, and cut off at the broker. Raises RegistryError."""
        with writing(self._engine) as connection:
            _end(connection, device, DEVICE_RETIRED, CUT_ALL, now_ms)

    def mark_lost(self, device: str, now_ms: int, *, keep_alarms: bool = False) -> None:
        """The device is missing or stolen, and cut off at the broker, but for its alarms with ``keep_alarms``.

        Raises RegistryError.
        """
        with writing(self._engine) as connection:
            _end(connection, device, DEVICE_LOST, CUT_TO_ALARMS if keep_alarms else CUT_ALL, now_ms)

    def mark_found(self, device: str, now_ms: int) -> None:
        """A lost device is in hand again: it may hand in what it holds, labelled as before. Raises RegistryError."""
        with writing(self._engine) as connection:
            found = sa.update(devices).where(devices.c.device == device, devices.c.state == DEVICE_LOST)
            if connection.execute(found.values(found_ms=now_ms, cut="")).rowcount != 1:
                raise RegistryError(f"{device} is not marked lost")

    def assign(self, device: str, person: str) -> None:
        """``person`` wears the device from now on; clips and alarms before keep their name. Raises RegistryError."""
        self._update(device, person=_label(person, "person", empty=True))

    def trust(self, connection: sa.Connection, names: Iterable[bytes]) -> dict[bytes, Trust]:
        """What verification needs of each of these devices that is in the registry, fresh from the ledger."""
        found = {}
        for device in sorted(set(names)):
            name = device.hex()
            for row in _TRUST.all(connection, {"of_device": name}):
                _, state, person, minimum_suite, authenticated_epoch, boot_floor, boot, sealed_key = row
                try:
                    k_dev = self._open(name, sealed_key)
                except KeyStoreError as error:
                    # One damaged row must not stop the other devices; this one's records are refused as unknown.
                    if name not in self._damaged:
                        self._damaged.add(name)
                        _log.error("device cannot be verified", device=name, reason=str(error))
                    continue
                newest = -1 if boot is None else boot
                found[device] = Trust(
                    device, name, state, person, minimum_suite, authenticated_epoch, boot_floor, newest, k_dev
                )
        return found

    def check_keys(self) -> None:
        """Raise KeyStoreError when the master key is not the one that this ledger's devices were sealed with."""
        query = sa.select(devices.c.device, devices.c.sealed_key).order_by(devices.c.provisioned_ms.desc()).limit(1)
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is not None:
            self._open(row.device, row.sealed_key)

    def _open(self, name: str, sealed: bytes) -> bytes:
        known = self._k_dev.get(name)
        if known is None or known[0] != sealed:
            known = self._k_dev[name] = (sealed, self._keystore.open(bytes.fromhex(name), sealed))
        return known[1]

    def _row(
        self, device: bytes, k_dev: bytes, name: str, person: str, now_ms: int, settings: Mapping[str, int]
    ) -> dict[str, object]:
        return {
            "device": device.hex(),
            "state": DEVICE_ACTIVE,
            "name": name,
            "person": person,
            "minimum_suite": SUITE_TINK_4KB,
            "sealed_key": self._keystore.seal(device, k_dev),
            "provisioned_ms": now_ms,
            "authenticated_epoch": 0,
            "boot_floor": 0,
            "ledger_to": 0,
            "command_counter": 0,
            "status": "{}",
            "settings": json.dumps(dict(settings)),
        }

    def _update(self, device: str, **values: object) -> None:
        with writing(self._engine) as connection:
            change = sa.update(devices).where(devices.c.device == device).values(values)
            if connection.execute(change).rowcount != 1:
                raise RegistryError(f"there is no device {device}: `lapel device list` shows them all")


def _end(connection: sa.Connection, device: str, state: str, cut: str, now_ms: int) -> None:
    values: dict[str, object] = {"state": state, "ended_ms": now_ms, "cut": cut}
    if state == DEVICE_LOST:
        values["found_ms"] = None  # lost once more
    if connection.execute(sa.update(devices).where(devices.c.device == device).values(values)).rowcount != 1:
        raise RegistryError(f"there is no device {device}: `lapel device list` shows them all")


def _label(text: str, what: str, *, empty: bool = False) -> str:
    text = " ".join(text.split())
    if not (text or empty) or len(text) > MAX_LABEL_CHARACTERS or printable(text) != text:
        raise RegistryError(f"a {what}'s name is 1 to {MAX_LABEL_CHARACTERS} printable characters")
    return text
