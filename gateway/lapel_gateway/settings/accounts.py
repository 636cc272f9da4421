"""The settings of accounts: passwords, authenticators, how long people stay logged in, how often they may ask."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from lapel_gateway.accounts.permissions import RoleName
from lapel_gateway.accounts.rules import Limits, Rules
from lapel_gateway.loopback import is_loopback
from lapel_gateway.settings.section import Section, Text

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class AccountsSection(Section):
    """Accounts of people: how they log in, and how long that lasts."""

    password_characters: int = Field(
        15, ge=8, le=64, description="The least length of a password; 15 where a password alone lets somebody in."
    )
    authenticator_roles: list[RoleName] = Field(
        ["evidence", "operator"], description="Roles that log in with the code of an authenticator app as well."
    )
    idle_min: int = Field(60, ge=5, le=1440, description="A session without a request ends after so long.")
    session_hours: int = Field(24, ge=1, le=168, description="A session ends after so long, whatever is done in it.")
    setup_link_hours: int = Field(72, ge=1, le=720, description="How long a set-up link of a user can be used.")
    reason_hours: int = Field(
        12,
        ge=1,
        le=168,
        description="How long a reason for looking at another's clip holds, within a session.",
    )
    two_person_export: bool = Field(
        False, description="A clip is exported only after a second person agreed to it, on the clip's page."
    )
    requests_per_min: int = Field(
        600, ge=30, le=1_000_000, description="Requests that one user, or one token's user, may make to the API."
    )

    @property
    def rules(self) -> Rules:
        """For those who let people in."""
        return Rules(
            Limits(self.idle_min * MINUTE_MS, self.session_hours * HOUR_MS),
            self.password_characters,
            frozenset(self.authenticator_roles),
        )

    @property
    def reason_ms(self) -> int:
        """`reason_hours` in milliseconds."""
        return self.reason_hours * HOUR_MS

    @property
    def setup_link_ms(self) -> int:
        """`setup_link_hours` in milliseconds."""
        return self.setup_link_hours * HOUR_MS


class OidcSection(Section):
    """Logging in at an identity provider (OpenID Connect), beside passwords. Needs `pip install 'lapel[oidc]'`."""

    issuer: Text | None = Field(
        None,
        examples=["https://login.example.org/realms/housing"],
        description="The provider's address as its ID tokens say it. Unset: nobody logs in there.",
    )
    client_id: Text = Field("lapel", description="What the gateway is called there.")
    client_secret_file: Path | None = Field(
        None, examples=["secrets/oidc.txt"], description="File with the client's secret; mode 0600."
    )
    scopes: Text = Field("openid profile", description="What the gateway asks for.")
    name_claim: Text = Field("name", description="The claim that a new user is named by, as devices show it.")
    roles_claim: Text = Field("groups", description="The claim that says which groups a person is in.")
    roles: dict[str, RoleName] = Field(
        {}, description='From its values to roles here, as in { "lapel-control-room" = "responder" }.'
    )

    @field_validator("issuer")
    @classmethod
    def _is_private(cls, issuer: str | None) -> str | None:
        if issuer is not None:
            parts = urlsplit(issuer)
            if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
                raise ValueError("must start with https://")
        return issuer


DEFAULT_ACCOUNTS = AccountsSection()
"""Where no configuration says otherwise."""
