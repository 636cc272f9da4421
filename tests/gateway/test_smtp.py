"""Mail through a real SMTP server on loopback: what arrives, what is refused, and what a relay's trouble costs."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.mailbox import MAX_CHANNEL_NAME, parse_mailbox, target_channel
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.channels.setup import Links, build_channels, mail_relay
from lapel_gateway.channels.smtp import Relay, SmtpChannel, tls_context
from lapel_gateway.deliver import DeliverRole
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_NOTICE
from lapel_gateway.outbox import Outbox, RetryPolicy
from lapel_gateway.settings.channels import SmtpSection
from lapel_gateway.settings.config import Config, ConfigError, load_config
from tests.gateway.ledgers import attempts, new_ledger, queue, rows
from tests.gateway.mail import NOW_MS, Certified, PostOffice, certified, knows, relay

PAYLOAD: dict[str, Any] = {
    "what": "raised",
    "alarm": "00112233aabbccdd-4-2",
    "device": "00112233aabbccdd",
    "person": "Zoë Quinn",
    "kind": "panic",
    "received_ms": NOW_MS,
}
LINK = "https://lapel.example.org/ack/" + "x" * 150
SENDER = parse_mailbox("Lapel <lapel@example.org>")
ANN = parse_mailbox("Ann Archer <ann@example.org>")
PASSWORD = "correct horse battery"


def parcel(payload: dict[str, Any] | None = None, key: str = "alarm-1", **changed: Any) -> Parcel:
    values = {"attempts": 0, "created_ms": NOW_MS, "kind": OUTBOX_ALARM, "subject": "00112233aabbccdd-4-2", **changed}
    return Parcel(id=1, channel="smtp:duty", key=key, payload=payload or PAYLOAD, **values)


def channel(port: int, timeout_s: float = 20.0, **options: Any) -> SmtpChannel:
    security = options.pop("security", "none")
    server = Relay("127.0.0.1", port, security, timeout_s, options.pop("login", None), options.pop("tls", None))
    return SmtpChannel("duty", server, SENDER, options.pop("to", ANN), **options)


def refused(channel: SmtpChannel, one: Parcel | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(one or parcel(), NOW_MS)
    return caught.value


@pytest.fixture
def office(free_port: int) -> Iterator[PostOffice]:
    office = PostOffice()
    with relay(office, free_port):
        yield office


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return certified(tmp_path_factory.mktemp("tls"))


def test_an_alarm_arrives_as_a_mail_that_a_person_can_read(office: PostOffice, free_port: int) -> None:
    channel(free_port, link=lambda parcel: LINK).deliver(parcel(), NOW_MS)

    (received,) = office.got
    mail = received.mail
    assert (received.sender, received.recipients) == ("lapel@example.org", ["ann@example.org"])
    assert mail["subject"] == "ALARM panic: Zoë Quinn"
    assert (mail["from"], mail["to"]) == ("Lapel <lapel@example.org>", "Ann Archer <ann@example.org>")
    assert LINK in mail.get_content().splitlines()
    assert mail.get_content_type() == "text/plain"
    assert parsedate_to_datetime(mail["date"]).timestamp() * 1000 == NOW_MS
    assert (mail["auto-submitted"], mail["x-priority"][0], mail["importance"]) == ("auto-generated", "1", "high")
    received.content.decode("ascii")


def test_a_repeat_is_the_same_mail_and_another_event_is_another(office: PostOffice, free_port: int) -> None:
    one = channel(free_port)
    one.deliver(parcel(), NOW_MS)
    one.deliver(parcel(attempts=1), NOW_MS + 60_000)
    one.deliver(parcel({**PAYLOAD, "what": "resolved", "resolved_by": "Ann"}, key="alarm-2"), NOW_MS)

    first, second, third = office.got
    assert first.content == second.content
    assert first.mail["message-id"] != third.mail["message-id"]
    assert first.mail["references"] == third.mail["references"]
    assert first.mail["message-id"] == f"<{parcel().message_id}@example.org>"
    assert (third.mail["x-priority"][0], third.mail["importance"]) == ("3", "normal")


def test_text_from_a_device_cannot_add_a_header_or_a_recipient(office: PostOffice, free_port: int) -> None:
    evil = "Zoë\r\nBcc: everyone@example.org\r\n\r\n.\r\nMAIL FROM:<x@y>"

    channel(free_port).deliver(parcel({**PAYLOAD, "person": evil, "kind": evil, "device": evil}), NOW_MS)

    (received,) = office.got
    assert received.recipients == ["ann@example.org"]
    assert received.mail["bcc"] is None
    assert "\\r\\nBcc: everyone@example.org" in received.mail["subject"]


def test_starttls_encrypts_and_logs_in(free_port: int, tls: Certified) -> None:
    office = PostOffice()
    options = {"tls_context": tls.context, "require_starttls": True, "authenticator": knows("lapel", PASSWORD)}
    with relay(office, free_port, auth_required=True, **options):
        context = tls_context(tls.ca_file)
        channel(free_port, security="starttls", tls=context, login=("lapel", PASSWORD)).deliver(parcel(), NOW_MS)
        wrong = refused(channel(free_port, security="starttls", tls=context, login=("lapel", "wrong horse")))

    (received,) = office.got
    assert (received.encrypted, received.user) == (True, "lapel")
    assert wrong.refused
    assert "login refused with 535" in str(wrong)
    assert "horse" not in str(wrong)


def test_tls_from_the_first_byte(free_port: int, tls: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    office = PostOffice()
    # Its readiness probe connects as this client does, and must trust the test's CA.
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca_file))
    with relay(office, free_port, ssl_context=tls.context):
        channel(free_port, security="tls", tls=tls_context(tls.ca_file)).deliver(parcel(), NOW_MS)

    assert office.got[0].mail["subject"] == "ALARM panic: Zoë Quinn"


def test_a_relay_that_cannot_prove_itself_gets_nothing(free_port: int, tls: Certified) -> None:
    office = PostOffice()
    with relay(office, free_port, tls_context=tls.context):
        error = refused(channel(free_port, security="starttls", tls=tls_context(None), login=("lapel", PASSWORD)))

    assert "certificate" in str(error).lower()
    assert office.got == []


def test_a_relay_without_starttls_gets_nothing(office: PostOffice, free_port: int) -> None:
    error = refused(channel(free_port, security="starttls", tls=tls_context(None), login=("lapel", PASSWORD)))

    assert "STARTTLS" in str(error)
    assert office.got == []


@pytest.mark.parametrize(
    ("answer", "final"), [("550 5.1.1 no such user", True), ("451 4.7.1 try\x1b[2J again later", False)]
)
def test_a_refused_recipient_is_final_or_tried_again_as_the_relay_says(
    office: PostOffice, free_port: int, answer: str, final: bool
) -> None:
    office.to_recipient = lambda address: answer

    error = refused(channel(free_port))

    assert error.refused is final
    assert str(error).startswith(f"ann@example.org refused: {answer[:3]} ")
    assert str(error).isprintable()


@pytest.mark.parametrize(("answer", "final"), [("554 looks like spam", True), ("452 no space", False)])
def test_a_refused_mail_is_final_or_tried_again_as_the_relay_says(
    office: PostOffice, free_port: int, answer: str, final: bool
) -> None:
    office.to_mail = answer

    error = refused(channel(free_port))

    assert (error.refused, str(error)) == (final, f"127.0.0.1: {answer}")


def test_a_relay_that_is_not_there_is_an_error_that_says_so(free_port: int) -> None:
    error = refused(channel(free_port))

    assert str(error).startswith("127.0.0.1: ")
    assert "connect" in str(error).lower()
    assert not error.refused


@contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that says what ``talk`` says to its first client; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join()


def until_closed(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def test_a_relay_that_says_nothing_costs_no_more_than_the_timeout() -> None:
    with talking(until_closed) as port:
        error = refused(channel(port, timeout_s=0.3))

    assert str(error) == "127.0.0.1: no answer within 0.3 s"
    assert not error.refused


def test_a_relay_that_drips_its_answer_costs_no_more_than_the_timeout() -> None:
    """A limit for each command alone would start anew with every one."""

    def drip(connection: socket.socket) -> None:
        try:
            while True:
                connection.sendall(b"220-still here\r\n")
                connection.settimeout(0.05)
                try:
                    if not connection.recv(100):
                        return
                except TimeoutError:
                    continue
        except OSError:
            return

    with talking(drip) as port:
        assert "no answer within" in str(refused(channel(port, timeout_s=0.5)))


def test_a_mail_that_was_taken_is_delivered_even_if_the_goodbye_is_not() -> None:
    def take(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(b"220 hello\r\n")
        for answer in (b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            lines.readline()
            connection.sendall(answer)
        while lines.readline() != b".\r\n":
            pass
        connection.sendall(b"250 taken\r\n")
        until_closed(connection)

    with talking(take) as port:
        channel(port).deliver(parcel(), NOW_MS)


def test_a_relay_that_breaks_off_before_it_took_the_mail_has_not_taken_it() -> None:
    def leave(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(b"220 hello\r\n")
        for answer in (b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            lines.readline()
            connection.sendall(answer)
        while lines.readline() != b".\r\n":
            pass

    with talking(leave) as port:
        assert str(refused(channel(port))) == "127.0.0.1 closed the connection"


def settings(port: int, **changed: Any) -> SmtpSection:
    values = {
        "name": "duty",
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "lapel@example.org",
        "to": ["Ann Archer <ann@example.org>", "ben@example.org"],
    }
    return SmtpSection.model_validate({**values, **changed})


def test_the_recipient_that_is_refused_is_tried_again_alone(tmp_path: Path, free_port: int) -> None:
    office = PostOffice()
    office.to_recipient = lambda address: "550 unknown" if address.startswith("ben") else "250 OK"
    config = Config(smtp=[settings(free_port)])
    with new_ledger(tmp_path) as engine, relay(office, free_port):
        outbox = Outbox(engine, build_channels(config, Links()), RetryPolicy(1_000, 60_000), lambda: 0.0)
        queue(engine, OUTBOX_ALARM, "alarm-1", "00112233aabbccdd-4-2", PAYLOAD, NOW_MS)
        outbox.run_due(NOW_MS)
        assert [outcome for outcome, _ in attempts(engine)].count("refused") == 1
        assert "ben@example.org refused: 550 unknown" in {detail for _, detail in attempts(engine)}

        office.to_recipient = lambda address: "250 OK"
        outbox.run_due(NOW_MS + 120_000)

        assert [received.recipients for received in office.got] == [["ann@example.org"], ["ben@example.org"]]
        assert {row["state"] for row in rows(engine)} == {"done"}
        assert {row["channel"] for row in rows(engine)} == {
            "",
            "smtp:duty:ann@example.org",
            "smtp:duty:ben@example.org",
        }


def test_a_relay_that_hangs_does_not_hold_up_another(tmp_path: Path, free_port: int) -> None:
    office = PostOffice()
    released = threading.Event()
    held = threading.Event()
    order: list[str] = []

    def hang(connection: socket.socket) -> None:
        held.set()
        assert released.wait(60)
        order.append("released")
        connection.sendall(b"421 go away\r\n")

    with new_ledger(tmp_path) as engine, relay(office, free_port), talking(hang) as hanging:
        config = Config(
            smtp=[settings(hanging, name="slow", to=["slow@example.org"]), settings(free_port, to=["ann@example.org"])]
        )
        role = DeliverRole(Outbox(engine, build_channels(config, Links()), RetryPolicy(600_000), lambda: 0.0))
        queue(engine, OUTBOX_ALARM, "alarm-1", "one", PAYLOAD, NOW_MS)
        role.start()
        assert held.wait(60)
        queue(engine, OUTBOX_ALARM, "alarm-2", "two", PAYLOAD, NOW_MS)
        office.wait_for(2)
        order.append("both mails arrived")
        released.set()
        assert role.stop(60)

    assert order == ["both mails arrived", "released"]


def test_notices_come_by_mail_only_where_they_are_asked_for(free_port: int) -> None:
    asked = build_channels(Config(smtp=[settings(free_port, notices=True)]), Links())
    assert {kind for one in asked for kind in one.kinds} == {OUTBOX_ALARM, OUTBOX_NOTICE}
    silent = build_channels(Config(smtp=[settings(free_port)]), Links())
    assert {kind for one in silent for kind in one.kinds} == {OUTBOX_ALARM}


def test_a_login_is_read_from_a_private_file_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_text(f"lapel\n{PASSWORD}\n")
    section = settings(25, login_file=file)
    file.chmod(0o640)
    with pytest.raises(SecretError, match="chmod 600"):
        mail_relay(section)
    file.chmod(0o600)
    server = mail_relay(section)
    assert server.login == ("lapel", PASSWORD)
    assert PASSWORD not in repr(server)
    for content in ("", "lapel\n", "lapel\n\n", "a\nb\nc\n", "lapel\npass\x07word\n", "lapel\n" + "x" * 5_000):
        file.write_text(content)
        with pytest.raises(SecretError, match="two lines of text") as caught:
            mail_relay(section)
        assert "pass" not in str(caught.value).replace("password", "")


def test_a_ca_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(SecretError, match="cannot be used"):
            mail_relay(settings(25, security="tls", ca_file=tmp_path / name))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"host": "mail.example.org", "security": "none"}, "this machine only; if it must be, say allow_plain"),
        ({"sender": "lapel"}, "must be an address"),
        ({"to": []}, "at least 1 item"),
        ({"to": ["a@example.org", "A <A@example.org>"]}, "names an address more than once"),
        ({"to": ["a@example.org, b@example.org"]}, "must be an address"),
        ({"to": ["Ann\n <a@example.org>"]}, "must be an address"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    values = {"name": "duty", "host": "127.0.0.1", "sender": "l@example.org", "to": ["a@example.org"], **changed}
    path = tmp_path / "lapel.toml"
    path.write_text("[[smtp]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    with pytest.raises(ConfigError, match=words):
        load_config(path)


def test_plain_mail_beyond_this_machine_must_be_said() -> None:
    assert settings(25, host="mail.example.org", allow_plain=True).security == "none"
    assert settings(25, host="localhost").security == "none"


def test_the_channel_of_a_long_address_has_a_name_of_its_own_that_fits() -> None:
    long = [f"{'x' * 60}{number}@example.org" for number in range(2)]
    names = {target_channel("smtp:duty", address) for address in long}
    assert len(names) == 2
    assert all(len(name) == MAX_CHANNEL_NAME for name in names)
    assert target_channel("smtp:duty", "ann@example.org") == "smtp:duty:ann@example.org"


BAD_ADDRESSES = [
    "",
    "a",
    "@",
    "a@",
    "@b",
    "a b@c",
    "a@b, c@d",
    "ä@example.org",
    "<>",
    "a@b\r\nBcc: c@d",
    "A <a@b",
    "a@b>",
]


@pytest.mark.parametrize("text", BAD_ADDRESSES)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        parse_mailbox(text)


def test_names_of_people_are_read_with_and_without_quotes() -> None:
    assert parse_mailbox('"Zoë Quinn"  <zoe@example.org>').header().display_name == "Zoë Quinn"
    assert (parse_mailbox("Zoë  Quinn <zoe@example.org>").person, parse_mailbox("z@a.b").person) == ("Zoë Quinn", "")
