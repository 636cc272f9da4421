"""Mail addresses as settings have them: "Ann Archer <ann@example.org>", checked once and never guessed at."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.headerregistry import Address

MAX_ADDRESS = 254
"""RFC 5321 section 4.5.3.1.3: a path has 256 octets with its brackets."""

MAX_CHANNEL_NAME = 64
"""The ledger's column."""

_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDRESS = rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"
_FORM = re.compile(
    rf'(?:(?P<person>[^<>",;:\\]*|"[^<>"\\]*" *)<(?P<address>{_ADDRESS})>)|(?P<bare>{_ADDRESS})', re.ASCII
)


@dataclass(frozen=True)
class Mailbox:
    """One address, and the name of its person ("" = none)."""

    person: str
    address: str

    @property
    def domain(self) -> str:
        """What follows the "@"."""
        return self.address.rpartition("@")[2]

    def header(self) -> Address:
        """As a header field takes it."""
        return Address(self.person, addr_spec=self.address)


def parse_mailbox(text: str) -> Mailbox:
    """Read ``name <address>`` or a bare address. Raises ValueError with words for an operator.

    Of what RFC 5322 allows, only what people write: no comments, no routes, no quoted local parts, no groups.
    """
    form = _FORM.fullmatch(text)
    if form is None or not text.isprintable() or len(form["address"] or form["bare"]) > MAX_ADDRESS:
        raise ValueError('must be an address, as in "Ann Archer <ann@example.org>"')
    return Mailbox(" ".join((form["person"] or "").replace('"', "").split()), form["address"] or form["bare"])


def target_channel(channel: str, target: str) -> str:
    """The name of the channel for one of several targets, at most `MAX_CHANNEL_NAME` characters and always the same."""
    name = f"{channel}:{target}"
    if len(name) <= MAX_CHANNEL_NAME:
        return name
    digest = hashlib.sha256(target.encode()).hexdigest()[:12]
    return f"{name[: MAX_CHANNEL_NAME - 13]}~{digest}"
