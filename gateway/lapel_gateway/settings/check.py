"""``lapel gateway check-config``: what would go wrong with settings that are each valid by themselves.

The checks look at this machine (files, modes, programs, disks) and change nothing but a probe file in the data folder.
"""

from __future__ import annotations

import difflib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lapel_gateway.accounts.permissions import ROLE_NAMES
from lapel_gateway.alarms.policies import EVERYONE, PERSON_PREFIX
from lapel_gateway.brokers.mosquitto import find_mosquitto
from lapel_gateway.channels.secret_file import SecretError, read_secret, read_token
from lapel_gateway.channels.setup import Links, apprise_channel, mail_relay, mqtt_target, reach_of
from lapel_gateway.channels.sia_dc09.key import load_key
from lapel_gateway.channels.webhook import load_secret
from lapel_gateway.keystore import KeyStore, KeyStoreError, OrganisationKey
from lapel_gateway.loopback import is_loopback
from lapel_gateway.settings.channels import AppriseSection, MqttOutSection, SmtpSection, WebhookSection
from lapel_gateway.settings.config import Config
from lapel_gateway.settings.sia import SiaReceiverSection


@dataclass(frozen=True)
class Finding:
    """One remark: an ``error`` keeps the gateway from working as set, a ``warning`` is worth a thought."""

    level: Literal["error", "warning"]
    setting: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.setting}: {self.message}"


def check_config(config: Config) -> list[Finding]:
    """Every finding, in the order of the file's sections; no ``error`` among them means that the gateway can start."""
    return [
        *_data_dir(config),
        *_keys(config),
        *_broker(config),
        *_ingest(config),
        *_visits(config),
        *(finding for hook in config.webhook for finding in _webhook(hook)),
        *(finding for centre in config.sia_receiver for finding in _sia_receiver(centre)),
        *(finding for section in config.smtp for finding in _smtp(section)),
        *(finding for section in config.mqtt_out for finding in _mqtt_out(section)),
        *(finding for section in config.apprise for finding in _apprise(section)),
        *_repeated_names(config),
        *_policies(config),
        *_forward(config),
        *_custody(config),
        *_web(config),
        *_metrics(config),
        *_status(config),
    ]


_CONNECTIONS = {"alarms": ("alarms",), "ingest": ("events", "ingest")}
"""Which connections to the broker each role holds."""


def _error(setting: str, message: str) -> Finding:
    return Finding("error", setting, message)


def _warning(setting: str, message: str) -> Finding:
    return Finding("warning", setting, message)


def _data_dir(config: Config) -> Iterator[Finding]:
    setting = "[gateway] data_dir"
    fault = _unwritable(config.data_dir)
    if fault:
        yield _error(setting, fault)
    elif config.data_dir.exists() and config.data_dir.stat().st_mode & stat.S_IWOTH:
        yield _warning(setting, f"anyone may write to {config.data_dir}: chmod o-w {config.data_dir}")


def _keys(config: Config) -> Iterator[Finding]:
    master, organisation = config.master_key_file, config.organisation_key_file
    if master.exists() or config.keys.master_key_file is not None:
        try:
            KeyStore.load(master)
        except KeyStoreError as error:
            yield _error("[keys] master_key_file", str(error))
    private = config.keys.organisation_private_key_file
    setting = "organisation_public_key_file" if private is None else "organisation_private_key_file"
    named = private is not None or config.keys.organisation_public_key_file is not None
    if organisation.exists() or named:
        yield from _organisation_key(f"[keys] {setting}", organisation, private is not None)

    if config.keys.copy_dir is not None:
        yield from _existing_folder("[keys] copy_dir", config.keys.copy_dir)


def _organisation_key(setting: str, path: Path, private: bool) -> Iterator[Finding]:
    try:
        key = OrganisationKey.load(path)
    except KeyStoreError as error:
        yield _error(setting, str(error))
        return
    if private and not key.can_open:
        yield _error(setting, f"{path} holds the public key only")
    if key.can_open:
        yield from _secret_mode(setting, path)
        if not private:
            yield _warning(setting, f"{path} holds the private key as well: name it organisation_private_key_file")


def _broker(config: Config) -> Iterator[Finding]:
    broker = config.broker
    tls_files = {"ca_file": broker.ca_file, "certificate_file": broker.certificate_file, "key_file": broker.key_file}
    if broker.kind != "external":
        for key, path in tls_files.items():
            if path is not None:
                yield _error(f"[broker] {key}", f'is for kind = "external" only; this one is "{broker.kind}"')
    if broker.kind == "embedded":
        if not is_loopback(broker.host):
            yield _error(
                "[broker] host",
                f"the embedded broker checks no certificates and must listen on 127.0.0.1, not {broker.host}; "
                'for other machines set kind = "mosquitto"',
            )
    elif broker.kind == "mosquitto":
        if find_mosquitto(broker.program) is None:
            yield _error("[broker] program", f"{broker.program} is not installed: apt install mosquitto")
    else:
        yield from _external_broker(config)


def _external_broker(config: Config) -> Iterator[Finding]:
    broker = config.broker
    if broker.ca_file is None:
        if not is_loopback(broker.host):
            yield _error("[broker] ca_file", f"without TLS only a broker on this machine is safe; {broker.host} is not")
    elif not _readable(broker.ca_file):
        yield _error("[broker] ca_file", f"{broker.ca_file} cannot be read")
    for key, template in (("certificate_file", broker.certificate_file), ("key_file", broker.key_file)):
        if template is None:
            continue
        if "{role}" not in template.name:
            yield _error(f"[broker] {key}", "needs {role} in its name: every connection has its own certificate")
            continue
        for connection in (name for role in config.gateway.roles for name in _CONNECTIONS.get(role, ())):
            path = template.with_name(template.name.replace("{role}", connection))
            if not _readable(path):
                yield _error(f"[broker] {key}", f"{path} cannot be read")
            elif key == "key_file":
                yield from _secret_mode("[broker] key_file", path)


def _ingest(config: Config) -> Iterator[Finding]:
    existing = _nearest_existing(config.data_dir)
    free = shutil.disk_usage(existing).free if existing else 0
    if existing and free < config.ingest.reserve_bytes:
        yield _error(
            "[ingest] reserve_bytes",
            f"{existing} has {free >> 20} MiB free, less than the reserve: no clip would be taken",
        )


def _visits(config: Config) -> Iterator[Finding]:
    visits = config.visits
    if visits.position_keep_days > visits.keep_days:
        yield _warning("[visits] position_keep_days", f"positions go with their visits, after {visits.keep_days} days")
    if visits.amber_before_s >= visits.default_expected_min * 60:
        yield _warning("[visits] amber_before_s", "a visit of the usual length is amber for half of its time")


def _webhook(hook: WebhookSection) -> Iterator[Finding]:
    name = f"[[webhook]] {hook.name}"
    address = urlsplit(hook.url)
    if address.scheme == "http" and not is_loopback(address.hostname or ""):
        yield _warning(name, "url is plain http: anyone on the way can read the alarms")
    try:
        load_secret(hook.secret_file)
    except SecretError as error:
        yield _error(name, str(error))


def _sia_receiver(centre: SiaReceiverSection) -> Iterator[Finding]:
    name = f"[[sia_receiver]] {centre.name}"
    if centre.key_file is not None:
        try:
            load_key(centre.key_file, centre.key_form)
        except SecretError as error:
            yield _error(name, str(error))
    elif not all(is_loopback(host) for host in (centre.host, centre.backup_host) if host is not None):
        yield _warning(name, "there is no key_file: anyone on the way can read alarms, and forge their answers")
    if (centre.backup_host, centre.backup_port) == (centre.host, centre.port):
        yield _warning(name, "the backup receiver is the main one")
    if not centre.supervision_s:
        yield _warning(name, "supervision_s is 0: that a receiver is away is found out by an alarm")


def _smtp(section: SmtpSection) -> Iterator[Finding]:
    name = f"[[smtp]] {section.name}"
    if section.security == "none" and not is_loopback(section.host):
        yield _warning(name, 'security = "none": anyone on the way can read the mail and the login')
    try:
        mail_relay(section)
    except SecretError as error:
        yield _error(name, str(error))


def _mqtt_out(section: MqttOutSection) -> Iterator[Finding]:
    name = f"[[mqtt_out]] {section.name}"
    if section.security == "none" and not is_loopback(section.host):
        yield _warning(name, 'security = "none": anyone on the way can read the alarms and the login')
    try:
        mqtt_target(section)
    except SecretError as error:
        yield _error(name, str(error))


def _apprise(section: AppriseSection) -> Iterator[Finding]:
    try:
        apprise_channel(section, Links())
    except SecretError as error:
        yield _error(f"[[apprise]] {section.name}", str(error))


def _repeated_names(config: Config) -> Iterator[Finding]:
    """Channels are told apart by their names: in the outbox, in logs, in what the ledger says of deliveries."""
    for table in ("webhook", "sia_receiver", "smtp", "mqtt_out", "apprise", "policy"):
        names = [section.name for section in getattr(config, table)]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield _error(f"[[{table}]] name", f"{name} is used more than once")


def _policies(config: Config) -> Iterator[Finding]:
    reach = reach_of(config)
    if not reach.people:
        yield _warning("channels", "there is no channel at all: nobody is told of an alarm")
    people = {PERSON_PREFIX + person for person in reach.people.values() if person}
    known = {*reach.people, *people, EVERYONE}
    for position, section in enumerate(config.policy):
        name = f"[[policy]] {section.name}"
        for target in dict.fromkeys(target for step in section.steps for target in step.targets):
            if target not in known:
                closest = difflib.get_close_matches(target, sorted(known), n=1, cutoff=0.5)
                hint = f"; did you mean {closest[0]}?" if closest else "; `lapel gateway channels` lists them"
                yield _error(name, f"there is no target {target}{hint}")
        for before in config.policy[:position]:
            if not (before.teams or before.kinds or before.days or before.hours):
                yield _warning(name, f"it is never used: {before.name} stands before it and is for every alarm")
                break


def _forward(config: Config) -> Iterator[Finding]:
    directory = config.forward.directory
    if directory is not None:
        yield from _existing_folder("[forward] directory", directory)


def _custody(config: Config) -> Iterator[Finding]:
    if config.custody.delete_level == "opened" and config.keys.organisation_private_key_file is None:
        yield _error(
            "[custody] delete_level",
            '"opened" needs [keys] organisation_private_key_file: no device would ever be allowed to delete a clip',
        )


def _web(config: Config) -> Iterator[Finding]:
    if not is_loopback(config.web.host):
        yield _warning(
            "[web] host", f"{config.web.host}: tokens travel in plain HTTP unless a TLS proxy stands before it"
        )
    if config.web.public_url is not None and config.web.public_url.startswith("http:"):
        yield _warning("[web] public_url", "plain http: anyone on the way can use the links in messages")
    if config.web.public_url is not None and not config.web.trusted_proxies:
        yield _warning(
            "[web] trusted_proxies",
            "public_url is set and no proxy is trusted: everybody outside counts as one address at log-ins",
        )
    if config.accounts.password_characters < 15 and set(config.accounts.authenticator_roles) != set(ROLE_NAMES):
        yield _warning(
            "[accounts] password_characters",
            f"{config.accounts.password_characters} is short where a role logs in by a password alone: 15, or name "
            "every role in authenticator_roles",
        )
    yield from _oidc(config)
    if config.web.port == config.broker.port and config.broker.kind != "external":
        yield _error("[web] port", f"{config.web.port} is the broker's port as well")


def _metrics(config: Config) -> Iterator[Finding]:
    setting, token_file = "[metrics] token_file", config.metrics.token_file
    if not config.metrics.enabled:
        return
    if token_file is not None:
        try:
            read_token(token_file)
        except SecretError as error:
            yield _error(setting, str(error))
    elif config.web.public_url is not None:
        yield _warning(
            setting, "unset, and public_url is set: /metrics answers nobody, because a proxy asks for others"
        )


def _status(config: Config) -> Iterator[Finding]:
    section = config.status
    if not section.enabled:
        return
    if section.broker is not None and section.broker not in {one.name for one in config.mqtt_out}:
        yield _error("[status] broker", f"there is no [[mqtt_out]] {section.broker}: add one, or unset it")
    if section.home_assistant and section.topic.split("/")[0] == section.discovery_prefix.split("/")[0]:
        yield _warning("[status] topic", "within discovery_prefix: Home Assistant takes its topics for configurations")


def _oidc(config: Config) -> Iterator[Finding]:
    section = config.oidc
    if section.issuer is None:
        return
    if config.web.public_url is None:
        yield _error("[web] public_url", "[oidc] needs it: the identity provider sends people back there")
    if not section.roles:
        yield _error("[oidc] roles", "without a role for any of the provider's groups nobody is let in")
    if section.client_secret_file is None:
        yield _error("[oidc] client_secret_file", "unset: the identity provider does not answer without it")
    else:
        try:
            read_secret(section.client_secret_file, "secret of the identity provider's client")
        except SecretError as error:
            yield _error("[oidc] client_secret_file", str(error))
    if find_spec("authlib") is None:
        yield _error("[oidc] issuer", "needs authlib: pip install 'lapel[oidc]'")


def _readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _secret_mode(setting: str, path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield _error(setting, f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}")


def _nearest_existing(path: Path) -> Path | None:
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), None)


def _existing_folder(setting: str, folder: Path) -> Iterator[Finding]:
    """A folder that is never made: a share that is not mounted must not be mistaken for an empty one."""
    if not folder.is_dir():
        yield _error(setting, f"{folder} is not there: make the folder, or mount the share that it stands for")
    elif fault := _unwritable(folder):
        yield _error(setting, fault)


def _unwritable(folder: Path) -> str | None:
    """Why no file can be made in ``folder`` (which may not exist yet), or None."""
    existing = _nearest_existing(folder)
    if existing is None or (folder.exists() and existing != folder):
        return f"{folder} is not a folder"
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return f"{existing} cannot be written to: {error.strerror}"
