"""A centre's channel from its settings."""

from __future__ import annotations

from pathlib import Path

from lapel_gateway.channels.sia_dc09.channel import Centre, SecretKey, SiaChannel
from lapel_gateway.channels.sia_dc09.frame import Sender
from lapel_gateway.channels.sia_dc09.key import load_key
from lapel_gateway.channels.sia_dc09.link import Address
from lapel_gateway.settings.sia import SiaReceiverSection

FOLDER = "sia"
"""Below the gateway's data_dir: the sequence numbers of each centre."""


def centre_of(section: SiaReceiverSection) -> Centre:
    """What was agreed with the centre, the key read from its file. Raises SecretError."""
    addresses = [Address(section.host, section.port)]
    if section.backup_host is not None and section.backup_port is not None:
        addresses.append(Address(section.backup_host, section.backup_port))
    return Centre(
        name=section.name,
        addresses=tuple(addresses),
        sender=Sender(section.account, section.receiver, section.line),
        token=section.token,
        codes=section.event_codes(),
        zones=section.zones,
        extended=frozenset(section.extended),
        key=None if section.key_file is None else SecretKey(load_key(section.key_file, section.key_form)),
        timeout_s=section.timeout_s,
        supervision_s=section.supervision_s,
        answer_age_s=section.answer_age_s,
    )


def build_channel(section: SiaReceiverSection, data_dir: Path) -> SiaChannel:
    """The channel to this centre. Raises SecretError."""
    return SiaChannel(centre_of(section), data_dir / FOLDER / f"{section.name}.json")
