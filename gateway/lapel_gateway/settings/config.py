"""The gateway's settings: one ``lapel.toml``, overridable from the environment.

Rules that hold here
- A setting is ``LAPEL_SECTION__KEY`` in the environment; the environment wins over the file, the file over the default.
- An unknown key is an error that names the key, where it stands and the closest name that exists.
- No setting is a secret: settings name the files that hold secrets, so a configuration may be shown to anyone.
- Relative paths start at the folder of the file, wherever the program was started.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from lapel_gateway.settings.accounts import AccountsSection, OidcSection
from lapel_gateway.settings.channels import AppriseSection, MqttOutSection, SmtpSection, WebhookSection
from lapel_gateway.settings.devices import DevicesSection
from lapel_gateway.settings.faults import Explanation
from lapel_gateway.settings.metrics import MetricsSection
from lapel_gateway.settings.policies import PolicySection, find_zone
from lapel_gateway.settings.section import Port, Section, Text
from lapel_gateway.settings.sia import SiaReceiverSection
from lapel_gateway.settings.status import StatusSection
from lapel_gateway.settings.visits import VisitsSection

DEFAULT_NAME = "lapel.toml"
SYSTEM_PATH = Path("/etc/lapel") / DEFAULT_NAME
ENV_PREFIX = "LAPEL_"
ENV_DELIMITER = "__"
MAX_FILE_BYTES = 1 << 20
"""A configuration larger than a mebibyte is some other file named by mistake."""

Role = Literal["alarms", "ingest", "deliver", "web"]
ROLES: tuple[Role, ...] = ("alarms", "ingest", "deliver", "web")

MEBIBYTE = 1 << 20


class ConfigError(Exception):
    """The configuration cannot be used; the message has one line for each fault and says what to do."""


class GatewaySection(Section):
    """Where the gateway keeps its data and which roles this process plays."""

    organisation: Text = Field("My organisation", description="Shown on exports and in certificates.")
    data_dir: Path = Field(
        Path("data"), description="Ledger, vault, keys and broker state; on a disk that is backed up."
    )
    roles: list[Role] = Field(
        list(ROLES),
        min_length=1,
        description="Roles of this process: all four by default, or some, with other processes on the same data_dir.",
    )


class KeysSection(Section):
    """Files that hold keys. Unset, they are found in data_dir/keys."""

    master_key_file: Path | None = Field(
        None,
        examples=["/etc/lapel/master.key"],
        description="Opens the device keys in the ledger. Keep a copy off this machine: without it no clip opens.",
    )
    organisation_public_key_file: Path | None = Field(
        None,
        examples=["/etc/lapel/organisation.pem"],
        description="The organisation's RSA-3072 public key (PEM), which every device is given.",
    )
    organisation_private_key_file: Path | None = Field(
        None,
        examples=["/etc/lapel/organisation.key"],
        description="Only where clips are opened. Without it, sealed clips are verified, kept and forwarded unopened.",
    )
    copy_dir: Path | None = Field(
        None,
        examples=["/mnt/other-machine/lapel-keys"],
        description="Folder on another machine, to which each new device's sealed key is copied first.",
    )


class BrokerSection(Section):
    """The MQTT broker between devices and gateway. Nothing is believed because a broker said it."""

    kind: Literal["embedded", "mosquitto", "external"] = Field(
        "embedded",
        description="embedded: for trying out, loopback only, no certificates; mosquitto: started and configured by "
        "the gateway, TLS with client certificates; external: a broker that someone else runs.",
    )
    host: Text = Field(
        "127.0.0.1", description="Address to listen on (embedded, mosquitto) or to connect to (external)."
    )
    port: Port = Field(1883, description="1883 for embedded, 8883 is usual with TLS.")
    server_name: Text | None = Field(
        None,
        examples=["lapel.example.org"],
        description="The name devices know the broker by, which its certificate must carry; unset: host.",
    )
    ca_file: Path | None = Field(
        None,
        examples=["/etc/lapel/broker-ca.pem"],
        description="external with TLS: the CA that signed the broker (PEM).",
    )
    certificate_file: Path | None = Field(
        None,
        examples=["/etc/lapel/{role}.pem"],
        description="external with TLS: client certificates, {role} standing for alarms, events and ingest, and for "
        "watch, which may be missing and reads $SYS only.",
    )
    key_file: Path | None = Field(
        None,
        examples=["/etc/lapel/{role}.key"],
        description="external with TLS: their private keys, {role} as for the certificates.",
    )
    program: Text = Field("mosquitto", description="mosquitto: the program to start, a name or a path.")
    reader: Literal["socket", "paho"] = Field(
        "socket", description="What reads from the broker: socket (the gateway's own and faster one) or paho."
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> BrokerSection:
        given = [path is not None for path in (self.ca_file, self.certificate_file, self.key_file)]
        if any(given) and not all(given):
            raise ValueError("ca_file, certificate_file and key_file go together, or none is given")
        return self


class IngestSection(Section):
    """Group commit and flow control of clips."""

    batch_max: int = Field(256, ge=1, le=4096, description="Messages made durable together, at most.")
    batch_window_ms: int = Field(20, ge=0, le=1000, description="How long a message may wait for others.")
    credit_bytes: int = Field(
        4 * MEBIBYTE, ge=64 << 10, le=1 << 30, description="Unreceipted clip bytes that one device may have under way."
    )
    alarm_credit_bytes: int = Field(
        MEBIBYTE, ge=64 << 10, le=1 << 30, description="The same for the clip of an alarm, on top of credit_bytes."
    )
    reserve_bytes: int = Field(
        256 * MEBIBYTE, ge=MEBIBYTE, description="Free disk space that clips may not take: alarms are still recorded."
    )


class AlarmsSection(Section):
    """Alarms and the devices' contact."""

    heartbeat_late_s: int = Field(
        180, ge=10, le=86_400, description="A device that was not in contact for so long is shown as out of contact."
    )
    unverified_notice_s: int = Field(
        300, ge=1, le=86_400, description="One notice at most in this time for unverifiable traffic on an alarm lane."
    )
    everyone_s: int = Field(
        300,
        ge=10,
        le=86_400,
        description="When the steps of an alarm's [[policy]] have passed, or it has none, every channel is told, and "
        "again each time that this has passed, until a human answers.",
    )
    disk_low_bytes: int = Field(
        2 << 30, ge=0, description="An alarm is raised when a disk of the gateway has no more room than this; 0: never."
    )
    time_zone: str = Field(
        "", description='Where the hours of a [[policy]] are, as "Europe/London"; "" for this machine\'s time zone.'
    )

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        find_zone(name)
        return name


class DeliverSection(Section):
    """Attempts of the outbox."""

    retry_first_s: float = Field(
        1.0, gt=0, le=3600, description="Wait after the first failed attempt; doubles each time."
    )
    retry_max_s: float = Field(300.0, gt=0, le=86_400, description="Longest wait between two attempts.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="Longest wait for a webhook's answer.")


class ForwardSection(Section):
    """Where finished clips are copied to."""

    directory: Path | None = Field(
        None, examples=["/srv/clips"], description="Existing folder that finished clips are forwarded to; unset: none."
    )


class CustodySection(Section):
    """When a device may delete a clip that the gateway holds."""

    delete_level: Literal["verified", "opened"] = Field(
        "verified",
        description="verified: every segment is authentic; opened: the gateway has also proved that it can be opened "
        "(needs the organisation's private key here).",
    )


class WebSection(Section):
    """The gateway's HTTP API and its pages."""

    host: Text = Field("127.0.0.1", description="Plain HTTP: beyond loopback put a TLS proxy before it.")
    port: Port = Field(8480, description="TCP port of the API.")
    public_url: Text | None = Field(
        None,
        examples=["https://lapel.example.org"],
        description="Where people reach it from outside; messages then carry links to acknowledge alarms with.",
    )
    ack_link_hours: int = Field(24, ge=1, le=720, description="How long such a link can be used.")
    trusted_proxies: list[Text] = Field(
        [],
        max_length=16,
        description="Addresses of TLS proxies that stand before it; whose word (X-Forwarded-For) on where a request "
        "comes from is taken.",
    )

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", url):
            raise ValueError("must start with https:// or http://, name a host, and have no ? or #")
        return url


class Config(BaseSettings):
    """All settings. Make one with `load_config`; a bare ``Config()`` holds the defaults and the environment."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
    )

    gateway: GatewaySection = GatewaySection()
    keys: KeysSection = KeysSection()
    broker: BrokerSection = BrokerSection()
    ingest: IngestSection = IngestSection()
    alarms: AlarmsSection = AlarmsSection()
    visits: VisitsSection = VisitsSection()
    devices: DevicesSection = DevicesSection()
    deliver: DeliverSection = DeliverSection()
    webhook: list[WebhookSection] = Field([], max_length=32)
    sia_receiver: list[SiaReceiverSection] = Field([], max_length=32)
    smtp: list[SmtpSection] = Field([], max_length=8)
    mqtt_out: list[MqttOutSection] = Field([], max_length=8)
    apprise: list[AppriseSection] = Field([], max_length=32)
    policy: list[PolicySection] = Field([], max_length=64)
    forward: ForwardSection = ForwardSection()
    custody: CustodySection = CustodySection()
    web: WebSection = WebSection()
    metrics: MetricsSection = MetricsSection()
    status: StatusSection = StatusSection()
    accounts: AccountsSection = AccountsSection()
    oidc: OidcSection = OidcSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before what `load_config` read from the file."""
        return env_settings, init_settings

    @property
    def data_dir(self) -> Path:
        """Folder of everything the gateway keeps."""
        return self.gateway.data_dir

    @property
    def ledger_file(self) -> Path:
        """The SQLite database."""
        return self.data_dir / "ledger.sqlite"

    @property
    def releases_dir(self) -> Path:
        """Releases of firmware for devices."""
        return self.data_dir / "releases"

    @property
    def signer_file(self) -> Path:
        """The public key that releases are verified with."""
        return self.data_dir / "keys" / "update.key"

    @property
    def vault_dir(self) -> Path:
        """Sealed originals."""
        return self.data_dir / "vault"

    @property
    def views_dir(self) -> Path:
        """Opened and converted copies for viewing; all of it can be made again from the vault."""
        return self.data_dir / "views"

    @property
    def pki_dir(self) -> Path:
        """The CA and the certificates of broker and roles (`lapel_gateway.pki`)."""
        return self.data_dir / "pki"

    @property
    def broker_dir(self) -> Path:
        """Configuration and persistence of a broker that the gateway starts."""
        return self.data_dir / "broker"

    @property
    def master_key_file(self) -> Path:
        """64 hexadecimal digits."""
        return self.keys.master_key_file or self.data_dir / "keys" / "master.key"

    @property
    def ack_key_file(self) -> Path:
        """The key under which acknowledge links are signed; made on first use."""
        return self.data_dir / "keys" / "ack-links.key"

    @property
    def accounts_key_file(self) -> Path:
        """The key under which secrets of accounts are kept; made on first use."""
        return self.data_dir / "keys" / "accounts.key"

    @property
    def address(self) -> str:
        """Where people reach the web pages: the public address, or where the gateway listens; no slash at its end."""
        if self.web.public_url is not None:
            return self.web.public_url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.web.host, self.web.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.web.port}"

    @property
    def organisation_key_file(self) -> Path:
        """PEM of the private key where it is at hand, otherwise of the public key."""
        if self.keys.organisation_private_key_file is not None:
            return self.keys.organisation_private_key_file
        return self.keys.organisation_public_key_file or self.data_dir / "keys" / "organisation.pem"


def find_config(named: Path | None = None) -> Path:
    """The file to read: ``named``, else LAPEL_CONFIG, ./lapel.toml, /etc/lapel/lapel.toml. Raises ConfigError."""
    if named is None and os.environ.get("LAPEL_CONFIG"):
        named = Path(os.environ["LAPEL_CONFIG"])
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"{named}: no such file; `lapel gateway init` writes one with the default settings")
        return named
    for path in (Path(DEFAULT_NAME), SYSTEM_PATH):
        if path.is_file():
            return path
    raise ConfigError(
        f"no {DEFAULT_NAME} here and no {SYSTEM_PATH}: write one with `lapel gateway init`, or name it with --config"
    )


def load_config(path: Path) -> Config:
    """Read ``path`` and the environment. Raises ConfigError with every fault found, one a line."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes: is this the right file?")
    try:
        text = raw.decode("utf-8")
        values = tomllib.loads(text)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    explain = Explanation(_settings_by_section(), ENV_PREFIX, ENV_DELIMITER, path, text)
    faults = explain.unknown_variables()
    try:
        config = Config(**values)
    except ValidationError as error:
        faults += [explain.fault(fault) for fault in error.errors(include_url=False)]
    except SettingsError as error:
        faults.append(f"environment: {error}; a table or list is given as JSON, as in LAPEL_GATEWAY__ROLES='[\"web\"]'")
    else:
        if not faults:
            try:
                return _resolved(config, path.resolve().parent)
            except (RuntimeError, ValueError) as error:  # "~" of a user who is not there, a NUL in a path
                faults.append(f"{path}: a path cannot be used: {error}")
    raise ConfigError("\n".join(faults))


def _resolved(config: Config, base: Path) -> Config:
    """``config`` with every relative path made absolute below ``base``."""

    def section(model: Section) -> Section:
        changes = {
            key: base / value.expanduser()
            for key in type(model).model_fields
            if isinstance(value := getattr(model, key), Path)
        }
        return model.model_copy(update=changes)

    changes: dict[str, Any] = {}
    for key in type(config).model_fields:
        value = getattr(config, key)
        changes[key] = [section(one) for one in value] if isinstance(value, list) else section(value)
    return config.model_copy(update=changes)


def _settings_by_section() -> dict[str, list[str]]:
    """Names of all settings."""
    sections: dict[str, list[str]] = {}
    for name, field in Config.model_fields.items():
        section = repeated_section(name) if isinstance(field.default, list) else type(field.default)
        sections[name] = list(section.model_fields)
    return sections


def repeated_section(name: str) -> type[Section]:
    """The class of a [[table]] that may be given several times, by its name."""
    section: type[Section] = get_args(Config.model_fields[name].annotation)[0]
    return section
