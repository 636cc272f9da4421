"""Certificates of one installation: its CA, the broker, one per gateway connection, one per device.

Rules that hold here
- Keys are EC P-256: every board's mbedtls knows it, and a handshake is affordable there.
- CA and broker certificates begin at 2020-01-01: a device that starts cold believes its build time (SPEC, "Time"), and
  would refuse a certificate from its future for ever.
- A device's certificate names nothing but its id; the broker turns that name into user name and client id.
- Private keys stand in files of mode 0600, written whole or not at all. A device's key is made here, handed to
  provisioning and not kept.
- Roles that are processes of their own start side by side: one at a time issues, and a certificate that is not its
  key's is issued anew.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lapel_gateway.durable import write_file
from lapel_protocol.limits import DEVICE_ID_BYTES, RSA_BYTES

BACKDATED_TO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
"""Older than any firmware build."""

CA_ENDS = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)
"""The last year that every X.509 reader writes alike (RFC 5280 section 4.1.2.5)."""

VALID_DAYS = 3650
"""Broker, role and device certificates; devices are provisioned anew long before."""

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644

RENEW_DAYS = 365
"""Broker and role certificates with less time left are issued anew when the gateway starts."""

ROLE_PREFIX = "gateway-"
"""Common names of the gateway's own connections; no device id (hex digits) can look like one."""


class PkiError(Exception):
    """Certificates cannot be made or read; the message says which and what to do."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for one end of a TLS connection."""

    ca_file: Path
    certificate_file: Path
    key_file: Path


@dataclass(frozen=True)
class DeviceIdentity:
    """What a device is given, all DER; the key is SEC 1 (RFC 5915), as mbedtls reads it."""

    ca_der: bytes
    certificate_der: bytes
    key_der: bytes = field(repr=False)

    @property
    def serial(self) -> int:
        """The certificate's serial number, by which it can be revoked."""
        return x509.load_der_x509_certificate(self.certificate_der).serial_number


class Pki:
    """The CA and the certificates it has issued to this gateway, in one folder."""

    def __init__(self, directory: Path) -> None:
        """Open the CA in ``directory``. Raises PkiError when it is missing or damaged."""
        self.directory = directory
        try:
            self._ca = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        except FileNotFoundError as error:
            raise PkiError(f"{error.filename} is missing: restore {directory} from its copy") from None
        except (OSError, ValueError) as error:
            raise PkiError(f"the CA in {directory} cannot be read ({error}): restore it from its copy") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self._ca.public_key():
            raise PkiError(f"{directory / 'ca.key'} is not the key of ca.pem: restore {directory} from its copy")
        self._key = key

    @classmethod
    def ensure(cls, directory: Path, organisation: str) -> Pki:
        """Open the CA in ``directory``, making one for ``organisation`` where there is none. Raises PkiError."""
        if not (directory / "ca.pem").exists():
            with _alone(directory):
                if not (directory / "ca.pem").exists():
                    _create_ca(directory, organisation)
        return cls(directory)

    @property
    def ca_file(self) -> Path:
        """The CA's certificate, PEM."""
        return self.directory / "ca.pem"

    @property
    def ca_der(self) -> bytes:
        """The CA's certificate, DER, for devices."""
        return self._ca.public_bytes(serialization.Encoding.DER)

    def ensure_broker(self, names: Sequence[str], now_ms: int) -> TlsFiles:
        """The broker's certificate for these DNS names and addresses; issued anew if they changed or it ends soon."""
        wanted = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = self._builder(names[0], BACKDATED_TO, now_ms).add_extension(wanted, critical=False)

        def good(current: x509.Certificate) -> bool:
            return not _ends_soon(current, now_ms) and _alternative_names(current) == wanted

        return self._ensure("broker", good, builder, ExtendedKeyUsageOID.SERVER_AUTH)

    def ensure_role(self, role: str, now_ms: int) -> TlsFiles:
        """The certificate ``gateway-<role>`` of one connection of the gateway, issued anew if it ends soon."""
        name = f"{ROLE_PREFIX}{role}"
        builder = self._builder(name, _backdated(now_ms), now_ms)

        def good(current: x509.Certificate) -> bool:
            return not _ends_soon(current, now_ms)

        return self._ensure(name, good, builder, ExtendedKeyUsageOID.CLIENT_AUTH)

    def issue_device(self, device: bytes, now_ms: int) -> DeviceIdentity:
        """A new key and certificate for ``device`` (8 bytes); nothing of it is kept here."""
        if len(device) != DEVICE_ID_BYTES:
            raise ValueError("a device id has 8 bytes")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(device.hex(), _backdated(now_ms), now_ms)
        certificate = self._sign(builder, ExtendedKeyUsageOID.CLIENT_AUTH, key.public_key())
        return DeviceIdentity(
            self.ca_der,
            certificate.public_bytes(serialization.Encoding.DER),
            key.private_bytes(
                serialization.Encoding.DER,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            ),
        )

    def revocation_list(self, serials: Sequence[int], now_ms: int) -> bytes:
        """The certificates that are good for nothing any more, as a PEM revocation list (RFC 5280 section 5).

        It never ends: with one that had ended a broker would refuse every device.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._ca.subject)
            .last_update(BACKDATED_TO)
            .next_update(CA_ENDS)
        )
        for serial in serials:
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(now_ms))
            builder = builder.add_revoked_certificate(one.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _ensure(
        self,
        name: str,
        good: Callable[[x509.Certificate], bool],
        builder: x509.CertificateBuilder,
        usage: x509.ObjectIdentifier,
    ) -> TlsFiles:
        """Have a pair of key and certificate that is good; of several processes one issues it."""
        files = self._files(name)
        current = _read_certificate(files)
        if current is None or not good(current):
            with _alone(self.directory):
                current = _read_certificate(files)
                if current is None or not good(current):
                    self._issue(builder, usage, files)
        return files

    def _files(self, name: str) -> TlsFiles:
        return TlsFiles(self.ca_file, self.directory / f"{name}.pem", self.directory / f"{name}.key")

    def _builder(self, common_name: str, begins: datetime.datetime, now_ms: int) -> x509.CertificateBuilder:
        ends = min(_moment(now_ms) + datetime.timedelta(days=VALID_DAYS), CA_ENDS)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )

    def _sign(
        self, builder: x509.CertificateBuilder, usage: x509.ObjectIdentifier, public_key: ec.EllipticCurvePublicKey
    ) -> x509.Certificate:
        return (
            builder.issuer_name(self._ca.subject)
            .serial_number(x509.random_serial_number())
            .public_key(public_key)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )

    def _issue(self, builder: x509.CertificateBuilder, usage: x509.ObjectIdentifier, files: TlsFiles) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(builder, usage, key.public_key())
        # The certificate is removed first: a crash between two writes must not pair it with another key.
        files.certificate_file.unlink(missing_ok=True)
        write_file(files.key_file, _private_pem(key), PRIVATE_MODE)
        write_file(files.certificate_file, certificate.public_bytes(serialization.Encoding.PEM), PUBLIC_MODE)


def create_organisation_key(private_file: Path, public_file: Path) -> None:
    """Make the organisation's RSA-3072 key pair. Raises PkiError when one of the files exists or cannot be written.

    The private file may then be taken off this machine; devices and verification need the public one only.
    """
    for path in (private_file, public_file):
        if path.exists():
            raise PkiError(f"{path} exists and is not replaced: clips sealed for a lost key never open again")
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BYTES * 8)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        private_file.parent.mkdir(parents=True, exist_ok=True)
        public_file.parent.mkdir(parents=True, exist_ok=True)
        write_file(private_file, _private_pem(key), PRIVATE_MODE)
        write_file(public_file, public, PUBLIC_MODE)
    except OSError as error:
        raise PkiError(f"{error.filename}: the organisation's key cannot be written: {error.strerror}") from None


def _create_ca(directory: Path, organisation: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, "Lapel CA"),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .not_valid_before(BACKDATED_TO)
        .not_valid_after(CA_ENDS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The certificate comes last: its presence says that the CA is whole.
        write_file(directory / "ca.key", _private_pem(key), PRIVATE_MODE)
        write_file(directory / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), PUBLIC_MODE)
    except OSError as error:
        raise PkiError(f"{directory}: the CA cannot be written: {error.strerror}") from None


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes from issuing in `directory`, which is made if need be. Raises PkiError."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (directory / ".lock").open("w")
    except OSError as error:
        raise PkiError(f"{directory}: certificates cannot be written: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_certificate(files: TlsFiles) -> x509.Certificate | None:
    """The certificate of a pair; None where the pair is not whole, or not one."""
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate_file.read_bytes())
        key = serialization.load_pem_private_key(files.key_file.read_bytes(), None)
    except (OSError, ValueError):
        return None
    return certificate if key.public_key() == certificate.public_key() else None


def _ends_soon(certificate: x509.Certificate, now_ms: int) -> bool:
    return certificate.not_valid_after_utc < _moment(now_ms) + datetime.timedelta(days=RENEW_DAYS)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _moment(now_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now_ms // 1000, datetime.UTC)


def _backdated(now_ms: int) -> datetime.datetime:
    """A day back: the broker's clock may be behind the one of the machine that issues."""
    return _moment(now_ms) - datetime.timedelta(days=1)
