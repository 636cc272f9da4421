"""The gateway's own data, opened for a command that runs on its machine."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import open_ledger
from lapel_gateway.pki import Pki
from lapel_gateway.registry import Registry, RegistryError
from lapel_gateway.settings.config import Config, ConfigError, find_config, load_config
from lapel_tools.console import NOT_FOUND, CommandError

_ledgers = contextlib.ExitStack()


def close_ledgers() -> None:
    """Close every ledger that commands have opened; the command line does so at its end."""
    _ledgers.close()


class Site:
    """Ledger, keys and certificates of one installation, each opened when it is first needed."""

    def __init__(self, named: Path | None) -> None:
        """Read the configuration ``named``, or the usual one. Raises ConfigError."""
        self.config_file = find_config(named)
        self.config: Config = load_config(self.config_file)

    @functools.cached_property
    def engine(self) -> sa.Engine:
        """The ledger. Raises LedgerError."""
        self.config.data_dir.mkdir(parents=True, exist_ok=True)
        engine = open_ledger(self.config.ledger_file)
        _ledgers.callback(engine.dispose)
        return engine

    @functools.cached_property
    def keystore(self) -> KeyStore:
        """Device keys under the master key. Raises KeyStoreError."""
        return KeyStore.load(self.config.master_key_file)

    @functools.cached_property
    def organisation(self) -> OrganisationKey:
        """The organisation's key, public or both halves. Raises KeyStoreError."""
        return OrganisationKey.load(self.config.organisation_key_file)

    @functools.cached_property
    def registry(self) -> Registry:
        """The devices."""
        return Registry(self.engine, self.keystore)

    @functools.cached_property
    def pki(self) -> Pki:
        """The CA, made at its first use. Raises PkiError."""
        return Pki.ensure(self.config.pki_dir, self.config.gateway.organisation)


def local_site(named: Path | None) -> Site | None:
    """This machine's gateway; None where there is none and none was ``named``. Raises ConfigError."""
    try:
        return Site(named)
    except ConfigError:
        if named is not None:
            raise
        return None


def find_device(site: Site, text: str) -> str:
    """The id of the device that ``text`` is the id of, a beginning of it, or its name. Raises CommandError."""
    try:
        return site.registry.find(text)
    except RegistryError as error:
        raise CommandError(str(error), NOT_FOUND) from None
