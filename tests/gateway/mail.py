"""A real SMTP server (aiosmtpd) on loopback that answers as it is told and remembers what came."""

from __future__ import annotations

import email
import email.policy
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from lapel_gateway.pki import Pki

NOW_MS = 1_790_000_000_000
WAIT_S = 30
Answer = Callable[[str], str]
"""What the relay says to a recipient, "250 OK" or a refusal."""


@dataclass(frozen=True)
class Received:
    """One mail as the relay took it."""

    sender: str
    recipients: list[str]
    content: bytes
    encrypted: bool
    user: str | None

    @property
    def mail(self) -> EmailMessage:
        mail = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        return mail


class PostOffice:
    """The handler of one relay: its mailbox, and what it says to recipients and to mails."""

    def __init__(self) -> None:
        self.got: list[Received] = []
        self.to_recipient: Answer = lambda address: "250 OK"
        self.to_mail = "250 taken"
        self._came = threading.Condition()

    def wait_for(self, count: int) -> list[Received]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.got) >= count, WAIT_S), len(self.got)
        return self.got

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.to_recipient(address)
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        login: Any = session.auth_data
        user = login.login.decode() if isinstance(login, LoginPassword) else None
        assert isinstance(envelope.original_content, bytes)
        if self.to_mail.startswith("2"):
            with self._came:
                self.got.append(
                    Received(
                        str(envelope.mail_from),
                        list(envelope.rcpt_tos),
                        envelope.original_content,
                        session.ssl is not None,
                        user,
                    )
                )
                self._came.notify_all()
        return self.to_mail


@contextmanager
def relay(office: PostOffice, port: int, **options: Any) -> Iterator[None]:
    """The relay on ``port`` of 127.0.0.1 while the block lasts; ``options`` are aiosmtpd's."""
    controller = Controller(office, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


def knows(user: str, password: str) -> Callable[..., AuthResult]:
    """An authenticator that lets in one login."""

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=good, handled=False, auth_data=data)

    return authenticate


@dataclass(frozen=True)
class Certified:
    """What a relay needs for TLS, and the CA that its clients verify it by."""

    context: ssl.SSLContext
    ca_file: Path


def certified(folder: Path) -> Certified:
    """A certificate for 127.0.0.1 of a CA of its own."""
    files = Pki.ensure(folder / "mail-pki", "Test").ensure_broker(["127.0.0.1"], NOW_MS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate_file, files.key_file)
    return Certified(context, files.ca_file)
