"""Alarms published to a real Mosquitto: what arrives, what is refused, and what a broker's trouble costs."""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.brokers.broker import accepts_connections
from lapel_gateway.brokers.embedded import EmbeddedBroker
from lapel_gateway.brokers.mosquitto import find_mosquitto
from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.mqtt import MqttChannel
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.channels.setup import Links, build_channels, mqtt_target
from lapel_gateway.deliver import DeliverRole
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_NOTICE
from lapel_gateway.outbox import Outbox, RetryPolicy
from lapel_gateway.pki import Pki, TlsFiles
from lapel_gateway.settings.channels import MqttOutSection
from lapel_gateway.settings.config import Config, ConfigError, load_config
from tests.gateway.ledgers import new_ledger, queue
from tests.gateway.mqtt import connected
from tests.waiting import wait_until

needs_mosquitto = pytest.mark.needs("mosquitto")
NOW_MS = 1_790_000_000_000
PASSWORD = "correct horse battery"
PAYLOAD: dict[str, Any] = {"what": "raised", "alarm": "00112233aabbccdd-4-2", "person": "Zoë Quinn"}
TOPIC = "site/alarms"


def parcel(attempts: int = 0, kind: str = OUTBOX_ALARM, payload: dict[str, Any] | None = None) -> Parcel:
    return Parcel(7, kind, "mqtt:desk", "alarm-1@mqtt:desk", "alarm 1", payload or PAYLOAD, attempts, 1_760_000)


def section(port: int, **changed: Any) -> MqttOutSection:
    plain = {"name": "desk", "host": "127.0.0.1", "port": port, "topic": TOPIC, "security": "none"}
    return MqttOutSection.model_validate({**plain, **changed})


def channel(port: int, **changed: Any) -> MqttChannel:
    return MqttChannel("desk", mqtt_target(section(port, **changed)))


def refused(channel: MqttChannel) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(parcel(), NOW_MS)
    return caught.value


@contextmanager
def mosquitto(folder: Path, port: int, settings: str = "allow_anonymous true\n") -> Iterator[None]:
    """A broker with these settings, as somebody else would run it."""
    program = find_mosquitto("mosquitto")
    assert program is not None
    user = pwd.getpwuid(os.geteuid()).pw_name
    (folder / "other.conf").write_text(f"user {user}\nlistener {port} 127.0.0.1\npersistence false\n{settings}")
    process = subprocess.Popen([program, "-c", folder / "other.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts_connections("127.0.0.1", port), 30)
        yield
    finally:
        process.terminate()
        process.wait()


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@needs_mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_an_alarm_arrives_as_json_and_a_repeat_is_the_same(tmp_path: Path, free_port: int, version: str) -> None:
    with mosquitto(tmp_path, free_port), connected(free_port) as dashboard:
        dashboard.subscribe("site/#")
        channel(free_port, version=version).deliver(parcel(), NOW_MS)
        channel(free_port, version=version).deliver(parcel(attempts=1), NOW_MS + 60_000)
        (topic, first), (_, second) = dashboard.wait_for(2)

    assert topic == TOPIC
    assert first == second
    assert json.loads(first) == {
        "id": parcel().message_id,
        "type": "alarm.raised",
        "timestamp": "1970-01-01T00:29:20.000Z",
        "data": PAYLOAD,
    }


@needs_mosquitto
@pytest.mark.parametrize("retain", [True, False])
def test_those_who_come_later_see_the_newest_message_only_where_it_is_asked_for(
    tmp_path: Path, free_port: int, retain: bool
) -> None:
    with mosquitto(tmp_path, free_port):
        channel(free_port, retain=retain).deliver(parcel(), NOW_MS)
        with connected(free_port) as late:
            late.subscribe(TOPIC)
            assert len(late.settle()) == (1 if retain else 0)


@needs_mosquitto
def test_a_broker_that_denies_the_topic_is_heard(tmp_path: Path, free_port: int) -> None:
    acl = private(tmp_path / "acl", "topic read site/#\n")
    with mosquitto(tmp_path, free_port, f"allow_anonymous true\nacl_file {acl}\n"):
        error = refused(channel(free_port))

    assert error.refused
    assert str(error) == f"127.0.0.1 refuses messages on {TOPIC}: Not authorized"


@needs_mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_login_that_is_not_good_is_refused_without_showing_it(tmp_path: Path, free_port: int, version: str) -> None:
    login = private(tmp_path / "login", f"lapel\n{PASSWORD}\n")
    passwords = private(tmp_path / "passwords", f"lapel:{PASSWORD}\n")
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, stderr=subprocess.DEVNULL)
    with mosquitto(tmp_path, free_port, f"allow_anonymous false\npassword_file {passwords}\n"):
        channel(free_port, version=version, login_file=login).deliver(parcel(), NOW_MS)
        private(login, "lapel\nwrong horse\n")
        wrong = refused(channel(free_port, version=version, login_file=login))
        none = refused(channel(free_port, version=version))

    for error in (wrong, none):
        assert error.refused
        assert str(error).startswith("127.0.0.1 refuses the connection: ")
        assert "horse" not in str(error)


@pytest.fixture
def tls(tmp_path: Path) -> tuple[TlsFiles, TlsFiles]:
    """Files of a broker and of a client."""
    pki = Pki.ensure(tmp_path / "pki", "Test")
    return pki.ensure_broker(["127.0.0.1"], NOW_MS), pki.ensure_role("desk", NOW_MS)


@needs_mosquitto
def test_tls_with_a_client_certificate(tmp_path: Path, free_port: int, tls: tuple[TlsFiles, TlsFiles]) -> None:
    own, client = tls
    files = {"security": "tls", "ca_file": client.ca_file}
    proof = {"certificate_file": client.certificate_file, "key_file": client.key_file}
    settings = f"cafile {own.ca_file}\ncertfile {own.certificate_file}\nkeyfile {own.key_file}\n"
    with mosquitto(tmp_path, free_port, f"{settings}require_certificate true\nallow_anonymous true\n"):
        channel(free_port, **files, **proof).deliver(parcel(), NOW_MS)
        without = refused(channel(free_port, **files))
        stranger = refused(channel(free_port, security="tls"))

    assert not without.refused
    assert "certificate verify failed" in str(stranger).lower()


def test_the_embedded_broker_takes_messages_too(free_port: int) -> None:
    broker = EmbeddedBroker(free_port)
    broker.start()
    try:
        with connected(free_port) as dashboard:
            dashboard.subscribe(TOPIC)
            channel(free_port, version="3.1.1").deliver(parcel(), NOW_MS)
            assert dashboard.wait_for(1)[0][0] == TOPIC
    finally:
        broker.stop()


def test_a_broker_that_is_not_there_is_an_error_that_says_so(free_port: int) -> None:
    error = refused(channel(free_port))

    assert "refused" in str(error).lower()
    assert not error.refused


@pytest.mark.parametrize("security", ["none", "tls"])
def test_a_broker_that_never_answers_costs_no_more_than_the_timeout(security: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refused(channel(silent.getsockname()[1], security=security, timeout_s=0.3))

    assert str(error) == "127.0.0.1: no answer within 0.3 s"


def test_a_broker_that_does_not_acknowledge_has_not_got_it() -> None:
    """CONNACK, and then silence until it is given up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        got: list[bytes] = []

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                got.append(connection.recv(4096))
                connection.sendall(bytes([0x20, 2, 0, 0]))
                while block := connection.recv(4096):
                    got.append(block)

        thread = threading.Thread(target=serve)
        thread.start()
        error = refused(channel(server.getsockname()[1], version="3.1.1", timeout_s=0.5))
        thread.join()

    assert "no answer within" in str(error)
    assert b"alarm.raised" in b"".join(got)


def test_a_broker_that_speaks_no_mqtt_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        error = refused(channel(server.getsockname()[1], timeout_s=2))
        thread.join()

    assert str(error).startswith("127.0.0.1: ")


@needs_mosquitto
def test_a_broker_that_hangs_does_not_hold_up_another(tmp_path: Path, free_port: int) -> None:
    order: list[str] = []
    released = threading.Event()
    with (
        socket.create_server(("127.0.0.1", 0)) as hanging,
        mosquitto(tmp_path, free_port),
        connected(free_port) as dashboard,
        new_ledger(tmp_path) as engine,
    ):
        held = threading.Event()

        def hang() -> None:
            connection, _ = hanging.accept()
            with connection:
                held.set()
                assert released.wait(60)
                order.append("released")

        thread = threading.Thread(target=hang)
        thread.start()
        dashboard.subscribe(TOPIC)
        slow = section(hanging.getsockname()[1], name="slow", timeout_s=120)
        channels = build_channels(Config(mqtt_out=[slow, section(free_port)]), Links())
        role = DeliverRole(Outbox(engine, channels, RetryPolicy(600_000), lambda: 0.0))
        queue(engine, OUTBOX_ALARM, "alarm-1", "one", PAYLOAD, NOW_MS)
        role.start()
        assert held.wait(60)
        queue(engine, OUTBOX_NOTICE, "notice-1", "two", {"notice": "clip_ready"}, NOW_MS)
        dashboard.wait_for(2)
        order.append("both arrived")
        released.set()
        assert role.stop(60)
        thread.join()

    assert order == ["both arrived", "released"]
    assert [json.loads(body)["type"] for _, body in dashboard.received] == ["alarm.raised", "notice.clip_ready"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"host": "mqtt.example.org", "security": "none"}, "this machine only; if it must be, say allow_plain"),
        ({"topic": "site/#"}, "without wildcards"),
        ({"topic": "site/+"}, "without wildcards"),
        ({"topic": "$SYS/x"}, "SYS"),
        ({"topic": "lapel/v1/00/x/down"}, "devices' branch"),
        ({"certificate_file": "x.pem"}, "go together"),
        ({"version": "4"}, "'5' or '3.1.1'"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    values = {"name": "desk", "host": "127.0.0.1", "topic": TOPIC, **changed}
    path = tmp_path / "lapel.toml"
    path.write_text("[[mqtt_out]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    with pytest.raises(ConfigError, match=words):
        load_config(path)


def test_a_key_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    files = {"certificate_file": tmp_path / "c.pem", "key_file": private(tmp_path / "k.pem", "no key")}
    (tmp_path / "c.pem").write_text("no certificate")
    with pytest.raises(SecretError, match="no unencrypted PEM pair"):
        mqtt_target(section(1, security="tls", **files))
    (tmp_path / "k.pem").chmod(0o644)
    with pytest.raises(SecretError, match="chmod 600"):
        mqtt_target(section(1, security="tls", **files))
    assert PASSWORD not in repr(mqtt_target(section(1, login_file=private(tmp_path / "l", f"a\n{PASSWORD}\n"))))
