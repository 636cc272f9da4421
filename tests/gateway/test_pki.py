"""Certificates: what they say, how they are kept, and that the real MicroPython gets through to a real Mosquitto."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lapel_gateway import pki as pki_module
from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.durable import write_file
from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.pki import BACKDATED_TO, DeviceIdentity, Pki, PkiError, TlsFiles, create_organisation_key
from tests.rings import find_program

NOW_MS = 1_790_000_000_000
YEAR_MS = 365 * 86_400_000
DEVICE = bytes.fromhex("0123456789abcdef")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.ensure(tmp_path / "pki", "Test council")


def certificate(files: TlsFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.certificate_file.read_bytes())


def test_ca_and_broker_are_backdated_for_devices_whose_clock_is_at_build_time(pki: Pki) -> None:
    ca = x509.load_der_x509_certificate(pki.ca_der)
    broker = certificate(pki.ensure_broker(["127.0.0.1"], NOW_MS))
    assert ca.not_valid_before_utc == broker.not_valid_before_utc == BACKDATED_TO
    assert BACKDATED_TO.year == 2020


def test_a_device_certificate_names_the_device_and_nothing_else(pki: Pki) -> None:
    identity = pki.issue_device(DEVICE, NOW_MS)
    issued = x509.load_der_x509_certificate(identity.certificate_der)
    assert issued.subject.rfc4514_string() == "CN=0123456789abcdef"
    issued.verify_directly_issued_by(x509.load_der_x509_certificate(pki.ca_der))
    key = serialization.load_der_private_key(identity.key_der, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == issued.public_key()


def test_a_device_key_is_not_kept_and_not_shown(pki: Pki) -> None:
    before = sorted(pki.directory.iterdir())
    identity = pki.issue_device(DEVICE, NOW_MS)
    assert sorted(pki.directory.iterdir()) == before
    assert repr(identity.key_der) not in repr(identity)
    assert "key_der" not in repr(identity)


def test_private_keys_are_for_their_owner_alone(pki: Pki) -> None:
    pki.ensure_broker(["127.0.0.1"], NOW_MS)
    pki.ensure_role("ingest", NOW_MS)
    keys = sorted(path.name for path in pki.directory.glob("*.key"))
    assert keys == ["broker.key", "ca.key", "gateway-ingest.key"]
    assert all((pki.directory / name).stat().st_mode & 0o777 == 0o600 for name in keys)


def test_the_same_ca_is_opened_again(pki: Pki) -> None:
    assert Pki.ensure(pki.directory, "Another name").ca_der == pki.ca_der


def test_a_broker_certificate_is_kept_while_it_fits_and_issued_anew_for_another_name_or_near_its_end(pki: Pki) -> None:
    first = certificate(pki.ensure_broker(["127.0.0.1"], NOW_MS))
    assert certificate(pki.ensure_broker(["127.0.0.1"], NOW_MS + YEAR_MS)) == first
    renamed = certificate(pki.ensure_broker(["lapel.example.org", "127.0.0.1"], NOW_MS))
    assert renamed != first
    names = renamed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["lapel.example.org"]
    late = certificate(pki.ensure_broker(["lapel.example.org", "127.0.0.1"], NOW_MS + 9 * YEAR_MS + 86_400_000))
    assert late.not_valid_after_utc > renamed.not_valid_after_utc


def test_a_crash_between_key_and_certificate_never_pairs_them_wrongly(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki.ensure_role("ingest", NOW_MS)
    real = write_file

    def cut(path: Path, content: bytes, mode: int) -> None:
        if path.suffix == ".pem":
            raise KeyboardInterrupt
        real(path, content, mode)

    monkeypatch.setattr(pki_module, "write_file", cut)
    with pytest.raises(KeyboardInterrupt):
        pki.ensure_role("ingest", NOW_MS + 10 * YEAR_MS)
    monkeypatch.undo()
    files = pki.ensure_role("ingest", NOW_MS)
    key = serialization.load_pem_private_key(files.key_file.read_bytes(), None)
    assert key.public_key() == certificate(files).public_key()


def test_a_ca_without_its_key_is_reported_and_not_replaced(pki: Pki) -> None:
    (pki.directory / "ca.key").unlink()
    with pytest.raises(PkiError, match=r"ca\.key is missing: restore"):
        Pki.ensure(pki.directory, "Test council")


def test_a_ca_with_another_key_is_refused(pki: Pki, tmp_path: Path) -> None:
    other = Pki.ensure(tmp_path / "other", "Other")
    (pki.directory / "ca.key").write_bytes((other.directory / "ca.key").read_bytes())
    with pytest.raises(PkiError, match="is not the key of"):
        Pki(pki.directory)


def test_the_organisations_key_is_rsa_3072_in_two_files_and_never_replaced(tmp_path: Path) -> None:
    private, public = tmp_path / "keys" / "private.pem", tmp_path / "keys" / "public.pem"
    create_organisation_key(private, public)
    assert private.stat().st_mode & 0o777 == 0o600
    whole, half = OrganisationKey.load(private), OrganisationKey.load(public)
    assert (whole.can_open, half.can_open) == (True, False)
    assert whole.modulus == half.modulus
    with pytest.raises(PkiError, match="exists and is not replaced"):
        create_organisation_key(private, tmp_path / "new.pem")


CONNECT = """
import socket, sys, tls
port, name, folder, with_cert = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
def read(name):
    with open(folder + "/" + name, "rb") as file:
        return file.read()
context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
context.verify_mode = tls.CERT_REQUIRED
context.load_verify_locations(read("ca.der"))
if with_cert == "yes":
    context.load_cert_chain(read("cert.der"), read("key.der"))
plain = socket.socket()
plain.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
try:
    link = context.wrap_socket(plain, server_hostname=name)
    link.write(b"\\x10\\x0d\\x00\\x04MQTT\\x04\\x02\\x00\\x3c\\x00\\x01x")
    print("connack", link.read(4)[3])
except (OSError, ValueError) as error:
    print("refused", error)
"""


class Handshake:
    """The real MicroPython, at the device's heap size, against a real Mosquitto."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.pki = Pki.ensure(folder / "pki", "Test")

    def outcome(self, name: str = "lapel.test", identity: DeviceIdentity | None = None, with_cert: bool = True) -> str:
        identity = identity or self.pki.issue_device(DEVICE, NOW_MS)
        for file, content in (
            ("ca.der", identity.ca_der),
            ("cert.der", identity.certificate_der),
            ("key.der", identity.key_der),
            ("connect.py", CONNECT.encode()),
        ):
            (self.folder / file).write_bytes(content)
        program = find_program("micropython")
        assert program
        broker = MosquittoProcess(
            self.folder / "broker", "127.0.0.1", self.port, self.pki.ensure_broker(["lapel.test"], NOW_MS)
        )
        broker.start()
        try:
            run = subprocess.run(
                [program, "-X", "heapsize=192K", "connect.py", str(self.port), name, ".", "yes" if with_cert else "no"],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            broker.stop()
        return run.stdout + run.stderr


@pytest.fixture
def handshake(tmp_path: Path, free_port: int) -> Handshake:
    return Handshake(tmp_path, free_port)


@pytest.mark.needs("micropython", "mosquitto")
def test_micropython_gets_through_with_its_certificate(handshake: Handshake) -> None:
    assert handshake.outcome() == "connack 0\n"


@pytest.mark.needs("micropython", "mosquitto")
def test_micropython_without_a_certificate_is_refused(handshake: Handshake) -> None:
    assert handshake.outcome(with_cert=False).startswith("refused")


@pytest.mark.needs("micropython", "mosquitto")
def test_micropython_refuses_a_broker_of_another_name(handshake: Handshake) -> None:
    assert "Common Name" in handshake.outcome(name="impostor.test")


@pytest.mark.needs("micropython", "mosquitto")
def test_micropython_refuses_a_broker_of_another_ca(handshake: Handshake, tmp_path: Path) -> None:
    stranger = Pki.ensure(tmp_path / "stranger", "Test").issue_device(DEVICE, NOW_MS)
    assert "refused" in handshake.outcome(identity=stranger)


@pytest.mark.needs("micropython", "mosquitto")
def test_micropython_refuses_a_broker_certificate_from_its_future_so_backdating_matters(
    handshake: Handshake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pki_module, "BACKDATED_TO", BACKDATED_TO.replace(year=2048))
    monkeypatch.setattr(pki_module, "VALID_DAYS", 20_000)
    assert "refused" in handshake.outcome()


def test_roles_that_start_side_by_side_get_certificates_that_fit_their_keys(pki: Pki) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from lapel_gateway.pki import Pki\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"Pki.ensure(Path(sys.argv[1]), 'Test council').ensure_role('ingest', {NOW_MS})\n"
    )
    command = [sys.executable, "-c", script, str(pki.directory)]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(6)
        ]
        assert [process.stdout.readline() for process in started if process.stdout] == ["ready\n"] * 6
        for process in started:
            if process.stdin:
                process.stdin.write("\n")
                process.stdin.flush()
        assert [process.wait(60) for process in started] == [0] * 6
    files = pki.ensure_role("ingest", NOW_MS)
    key = serialization.load_pem_private_key(files.key_file.read_bytes(), None)
    assert key.public_key() == certificate(files).public_key()


def test_a_certificate_that_is_not_its_keys_is_issued_anew(pki: Pki) -> None:
    files, other = pki.ensure_role("ingest", NOW_MS), pki.ensure_role("alarms", NOW_MS)
    files.key_file.write_bytes(other.key_file.read_bytes())
    before = certificate(files)
    assert certificate(pki.ensure_role("ingest", NOW_MS)) != before
    key = serialization.load_pem_private_key(files.key_file.read_bytes(), None)
    assert key.public_key() == certificate(files).public_key()
