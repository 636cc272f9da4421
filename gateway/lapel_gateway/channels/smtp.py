"""Mail: alarms and notices as plain text to one recipient through one SMTP relay (RFC 5321).

Rules that hold here
- One channel for each recipient, so that each has its own rows in the outbox: a relay that refuses one of them delays
  no other, and when that one is tried again nobody else gets the mail twice. Recipients do not see each other.
- The same parcel is the same mail at every attempt, Message-ID included: mail systems and people recognise a repeat.
- An attempt ends within the timeout whatever the relay does. Once the relay has taken the mail (the answer to DATA),
  nothing that follows makes it a failure.
- With STARTTLS or TLS the relay's certificate is verified, and a relay without STARTTLS gets nothing.
- Neither the login nor the mail appears in an error. A relay's words do, printable and bounded, except in answer to a
  login: some relays repeat what they were sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Literal

import aiosmtplib

from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.mailbox import Mailbox, target_channel
from lapel_gateway.channels.message import LinkFor, message_of, no_link
from lapel_gateway.ledger.schema import OUTBOX_ALARM
from lapel_gateway.log import printable

Security = Literal["starttls", "tls", "none"]

MAX_ANSWER = 300
"""Characters of a relay's answer that are kept for the operator."""

FAREWELL_S = 1.0
"""How long the relay may take to say goodbye after it took the mail."""


@dataclass(frozen=True)
class Relay:
    """The server that takes the mail. ``timeout_s`` bounds a whole attempt; ``login`` is (user, password)."""

    host: str
    port: int
    security: Security
    timeout_s: float
    login: tuple[str, str] | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies a relay by ``ca_file``, or by this machine's authorities. Raises OSError."""
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))


class SmtpChannel:
    """One recipient."""

    def __init__(
        self,
        name: str,
        relay: Relay,
        sender: Mailbox,
        to: Mailbox,
        kinds: Sequence[str] = (OUTBOX_ALARM,),
        link: LinkFor = no_link,
        zone: tzinfo | None = None,
    ) -> None:
        """``name`` as in the configuration; ``zone`` is that of times in the text (None = this machine's)."""
        self.name = target_channel(f"smtp:{name}", to.address)
        self.kinds = frozenset(kinds)
        self._relay = relay
        self._sender = sender
        self._to = to
        self._link = link
        self._zone = zone

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """Hand the mail to the relay once. Raises DeliveryError."""
        content = self.mail(parcel).as_bytes(policy=SMTP)
        relay = self._relay
        try:
            asyncio.run(self._send(content))
        except TimeoutError:
            raise DeliveryError(f"{relay.host}: no answer within {relay.timeout_s:g} s") from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refusal(f"{self._to.address} refused", error.recipients[0]) from None
        except aiosmtplib.SMTPAuthenticationError as error:
            raise DeliveryError(
                f"{relay.host}: login refused with {error.code}: is login_file right?", refused=error.code >= 500
            ) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(relay.host, error) from None
        except aiosmtplib.SMTPServerDisconnected:
            raise DeliveryError(f"{relay.host} closed the connection") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise DeliveryError(f"{relay.host}: {printable(str(error) or type(error).__name__, MAX_ANSWER)}") from None

    def mail(self, parcel: Parcel) -> EmailMessage:
        """The parcel as a mail, the same for every attempt."""
        told = message_of(parcel, self._link(parcel), self._zone)
        domain = self._sender.domain
        mail = EmailMessage()
        mail["From"] = self._sender.header()
        mail["To"] = self._to.header()
        mail["Subject"] = told.subject
        mail["Date"] = datetime.fromtimestamp(parcel.created_ms // 1000, UTC)
        mail["Message-ID"] = f"<{parcel.message_id}@{domain}>"
        # Mail programs show all mails of one alarm together.
        mail["References"] = f"<about_{hashlib.sha256(parcel.subject.encode()).hexdigest()[:40]}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5: no holiday answers
        mail["X-Auto-Response-Suppress"] = "All"
        mail["X-Priority"] = "1 (Highest)" if told.urgent else "3 (Normal)"
        mail["Importance"] = "high" if told.urgent else "normal"
        mail.set_content(told.body, charset="utf-8", cte="quoted-printable")
        return mail

    async def _send(self, content: bytes) -> None:
        relay = self._relay
        smtp = aiosmtplib.SMTP(
            hostname=relay.host,
            port=relay.port,
            # Named here, because the library would ask the name service for this machine's name.
            local_hostname=self._sender.domain,
            timeout=relay.timeout_s,
            use_tls=relay.security == "tls",
            start_tls=False,  # asked for below
            tls_context=relay.tls,
        )
        opened: list[asyncio.BaseTransport | None] = []
        try:
            async with asyncio.timeout(relay.timeout_s):
                await smtp.connect()
                opened.append(smtp.transport)
                if relay.security == "starttls":
                    await smtp.starttls()
                    opened.append(smtp.transport)
                if relay.login is not None:
                    await smtp.login(*relay.login)
                await smtp.sendmail(self._sender.address, [self._to.address], content)
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await smtp.quit(timeout=FAREWELL_S)
        finally:
            # Closing would wait for the relay's part of it, and this attempt's loop ends here.
            for transport in reversed(opened):
                if isinstance(transport, asyncio.WriteTransport):
                    transport.abort()
            smtp.close()


def _refusal(who: str, error: aiosmtplib.SMTPResponseException) -> DeliveryError:
    """What a relay answered: 5xx is final (RFC 5321 section 4.2.1), anything else is tried again soon."""
    return DeliveryError(f"{who}: {error.code} {printable(error.message, MAX_ANSWER)}", refused=error.code >= 500)
