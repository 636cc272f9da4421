"""A real Mosquitto with the configuration that Lapel generates, and certificates of every kind to show it."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.pki import Pki, TlsFiles
from tests.redteam.mqtt_wire import Wire, context_of

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
NOW_MS = int(NOW.timestamp()) * 1000
DAY = datetime.timedelta(days=1)


class BrokerSite:
    """The broker, its CA, and whatever an attacker holds. Certificates here are made without the product's help."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.pki = Pki.ensure(folder / "pki", "Test")
        self.broker = MosquittoProcess(
            folder / "broker", "127.0.0.1", port, self.pki.ensure_broker(["127.0.0.1"], NOW_MS)
        )
        self._made = 0

    def role(self, role: str) -> TlsFiles:
        """The product's own certificate of one of the gateway's connections."""
        return self.pki.ensure_role(role, NOW_MS)

    def device(self, device: bytes) -> TlsFiles:
        """The product's own certificate of a device."""
        identity = self.pki.issue_device(device, NOW_MS)
        certificate = x509.load_der_x509_certificate(identity.certificate_der)
        key = serialization.load_der_private_key(identity.key_der, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return self._keep(certificate, key)

    def forged(
        self,
        name: str | None,
        *,
        authority: Pki | None = None,
        begins: datetime.datetime = NOW - DAY,
        ends: datetime.datetime = NOW + DAY,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> TlsFiles:
        """A certificate with any common name (None = no name at all), signed by this CA or another one."""
        folder = (authority or self.pki).directory
        issuer = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that no authority would certify
            attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)] if name is not None else []
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        return self._keep(certificate, key)

    def self_signed(self, name: str) -> TlsFiles:
        """A certificate that vouches for itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        builder = builder.serial_number(1).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
        return self._keep(builder.sign(key, hashes.SHA256()), key)

    def connect(
        self, files: TlsFiles | None, client_id: str = "x", will: tuple[str, bytes, bool] | None = None
    ) -> Wire:
        """Raises Refused."""
        return Wire(self.port, context_of(files, self.pki.ca_file), client_id, will=will)

    def _keep(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> TlsFiles:
        self._made += 1
        files = TlsFiles(self.pki.ca_file, self.folder / f"{self._made}.pem", self.folder / f"{self._made}.key")
        files.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


@contextmanager
def running(folder: Path, port: int) -> Iterator[BrokerSite]:
    """A site whose broker runs."""
    site = BrokerSite(folder, port)
    site.broker.start()
    try:
        yield site
    finally:
        site.broker.stop()
