"""Logging in at an identity provider (OpenID Connect Core 1.0, authorization code flow with PKCE, RFC 7636).

Rules that hold here
- Only an ID token counts that the configured issuer signed, for this client, now, with the nonce of this log-in.
- A person is the issuer's subject, for ever; the name only serves to make a user at the first log-in. A name that a
  user here has already is not taken over: somebody who looks after the gateway joins the two.
- The provider's word on roles replaces what there was, at every log-in; whoever has none of the roles is not let in.
- What the log-in needs again when the person comes back travels encrypted in their own browser, for ten minutes.
- Neither the client's secret, a code nor a token of the provider is in an error or a log.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import sqlalchemy as sa

from lapel_gateway.accounts.audit import DONE, REFUSED, Actor, note
from lapel_gateway.accounts.logins import LogInRefused
from lapel_gateway.accounts.permissions import ROLE_NAMES
from lapel_gateway.accounts.seal import Seal, SealError
from lapel_gateway.accounts.users import (
    UserError,
    checked_name,
    find_user,
    insert_user,
    replace_roles,
)
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.account_tables import user as user_table
from lapel_gateway.log import printable

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
_HOW: Mapping[str, Any] = {"timeout": 10.0, "trust_env": False, "follow_redirects": False}
UNDER_WAY_MS = 10 * 60_000
LEEWAY_S = 60
"""How far the provider's clock may be off."""
MAX_ANSWER_BYTES = 1 << 20
SUBJECT_CHARACTERS = 255


class ProviderError(Exception):
    """The identity provider cannot be used; the message says why."""


@dataclass(frozen=True)
class Provider:
    """What is configured of it."""

    issuer: str
    client_id: str
    client_secret: str
    scopes: str
    name_claim: str
    roles_claim: str
    roles: Mapping[str, str]
    """From the provider's values to roles here."""

    def __repr__(self) -> str:
        return f"Provider({self.issuer!r})"


@dataclass(frozen=True)
class Vouched:
    """Whom the provider vouches for."""

    subject: str
    name: str
    roles: tuple[str, ...]


class IdentityProvider:
    """The provider, over HTTP. Blocking."""

    def __init__(self, provider: Provider, seal: Seal, redirect_uri: str) -> None:
        """Raises ProviderError where the library for it is not installed."""
        try:
            import authlib  # noqa: F401
        except ModuleNotFoundError:
            raise ProviderError("logging in at an identity provider needs authlib: pip install 'lapel[oidc]'") from None
        self._provider = provider
        self._seal = seal
        self._redirect_uri = redirect_uri
        self._found: dict[str, Any] | None = None

    def begin(self, next_path: str, now_ms: int) -> tuple[str, str]:
        """The address to send somebody to, and what their browser keeps meanwhile. Raises ProviderError."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {"response_type": "code", "client_id": self._provider.client_id, "scope": self._provider.scopes}
        asked |= {"redirect_uri": self._redirect_uri, "state": state, "nonce": nonce}
        asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        endpoint = self._discover()["authorization_endpoint"]
        address = f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"
        kept = {"state": state, "nonce": nonce, "verifier": verifier, "next": next_path, "at_ms": now_ms}
        return address, self._seal.seal(json.dumps(kept).encode(), "log-in under way").hex()

    def end(self, kept: str, state: str, code: str, now_ms: int) -> tuple[Vouched, str]:
        """Who came back, and where they wanted to go. Raises LogInRefused, ProviderError."""
        try:
            begun = json.loads(self._seal.open(bytes.fromhex(kept), "log-in under way"))
        except (ValueError, SealError):
            raise LogInRefused("this log-in was not begun in this browser: begin again") from None
        if not secrets.compare_digest(begun["state"].encode(), state.encode("utf-8", "replace")):
            raise LogInRefused("this log-in was not begun in this browser: begin again")
        if not 0 <= now_ms - begun["at_ms"] < UNDER_WAY_MS:
            raise LogInRefused("this log-in took too long: begin again")
        claims = self._claims(code, begun["verifier"], begun["nonce"], now_ms)
        return self._vouched(claims), str(begun["next"])

    def _claims(self, code: str, verifier: str, nonce: str, now_ms: int) -> Mapping[str, Any]:
        """What the ID token says, once all of it was checked."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwk, jwt
        from joserfc.errors import JoseError

        found = self._discover()
        try:
            answer = self._spend(found["token_endpoint"], code, verifier)
            keys = jwk.KeySet.import_key_set(_fetched(httpx.get(found["jwks_uri"], **_HOW)))
            token = jwt.decode(str(answer["id_token"]), keys, algorithms=ALGORITHMS)
            wanted = {
                "iss": {"essential": True, "value": self._provider.issuer},
                "aud": {"essential": True, "value": self._provider.client_id},
                "nonce": {"essential": True, "value": nonce},
            }
            claims = CodeIDToken(token.claims, token.header, wanted, {"client_id": self._provider.client_id})
            claims.validate(now_ms // 1000, LEEWAY_S)
        except (JoseError, KeyError, ValueError, TypeError) as error:
            raise LogInRefused(f"the identity provider's answer does not hold ({type(error).__name__})") from None
        except httpx.HTTPError as error:
            raise ProviderError(f"the identity provider does not answer ({type(error).__name__})") from None
        return dict(claims)

    def _vouched(self, claims: Mapping[str, Any]) -> Vouched:
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS:
            raise LogInRefused("the identity provider names nobody")
        values = claims.get(self._provider.roles_claim, [])
        told = {values} if isinstance(values, str) else set(filter(lambda one: isinstance(one, str), _listed(values)))
        roles = {role for value, role in self._provider.roles.items() if value in told and role in ROLE_NAMES}
        return Vouched(
            f"{self._provider.issuer} {subject}", str(claims.get(self._provider.name_claim) or ""), tuple(sorted(roles))
        )

    def _discover(self) -> dict[str, Any]:
        """The provider's addresses (OpenID Connect Discovery 1.0). Raises ProviderError."""
        if self._found is None:
            address = f"{self._provider.issuer.rstrip('/')}/.well-known/openid-configuration"
            try:
                found = _fetched(httpx.get(address, **_HOW))
                if found["issuer"] != self._provider.issuer:
                    raise ProviderError("the identity provider calls itself by another address than [oidc] issuer")
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    if urlsplit(found[name]).scheme != urlsplit(self._provider.issuer).scheme:
                        raise ProviderError(f"the identity provider's {name} is no address of its kind")
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                raise ProviderError(f"the identity provider does not answer ({type(error).__name__})") from None
            self._found = found
        return self._found

    def _spend(self, endpoint: str, code: str, verifier: str) -> Any:
        """The provider's answer to the code (RFC 6749 section 4.1.3)."""
        given = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect_uri}
        # Section 2.3.1: both are encoded as a form is.
        client = quote_plus(self._provider.client_id), quote_plus(self._provider.client_secret)
        answer = httpx.post(endpoint, data={**given, "code_verifier": verifier}, auth=client, **_HOW)
        if answer.is_client_error:
            raise LogInRefused("the identity provider does not stand by this log-in: begin again")
        return _fetched(answer)


def user_of(engine: sa.Engine, vouched: Vouched, address: str, now_ms: int) -> str:
    """The user here whom the provider vouches for, made where there is none, with the roles that it says now.

    Raises LogInRefused.
    """
    with writing(engine) as connection:
        row = connection.execute(sa.select(user_table).where(user_table.c.subject == vouched.subject)).one_or_none()
        why, name = _fault(connection, row, vouched), "" if row is None else str(row.name)
        actor = Actor(name, "log-in", address)
        if why:
            note(connection, actor, now_ms, "log in", outcome=REFUSED, detail=f"identity provider: {why}")
        elif row is None:
            name = checked_name(vouched.name)
            insert_user(connection, name, vouched.roles, now_ms)
            connection.execute(sa.update(user_table).where(user_table.c.name == name).values(subject=vouched.subject))
            actor = Actor(name, "log-in", address)
            note(connection, actor, now_ms, "add user", name, DONE, f"{' '.join(vouched.roles)}, by identity provider")
        elif set(vouched.roles) != set(find_user(connection, name).roles):
            replace_roles(connection, name, vouched.roles)
            note(connection, actor, now_ms, "set roles", name, DONE, f"{' '.join(vouched.roles)}, by identity provider")
    if why:
        raise LogInRefused(why)
    return name


def join_subject(engine: sa.Engine, name: str, issuer: str, subject: str, by: Actor, now_ms: int) -> None:
    """Let a user log in as that subject of the provider's from now on. Raises UserError."""
    if not 0 < len(subject) <= SUBJECT_CHARACTERS or not subject.isprintable():
        raise UserError(f"a subject is 1 to {SUBJECT_CHARACTERS} printable characters, as the provider's ID token says")
    with writing(engine) as connection:
        find_user(connection, name)
        whole = f"{issuer} {subject}"
        taken = connection.execute(sa.select(user_table.c.name).where(user_table.c.subject == whole)).scalar()
        if taken is not None and taken != name:
            raise UserError(f"that subject is {taken} already")
        connection.execute(sa.update(user_table).where(user_table.c.name == name).values(subject=whole))
        note(connection, by, now_ms, "join identity provider", name, detail=printable(subject))


def _fault(connection: sa.Connection, row: sa.Row[Any] | None, vouched: Vouched) -> str:
    """Why somebody whom the provider vouches for is not let in; "" = they are."""
    if not vouched.roles:
        return "the identity provider gives you none of the roles here"
    if row is not None:
        return "this user may not log in" if row.disabled_ms is not None else ""
    try:
        name = checked_name(vouched.name)
    except UserError:
        return "the identity provider gives you no name that can be used here"
    if connection.execute(sa.select(user_table.c.name).where(user_table.c.name == name)).one_or_none() is not None:
        return f"there is a user {name} here already: ask for the two to be joined (lapel user join)"
    return ""


def _fetched(answer: httpx.Response) -> Any:
    """The JSON of an answer. Raises httpx.HTTPError, ValueError."""
    answer.raise_for_status()
    if len(answer.content) > MAX_ANSWER_BYTES:
        raise ValueError("longer than any such answer")
    return answer.json()


def _listed(values: object) -> Iterable[Any]:
    return values if isinstance(values, list | tuple) else ()
