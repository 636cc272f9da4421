"""A whole installation for load: a real Mosquitto, a real gateway in processes of its own, thousands of devices.

The broker is this site's rather than the gateway's, so that it can be killed and started again. Devices are entered in
one commit; what each is given stays in memory, but for its certificate, which a TLS connection reads from a file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding

from lapel_gateway.brokers import GATEWAY_CONNECTIONS
from lapel_gateway.brokers.mosquitto import MosquittoProcess, raise_open_files
from lapel_gateway.keystore import KeyStore
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.clips import UNFINISHED
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.pki import DeviceIdentity, Pki, TlsFiles, create_organisation_key
from lapel_gateway.registry import Package
from lapel_gateway.settings.template import write_template
from lapel_tools.console import FAILED, CommandError, now_ms
from lapel_tools.demo.installation import free_port
from lapel_tools.processes import Usage, tree, usage
from lapel_tools.site import Site

HOST = "127.0.0.1"
START_S = 60.0
STOP_S = 30.0
SPARE_FILES = 200
"""Open files that broker and fleet need besides one for each device."""


class LoadSite:
    """Below ``folder``, which is made. Use as a context manager: at its end gateway and broker stop."""

    def __init__(self, folder: Path, *, tls: bool) -> None:
        """Make keys, certificates, configuration and broker. Raises what these raise."""
        self.folder = folder
        self.tls = tls
        self._gateways: list[subprocess.Popen[bytes]] = []
        self._spent = Usage()
        data = folder / "data"
        keys = data / "keys"
        KeyStore.create(keys / "master.key")
        # Clips stay sealed here: the load is noise that no viewer could show.
        create_organisation_key(keys / "organisation-private.pem", keys / "organisation.pem")
        port = free_port()
        sections: dict[str, dict[str, Any]] = {
            "gateway": {"organisation": "Load", "data_dir": data},
            "keys": {"organisation_public_key_file": keys / "organisation.pem"},
            "broker": {"kind": "external", "host": HOST, "port": port},
            "web": {"port": free_port()},
        }
        broker_files: TlsFiles | None = None
        if tls:
            pki = Pki.ensure(data / "pki", "Load")
            broker_files = pki.ensure_broker([HOST, "localhost"], now_ms())
            for role in GATEWAY_CONNECTIONS:
                files = pki.ensure_role(role, now_ms())
            sections["broker"] |= {
                "ca_file": pki.ca_file,
                "certificate_file": files.certificate_file.with_name("gateway-{role}.pem"),
                "key_file": files.key_file.with_name("gateway-{role}.key"),
            }
        self.config_file = folder / "lapel.toml"
        write_template(self.config_file, sections)
        self.site = Site(self.config_file)
        self.broker = MosquittoProcess(data / "broker", HOST, port, broker_files)

    def provision(self, count: int) -> list[Package]:
        """Enter so many devices. Raises CommandError when the system does not permit so many connections."""
        files = raise_open_files()
        if count + SPARE_FILES > files:
            raise CommandError(
                f"{count} devices need {count + SPARE_FILES} open files and the system permits {files}: "
                f"raise the hard limit (ulimit -Hn, LimitNOFILE=), or take fewer devices"
            )
        at_ms = now_ms()
        issue = self.site.pki.issue_device if self.tls else None
        broker = self.site.config.broker
        names = [(f"device-{number}", "") for number in range(count)]
        packages = self.site.registry.provision_many(
            names, self.site.organisation, broker.host, broker.port, HOST, at_ms, at_ms, issue
        )
        if self.tls:
            (self.folder / "tls").mkdir(mode=0o700)
            for package in packages:
                if package.identity is not None:
                    self.identity_file(package).touch(mode=0o600)
                    self.identity_file(package).write_bytes(_pem(package.identity))
        return packages

    def identity_file(self, package: Package) -> Path:
        """Certificate and key of a device in one PEM file."""
        return self.folder / "tls" / f"{package.device.hex()}.pem"

    @property
    def ca_file(self) -> Path:
        """The CA that signed the broker and the devices."""
        return self.site.pki.ca_file

    # -- processes --------------------------------------------------------------------------------------------------

    def start(self, split: Sequence[Sequence[str]] = ((),)) -> None:
        """Start the broker, then a gateway process for each group of roles; () is all of them, as by default.

        Raises BrokerError, and CommandError with the end of the log when a process does not start.
        """
        self.broker.start()
        for roles in split:
            self._gateways.append(self._start_gateway(roles))
        wanted = len(GATEWAY_CONNECTIONS)
        deadline = time.monotonic() + START_S
        while self._log().count("broker connected") < wanted:
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._gateways):
                tail = "\n".join(self._log().splitlines()[-12:])
                raise CommandError(f"the gateway did not start:\n{tail}", FAILED)
            time.sleep(0.05)

    def kill_broker(self) -> None:
        """End Mosquitto as a crash would."""
        spent = usage(self.broker.pid)
        self._spent = Usage(self._spent.cpu_s + spent.cpu_s, max(self._spent.peak_mib, spent.peak_mib))
        self.broker.kill()

    def stop(self) -> None:
        """End gateway and broker; harmless when they have ended."""
        for process in self._gateways:
            process.send_signal(signal.SIGTERM)
        for process in self._gateways:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._gateways.clear()
        self.broker.stop()

    def usages(self) -> dict[str, Usage]:
        """What gateway, broker and this process (the fleet) have cost since they started."""
        gateway = Usage()
        for process in self._gateways:
            for one in tree(process.pid):
                gateway += usage(one)
        broker = usage(self.broker.pid)
        broker = Usage(broker.cpu_s + self._spent.cpu_s, max(broker.peak_mib, self._spent.peak_mib))
        return {"gateway": gateway, "broker": broker, "fleet": usage(os.getpid())}

    def __enter__(self) -> LoadSite:
        # By default SIGTERM would end this process and leave broker and gateway behind.
        self._before = signal.signal(signal.SIGTERM, _leave)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        signal.signal(signal.SIGTERM, self._before)

    # -- what the gateway knows -------------------------------------------------------------------------------------

    def in_contact_since(self, at_ms: int) -> int:
        """Devices whose contact the gateway has noted since then (Unix milliseconds)."""
        with reading(self.site.engine) as connection:
            query = sa.select(sa.func.count()).select_from(devices).where(devices.c.contact_ms >= at_ms)
            return int(connection.execute(query).scalar_one())

    def alarms(self) -> int:
        """Alarms in the ledger."""
        with reading(self.site.engine) as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(alarm)).scalar_one())

    def clips_held(self) -> int:
        """Clips that the gateway holds whole."""
        with reading(self.site.engine) as connection:
            held = clips.c.state.not_in(UNFINISHED)
            return int(connection.execute(sa.select(sa.func.count()).select_from(clips).where(held)).scalar_one())

    def _start_gateway(self, roles: Sequence[str]) -> subprocess.Popen[bytes]:
        chosen = [word for role in roles for word in ("--role", role)]
        with (self.folder / "gateway.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "lapel_tools", "gateway", "run", "--config", str(self.config_file), *chosen],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _log(self) -> str:
        try:
            return (self.folder / "gateway.log").read_text(errors="replace")
        except OSError:
            return ""


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _pem(identity: DeviceIdentity) -> bytes:
    certificate = x509.load_der_x509_certificate(identity.certificate_der).public_bytes(Encoding.PEM)
    key = serialization.load_der_private_key(identity.key_der, None).private_bytes(
        Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return certificate + key
