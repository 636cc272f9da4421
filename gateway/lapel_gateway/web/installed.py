"""What the API knows of the installation that it stands in, beside the ledger and the view area."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from lapel_gateway.accounts.provider import Provider
from lapel_gateway.accounts.seal import Seal
from lapel_gateway.alarms.ack_links import AckLinks
from lapel_gateway.alarms.policies import Policies
from lapel_gateway.metrics.watched import Watched
from lapel_gateway.overview.surroundings import Surroundings
from lapel_gateway.settings.accounts import DEFAULT_ACCOUNTS, AccountsSection
from lapel_gateway.settings.devices import DEFAULT_DEVICE_RULES, DevicesSection
from lapel_gateway.settings.visits import DEFAULT_RULES, VisitsSection


@dataclass(frozen=True)
class Scraping:
    """Who may read the figures."""

    token: str = field(default="", repr=False)
    """What has to be sent; "": nothing, and only this machine is answered."""
    proxied: bool = False
    """Whether a proxy stands before the gateway: what comes from this machine may come from anywhere then."""


@dataclass(frozen=True)
class Installed:
    """By default an installation without channels."""

    links: AckLinks | None = None
    """Reads the links to acknowledge with; None: none is answered."""
    zone: tzinfo | None = None
    """In which the days of reports are counted; None: this machine's."""
    rules: VisitsSection = DEFAULT_RULES
    channels: Mapping[str, str] = field(default_factory=dict)
    """The channels that take alarms, by name, with whom each reaches, "" for nobody by name."""
    policies: Policies = field(default_factory=Policies)
    """Who is told of which alarms, as configured."""
    watched: Watched = field(default_factory=Watched)
    scraping: Scraping | None = field(default_factory=Scraping)
    """None: there are no figures to read."""
    around: Surroundings = field(default_factory=Surroundings)
    """What the picture of now tells beside the ledger."""

    device_rules: DevicesSection = DEFAULT_DEVICE_RULES
    """What devices must be like to be handed to somebody."""
    organisation: str = ""
    """Whose it is, for what is printed; "" = not told."""
    accounts: AccountsSection = DEFAULT_ACCOUNTS
    seal: Seal = field(default_factory=Seal.passing)
    """Keeps what accounts keep encrypted; by default its key ends with the process."""
    public_url: str = ""
    """Where people reach it from outside, without a slash at its end; "" = nowhere but here."""

    provider: Provider | None = None
    """Where people log in beside passwords; None: nowhere."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose word on where a request comes from is taken."""

    @property
    def behind_tls(self) -> bool:
        """Whether browsers reach it by https, so that cookies go nowhere else."""
        return self.public_url.startswith("https:")


NOTHING_INSTALLED = Installed()
