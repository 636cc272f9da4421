"""The channels to people and other systems that the settings ask for.

Rules that hold here
- Secrets are read from their files once, here; a file that cannot be used keeps the role from starting.
- Every target is a channel of its own: its own thread, its own rows in the outbox, its own attempts.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from lapel_gateway.alarms.ack_links import ACK_PATH, AckLinks
from lapel_gateway.alarms.policies import Reach
from lapel_gateway.channels.contract import Channel, Parcel
from lapel_gateway.channels.mailbox import Mailbox, parse_mailbox, target_channel
from lapel_gateway.channels.message import LinkFor, no_link
from lapel_gateway.channels.mqtt import MqttChannel, Target
from lapel_gateway.channels.secret_file import SecretError, read_lines, read_login, read_secret
from lapel_gateway.channels.sia_dc09.build import build_channel
from lapel_gateway.channels.smtp import Relay, SmtpChannel, tls_context
from lapel_gateway.channels.webhook import WebhookChannel, load_secret
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_NOTICE
from lapel_gateway.settings.channels import AppriseSection, MqttOutSection, SmtpSection, WebhookSection
from lapel_gateway.settings.config import Config
from lapel_protocol.limits import MAX_NAME_BYTES


class Links:
    """Makes the links to acknowledge with; without tokens it makes none."""

    def __init__(self, tokens: AckLinks | None = None, public_url: str = "", valid_ms: int = 0) -> None:
        """``valid_ms``: how long after its parcel was made a link can be used, in milliseconds."""
        self._tokens = tokens
        self._prefix = public_url.rstrip("/") + ACK_PATH
        self._valid_ms = valid_ms

    def of(self, person: str) -> LinkFor:
        """The links of one person, by the name of the user."""
        tokens = self._tokens
        if tokens is None or len(person.encode()) > MAX_NAME_BYTES:
            return no_link

        def link(parcel: Parcel) -> str:
            if parcel.kind != OUTBOX_ALARM or parcel.payload.get("person") == person:
                return ""
            return self._prefix + tokens.make(parcel.subject, person, parcel.created_ms + self._valid_ms)

        return link


def ack_links(config: Config) -> AckLinks | None:
    """What makes and reads acknowledge links, if people can reach this gateway. Raises KeyStoreError."""
    return None if config.web.public_url is None else AckLinks.load(config.ack_key_file)


def links_of(config: Config) -> Links:
    """The links that messages carry, as configured. Raises KeyStoreError."""
    return Links(ack_links(config), config.web.public_url or "", config.web.ack_link_hours * 3_600_000)


def build_channels(config: Config, links: Links) -> list[Channel]:
    """One channel for each target. Raises SecretError."""
    channels: list[Channel] = [webhook_channel(section, config.deliver.timeout_s) for section in config.webhook]
    channels += [build_channel(section, config.data_dir) for section in config.sia_receiver]
    channels += [channel for section in config.smtp for channel in mail_channels(section, links)]
    channels += [MqttChannel(one.name, mqtt_target(one), _kinds(one.notices)) for one in config.mqtt_out]
    channels += [apprise_channel(section, links) for section in config.apprise]
    return channels


def reach_of(config: Config) -> Reach:
    """The channels that take alarms, as they are named, with whom each reaches by name. Reads no secret."""
    people = {f"webhook:{section.name}": "" for section in config.webhook}
    people |= {f"sia:{section.name}": "" for section in config.sia_receiver}
    for section in config.smtp:
        for text in section.to:
            to = parse_mailbox(text)
            people[target_channel(f"smtp:{section.name}", to.address)] = to.person
    people |= {f"mqtt:{one.name}": "" for one in config.mqtt_out}
    people |= {f"apprise:{one.name}": one.person or "" for one in config.apprise}
    return Reach(people)


def personal_reach(config: Config) -> Reach:
    """Of `reach_of`, the channels to one person each that take no notices but those that are for that person."""
    people: dict[str, str] = {}
    for section in config.smtp:
        if not section.notices:
            for to in (parse_mailbox(text) for text in section.to):
                people[target_channel(f"smtp:{section.name}", to.address)] = to.person
    people |= {f"apprise:{one.name}": one.person or "" for one in config.apprise if not one.notices}
    return Reach({name: person for name, person in people.items() if person})


def answering_channels(config: Config) -> dict[str, str]:
    """The channels whose taking an alarm is a human's answer, by agreement, with who that is."""
    return {f"sia:{one.name}": f"receiving centre {one.name}" for one in config.sia_receiver if one.answers}


def webhook_channel(section: WebhookSection, timeout_s: float) -> Channel:
    """The channel to one system. Raises SecretError."""
    return WebhookChannel(section.name, section.url, load_secret(section.secret_file), timeout_s)


def mail_channels(section: SmtpSection, links: Links) -> list[Channel]:
    """A channel for each address. Raises SecretError."""
    relay = mail_relay(section)
    sender = parse_mailbox(section.sender)
    return [_mail_channel(section, relay, sender, parse_mailbox(text), links) for text in section.to]


def mail_relay(section: SmtpSection) -> Relay:
    """The relay with its login and how it is verified. Raises SecretError."""
    login = None if section.login_file is None else read_login(section.login_file, "mail login")
    tls = None if section.security == "none" else _verifying(section.ca_file)
    return Relay(section.host, section.port, section.security, section.timeout_s, login, tls)


def mqtt_target(section: MqttOutSection) -> Target:
    """The topic with its broker, login and how the two prove themselves. Raises SecretError."""
    login = None if section.login_file is None else read_login(section.login_file, "mqtt login")
    tls = None if section.security == "none" else _verifying(section.ca_file)
    if tls is not None and section.certificate_file is not None and section.key_file is not None:
        read_secret(section.key_file, "mqtt key")
        try:
            tls.load_cert_chain(section.certificate_file, section.key_file, password="")
        except OSError:
            raise SecretError(
                f"certificate {section.certificate_file} and key {section.key_file} are no unencrypted PEM pair"
            ) from None
    return Target(
        section.host, section.port, section.topic, section.retain, section.version, section.timeout_s, login, tls
    )


def apprise_channel(section: AppriseSection, links: Links) -> Channel:
    """The channel to one service. Raises SecretError."""
    # Only those who use it wait for it to load.
    from lapel_gateway.channels.apprise import AppriseChannel

    form = "one Apprise address"
    lines = read_lines(section.url_file, "url_file", form)
    if len(lines) != 1:
        raise SecretError(f"url_file {section.url_file} is not {form}")
    link = links.of(section.person) if section.person else no_link
    return AppriseChannel(section.name, lines[0], section.timeout_s, _kinds(section.notices), link)


def _mail_channel(section: SmtpSection, relay: Relay, sender: Mailbox, to: Mailbox, links: Links) -> SmtpChannel:
    link = links.of(to.person) if to.person else no_link
    return SmtpChannel(section.name, relay, sender, to, _kinds(section.notices), link)


def _verifying(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return tls_context(ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SecretError(f"ca_file {ca_file} cannot be used: {error.strerror or 'it is not a PEM file'}") from None


def _kinds(notices: bool) -> tuple[str, ...]:
    return (OUTBOX_ALARM, OUTBOX_NOTICE) if notices else (OUTBOX_ALARM,)
