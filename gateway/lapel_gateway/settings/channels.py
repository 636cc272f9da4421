"""The settings of the ways out of the gateway: webhooks, mail, MQTT, and any service that Apprise knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from lapel_gateway.channels.mailbox import parse_mailbox
from lapel_gateway.loopback import is_loopback
from lapel_gateway.settings.section import Name, Port, Section, Text


class WebhookSection(Section):
    """Where alarms are posted, signed as Standard Webhooks says. As many [[webhook]] tables as needed."""

    name: Name = Field(description="Short name for logs: lower case, digits and dashes.")
    url: Text = Field(description="http or https address.")
    secret_file: Path = Field(description='File with the signing secret, "whsec_" and base64; mode 0600.')

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not re.match(r"https?://[^/\s]+", url):
            raise ValueError("must start with https:// or http:// and name a host")
        return url


class SmtpSection(Section):
    """Mail about alarms, to each address by itself. As many [[smtp]] tables as needed."""

    name: Name = Field(description="Short name for logs: lower case, digits and dashes.")
    host: Text = Field(description="The relay that takes the mail; with TLS the name in its certificate.")
    port: Port = Field(587, description="587 is usual with starttls, 465 with tls, 25 with none.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="starttls or tls from the first byte, the certificate verified; none: loopback only."
    )
    allow_plain: bool = Field(
        False, description='With security = "none": mail and login may cross a network that anyone can read.'
    )
    ca_file: Path | None = Field(None, description="The CA that signed the relay (PEM); unset: this machine's CAs.")
    login_file: Path | None = Field(
        None, description="File with the user's name in its first line, the password in its second; mode 0600."
    )
    sender: Text = Field(description="The address that the mail comes from.")
    to: list[Text] = Field(
        min_length=1,
        max_length=32,
        description='Addresses. Names of users, as in "Ann <ann@example.org>", give them links to acknowledge with.',
    )
    notices: bool = Field(False, description="Notices too: unverifiable alarm traffic, and every clip that is ready.")
    timeout_s: float = Field(30.0, gt=0, le=300, description="Longest wait for the relay, in all.")

    @field_validator("sender")
    @classmethod
    def _is_address(cls, text: str) -> str:
        parse_mailbox(text)
        return text

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, texts: list[str]) -> list[str]:
        addresses = [parse_mailbox(text).address.lower() for text in texts]
        if len(set(addresses)) < len(addresses):
            raise ValueError("names an address more than once")
        return texts

    @model_validator(mode="after")
    def _is_private(self) -> SmtpSection:
        if self.security == "none" and not self.allow_plain and not is_loopback(self.host):
            raise ValueError('security = "none" is for this machine only; if it must be, say allow_plain = true')
        return self


class MqttOutSection(Section):
    """Alarms as JSON on a topic of an MQTT broker, this gateway's or another. As many [[mqtt_out]] as needed."""

    name: Name = Field(description="Short name for logs: lower case, digits and dashes.")
    host: Text = Field(description="The broker; with TLS the name in its certificate.")
    port: Port = Field(8883, description="8883 is usual with TLS, 1883 without.")
    topic: Text = Field(description="Topic of every message; not in lapel/v1, which is the devices' own branch.")
    retain: bool = Field(False, description="Whether the broker shows the newest message to those who come later.")
    version: Literal["5", "3.1.1"] = Field(
        "5", description="Of MQTT. 3.1.1 for brokers that know no other (the embedded one): no refusal is told there."
    )
    security: Literal["tls", "none"] = Field("tls", description="tls, the certificate verified; none: loopback only.")
    allow_plain: bool = Field(
        False, description='With security = "none": alarms and login may cross a network that anyone can read.'
    )
    ca_file: Path | None = Field(None, description="The CA that signed the broker (PEM); unset: this machine's CAs.")
    certificate_file: Path | None = Field(None, description="The client certificate, if the broker asks for one (PEM).")
    key_file: Path | None = Field(None, description="Its private key (PEM), mode 0600.")
    login_file: Path | None = Field(
        None, description="File with the user's name in its first line, the password in its second; mode 0600."
    )
    notices: bool = Field(True, description="Notices too: unverifiable alarm traffic, and every clip that is ready.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="Longest wait for the broker.")

    @field_validator("topic")
    @classmethod
    def _is_topic(cls, topic: str) -> str:
        if not topic.isprintable() or set(topic) & set("+#") or topic.startswith(("$", "lapel/v1")):
            raise ValueError("must be a topic without wildcards, outside $SYS and outside the devices' branch lapel/v1")
        return topic

    @model_validator(mode="after")
    def _is_private(self) -> MqttOutSection:
        if self.security == "none" and not self.allow_plain and not is_loopback(self.host):
            raise ValueError('security = "none" is for this machine only; if it must be, say allow_plain = true')
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together, or none is given")
        return self


class AppriseSection(Section):
    """Alarms by any service that Apprise knows: SMS, voice, push, chat. As many [[apprise]] tables as needed."""

    name: Name = Field(description="Short name for logs: lower case, digits and dashes.")
    url_file: Path = Field(description="File with one Apprise address, which carries its tokens; mode 0600.")
    person: Text | None = Field(
        None, description="Whom it reaches: the name of a user, who gets links to acknowledge with."
    )
    notices: bool = Field(False, description="Notices too: unverifiable alarm traffic, and every clip that is ready.")
    timeout_s: float = Field(30.0, gt=0, le=300, description="Longest wait for the service.")
